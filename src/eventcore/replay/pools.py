"""Pools: processes on this machine that fold shards, and end with the one that began them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from eventcore.errors import ConfigurationError
from eventcore.settings import REPLAY_PROCESSES_MAX


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, which are new ones: nothing that is open here is open in them.

    Args:
        count: How many, 1 to
            :data:`~eventcore.settings.REPLAY_PROCESSES_MAX`.

    Raises:
        ConfigurationError: It is out of these bounds.
    """
    if not 1 <= count <= REPLAY_PROCESSES_MAX:
        raise ConfigurationError(
            message=f"A replay takes 1 to {REPLAY_PROCESSES_MAX} processes, not {count}"
        )
    pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def check_sendable(*values: object) -> None:
    """Refuse what cannot be sent to another process, before any is made.

    Raises:
        ConfigurationError: Such as a projection of a class that is defined inside a function, or a
            codec with a registry or a transform of its own.
    """
    for value in values:
        try:
            pickle.dumps(value)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise ConfigurationError(
                message=f"{value!r} cannot be sent to other processes ({error}): replay it in this "
                "one, without processes="
            ) from error


def _end_with_parent() -> None:
    """See that this process ends when its parent was killed: nobody would tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
