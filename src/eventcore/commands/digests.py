"""Digests of commands: whether a command with an id is the one that was executed under it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_json

from eventcore.commands.command import Command
from eventcore.commands.reservations import KEY_BYTES_MAX

COMMAND_DIGEST: Final = "commandDigest"
"""Key of the metadata, kept for this, under which a command's first event has its digest."""

DIGEST_BYTES: Final = 8
"""Enough to notice a mistake; nobody is kept from one that is made on purpose."""


def command_digest(command: Command, key: bytes) -> str:
    """Digest of a command's class and fields, as 16 hexadecimal digits.

    The same in every process. A field that is None counts as absent, so that a command repeated
    after a new version got an optional field is still the same.

    Args:
        command: The command.
        key: Secret without which guessed values cannot be told: the one of reservations.
    """
    if len(key) > KEY_BYTES_MAX:
        key = hashlib.blake2b(key).digest()
    content = _json([type(command).__name__, _plain(command)])
    return hashlib.blake2b(content, key=key, digest_size=DIGEST_BYTES).hexdigest()


def _plain(value: Any) -> Any:
    """The value with its parts in an order that does not differ from process to process."""
    if isinstance(value, BaseModel):
        fields = {**value.__dict__, **(value.model_extra or {})}
        return {name: _plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, Set):
        return sorted(_json(_plain(item)).decode() for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _json(value: Any) -> bytes:
    return to_json(value, bytes_mode="base64", fallback=repr)
