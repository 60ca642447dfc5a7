"""Manifests: what an archive holds, said once and for ever, each naming the one before it.

A manifest covers a segment: every event of the log between two positions. It is published after
all its files are, so a file that no manifest names is not part of the archive. Each holds the
SHA-256 of its files and of the manifest before, so that none can be changed, left out or put
elsewhere unseen.

A plan is published before the files: whoever finds one without its manifest, after a crash, makes
the very same files from it, whatever was appended to the log meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from eventcore.errors import ArchiveDamagedError
from eventcore.lake.layout import SHARDS_MAX, manifest_name, plan_name

FORMAT: Final = 1
"""Of manifests and files. Another number is another version's archive."""

_OPTIONS: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file of an archive.

    Attributes:
        name: Its path below the archive's root.
        family: Of its events, e.g. ``business``.
        day: On which they happened, UTC, e.g. ``2026-11-29``.
        shard: Of their streams.
        events: How many they are.
        first: Position of the first one.
        last: Position of the last one.
        bytes: Size of the file.
        sha256: Of its bytes, hexadecimal.
    """

    name: str
    family: str
    day: str
    shard: int
    events: int
    first: int
    last: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to be one segment of an archive.

    Attributes:
        number: Of its manifest, from 1.
        previous: SHA-256 of the manifest before, hexadecimal; None for the first.
        after: Positions above this one.
        until: Up to and including this one.
        events: How many there are between them.
        shards: In how many parts streams are split; the same in every manifest of an archive.
        families: Event type to the family whose folder it goes to.
    """

    number: int
    previous: str | None
    after: int
    until: int
    events: int
    shards: int
    families: Mapping[str, str]

    def to_json(self) -> bytes:
        """As it is stored."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}, option=_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A segment of an archive.

    Attributes:
        number: From 1, without gaps.
        previous: SHA-256 of the manifest before, hexadecimal; None for the first.
        after: It covers every event above this position, where the one before ends.
        until: Up to and including this one, that of its last event.
        last_event_id: Of that event: tells the log it was made from. Empty if it cannot be read.
        events: How many there are.
        shards: In how many parts streams are split.
        files: By name.
        sha256: Of the manifest itself, as stored, hexadecimal.
    """

    number: int
    previous: str | None
    after: int
    until: int
    last_event_id: str
    events: int
    shards: int
    files: tuple[ArchivedFile, ...]
    sha256: str

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(file.bytes for file in self.files)


def manifest_json(plan: Plan, files: Sequence[ArchivedFile], last_event_id: str) -> bytes:
    """A manifest as it is stored.

    Args:
        plan: What it was made by.
        files: All of them, published already.
        last_event_id: Of the event at the plan's end.
    """
    body = {
        "format": FORMAT,
        "number": plan.number,
        "previous": plan.previous,
        "after": plan.after,
        "until": plan.until,
        "last_event_id": last_event_id,
        "events": plan.events,
        "shards": plan.shards,
        "files": [asdict(file) for file in sorted(files, key=lambda file: file.name)],
    }
    return orjson.dumps(body, option=_OPTIONS)


def read_manifest(archive: str, number: int, data: bytes) -> Manifest:
    """Read a manifest and check that it can be one.

    Args:
        archive: URL of the archive, for messages.
        number: Which one it has to be.
        data: As stored.

    Raises:
        ArchiveDamagedError: It is none, or contradicts itself.
    """
    name = manifest_name(number)
    body = _body(archive, name, data)
    try:
        files = tuple(ArchivedFile(**file) for file in body.pop("files"))
        manifest = Manifest(**body, files=files, sha256=sha256(data).hexdigest())
        sound = _is_sound(manifest, number)
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(archive, name, "is not what a manifest has to be") from error
    if not sound:
        raise _damaged(archive, name, "contradicts itself")
    return manifest


def read_plan(archive: str, number: int, data: bytes) -> Plan:
    """Read a plan; see :func:`read_manifest`."""
    name = plan_name(number)
    try:
        plan = Plan(**_body(archive, name, data))
        sound = plan.number == number and plan.after < plan.until and plan.events > 0
    except TypeError as error:
        raise _damaged(archive, name, "is not what a plan has to be") from error
    if not sound:
        raise _damaged(archive, name, "contradicts itself")
    return plan


def check_chain(archive: str, before: Manifest | None, manifest: Manifest) -> None:
    """Check that a manifest goes on where the one before it ended.

    Raises:
        ArchiveDamagedError: One of them was changed, or is of another archive.
    """
    name = manifest_name(manifest.number)
    if manifest.previous != (None if before is None else before.sha256):
        raise _damaged(archive, name, "does not name the manifest before it by its SHA-256")
    if manifest.after != (0 if before is None else before.until):
        raise _damaged(archive, name, "does not begin where the one before it ends")
    if before is not None and manifest.shards != before.shards:
        raise _damaged(archive, name, "has another number of shards than the one before it")


def _body(archive: str, name: str, data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
        found = body.pop("format")
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise _damaged(archive, name, "cannot be read") from error
    if found != FORMAT:
        raise _damaged(archive, name, f"is of format {found}, this version reads {FORMAT}")
    known: dict[str, Any] = body
    return known


def _is_sound(manifest: Manifest, number: int) -> bool:
    files = manifest.files
    return (
        manifest.number == number
        and manifest.after < manifest.until
        and 0 < manifest.shards <= SHARDS_MAX
        and manifest.events == sum(file.events for file in files) > 0
        and manifest.until == max(file.last for file in files)
        and manifest.after < min(file.first for file in files)
        and all(0 <= file.shard < manifest.shards for file in files)
        and len({file.name for file in files}) == len(files)
    )


def _damaged(archive: str, name: str, problem: str) -> ArchiveDamagedError:
    return ArchiveDamagedError(archive=archive, file=name, problem=problem)
