"""Who is to keep which share: every worker that sees the same workers comes to the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b


def fair_parts(workers: Iterable[str], items: Sequence[str]) -> dict[str, str]:
    """Items to the worker that is to have them: nobody has two more than another.

    Rendezvous hashing: each item goes to the worker that it likes best and that has not had its
    part yet, so that few items move when a worker comes or goes.

    Args:
        workers: Their ids; with none, nobody gets anything.
        items: Names of what is divided.
    """
    alive = sorted(set(workers))
    if not alive:
        return {}
    fewest, one_more = divmod(len(items), len(alive))
    loads = dict.fromkeys(alive, 0)
    parts: dict[str, str] = {}
    for item in items:
        most = fewest + 1 if one_more else fewest
        free = [worker for worker in alive if loads[worker] < most]
        best = max(free, key=lambda worker: _liking(worker, item))
        one_more -= loads[best] == fewest
        loads[best] += 1
        parts[item] = best
    return parts


def _liking(worker: str, item: str) -> bytes:
    return blake2b(f"{worker} {item}".encode(), digest_size=8).digest()
