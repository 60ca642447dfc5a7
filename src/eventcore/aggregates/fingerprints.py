"""Fingerprints: which fold made a saved state, so that one made by another fold is never used."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, Final

from eventcore.aggregates.dispatch import Handlers
from eventcore.events.event import DomainEvent

DIGEST_BYTES: Final = 16


def fingerprint_of(cls: type, handlers: Handlers, fold_version: int) -> str:
    """Digest of everything that decides what a class's events fold to, as 32 hexadecimal digits.

    The functions that appliers call are followed by name, within the class and its modules; what is
    reached otherwise (a table of constants) is covered by ``fold_version``.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in _parts(cls, handlers, fold_version):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _parts(cls: type, handlers: Handlers, fold_version: int) -> Iterator[str]:
    yield f"{fold_version}"
    for field in dataclasses.fields(cls):
        # What stands for "no default" shows its address, which differs from process to process.
        default = "none" if field.default is dataclasses.MISSING else repr(field.default)
        yield f"field {field.name}: {field.type} = {default}"
    seen: set[CodeType] = set()
    for event_class in sorted(handlers.applied, key=_name):
        declared = event_class.__event__
        yield f"event {_name(event_class)} {declared.type} {declared.version}"
        yield from _function(cls, handlers.applied[event_class], seen)


def _name(event_class: type[DomainEvent]) -> str:
    return f"{event_class.__module__}.{event_class.__qualname__}"


def _function(cls: type, function: Any, seen: set[CodeType]) -> Iterator[str]:
    function = getattr(function, "fget", function)  # a property
    function = getattr(function, "__func__", function)  # a class method
    if not isinstance(function, FunctionType) or function.__code__ in seen:
        return
    seen.add(function.__code__)
    yield from _code(function.__code__)
    for name in sorted(_names(function.__code__)):
        yield from _function(cls, cls.__dict__.get(name, function.__globals__.get(name)), seen)


def _code(code: CodeType) -> Iterator[str]:
    yield f"code {code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):
            # Its order differs from process to process.
            yield f"const {sorted(map(repr, constant))}"
        else:
            yield f"const {constant!r}"


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))
