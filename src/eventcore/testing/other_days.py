"""Another process on another day, as far as the code of a module can tell."""

from __future__ import annotations

import builtins
import datetime as dt
import sys
import time as time_module
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

from typing_extensions import override

LATER: Final = dt.timedelta(days=1_000, hours=7, seconds=11)
"""How much later it is."""

_HASH_MIX: Final = 0x5DEECE66D
_seconds = LATER.total_seconds()


class _AnyDate(type):
    """Lets ``isinstance`` go on meaning what it did."""

    @override
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])


class _LaterDate(dt.date, metaclass=_AnyDate):
    @classmethod
    @override
    def today(cls) -> Any:
        return dt.datetime.now(dt.UTC).date() + LATER


class _LaterDatetime(dt.datetime, metaclass=_AnyDate):
    @classmethod
    @override
    def now(cls, tz: Any = None) -> Any:
        return dt.datetime.now(tz) + LATER

    @classmethod
    @override
    def utcnow(cls) -> Any:
        return dt.datetime.now(dt.UTC).replace(tzinfo=None) + LATER

    @classmethod
    @override
    def today(cls) -> Any:
        return cls.now()


def _hash(value: object) -> int:
    """Of another process: salted otherwise, where it is salted at all."""
    found = builtins.hash(value)
    return found ^ _HASH_MIX if isinstance(value, str | bytes) else found


def _time() -> float:
    return time_module.time() + _seconds


def _time_ns() -> int:
    return time_module.time_ns() + int(_seconds) * 1_000_000_000


def _monotonic() -> float:
    return time_module.monotonic() + _seconds


def _copy_of(module: Any, changes: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(module), **changes})


_INSTEAD: Final[Mapping[int, Any]] = {
    id(dt.date): _LaterDate,
    id(dt.datetime): _LaterDatetime,
    id(dt): _copy_of(dt, {"date": _LaterDate, "datetime": _LaterDatetime}),
    id(time_module): _copy_of(
        time_module, {"time": _time, "time_ns": _time_ns, "monotonic": _monotonic}
    ),
    id(time_module.time): _time,
    id(time_module.time_ns): _time_ns,
    id(time_module.monotonic): _monotonic,
}


@contextmanager
def another_day(of: type) -> Iterator[None]:
    """Let the modules in which a class and its bases are written see another time and hash.

    Other modules, and what these took from the clock when they were imported, stay as they are.
    """
    modules = [sys.modules.get(cls.__module__) for cls in of.__mro__]
    names = {id(m): vars(m) for m in modules if m is not None and _is_foreign(m.__name__)}
    before = []
    for globals_ in names.values():
        changed = {
            name: _INSTEAD[id(value)] for name, value in globals_.items() if id(value) in _INSTEAD
        }
        changed.setdefault("hash", _hash)
        before.append((globals_, {n: globals_[n] for n in changed if n in globals_}, changed))
    try:
        for globals_, _, changed in before:
            globals_.update(changed)
        yield
    finally:
        for globals_, kept, changed in before:
            for name in changed:
                globals_.pop(name, None)
            globals_.update(kept)


def _is_foreign(module: str) -> bool:
    return module != "builtins" and not module.startswith("eventcore.projections.projection")
