"""A seal: what the events of a range of positions were, in a form that names the first change.

A seal is one line of JSON. Beside the digest of the whole log up to its end it has a mark for each
event: the first bytes of the event's digest. The digest proves; the marks tell where. Each seal
names the digest of the one before it, so none can be taken out of the middle, and it may be signed.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any, Final, NoReturn, Protocol

import orjson

FORMAT: Final = 1

MARK_BYTES: Final = 8
"""Of an event's digest in a seal: 11 characters an event."""

SEAL_EVENTS_MAX: Final = 1_000
"""Events in one seal: bounds the memory that making and checking one takes."""

NO_SEAL: Final = "0" * 64
"""What the first seal has in place of the digest of the one before."""

_LINE: Final = re.compile(
    rb'(\{.*?)(?:,"signature":"([0-9a-f]{128})")?,"digest":"([0-9a-f]{64})"\}'
)
_SIGNED_AS: Final = b"eventcore seal\n"


class UnreadableSealError(ValueError):
    """A line is no seal, or one that was changed; never leaves this room."""


class Signer(Protocol):
    """Signs; see :class:`eventcore.seals.keys.SigningKey`."""

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""


class SignatureChecker(Protocol):
    """Checks signatures; see :class:`eventcore.seals.keys.CheckingKey`."""

    def is_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's of these bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a seal says.

    Attributes:
        number: From 1.
        runs: Positions of its events: stretches of a first position and a length.
        marks: Of its events, :data:`MARK_BYTES` each.
        total: How many events the log had up to its end.
        log: Digest of the log up to its end, hexadecimal.
        sealed_at: When it was made, fixed-width UTC text.
        previous: Digest of the seal before it, or :data:`NO_SEAL`.
    """

    number: int
    runs: tuple[tuple[int, int], ...]
    marks: bytes
    total: int
    log: str
    sealed_at: str
    previous: str = NO_SEAL

    @property
    def first(self) -> int:
        """Position of its first event."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """Position of its last event."""
        position, count = self.runs[-1]
        return position + count - 1

    @property
    def events(self) -> int:
        """How many events it seals."""
        return len(self.marks) // MARK_BYTES

    def positions(self) -> list[int]:
        """Positions of its events."""
        return list(chain.from_iterable(range(one, one + count) for one, count in self.runs))

    def each_mark(self) -> list[bytes]:
        """The mark of each event."""
        return [self.marks[at : at + MARK_BYTES] for at in range(0, len(self.marks), MARK_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A seal as it is in a file.

    Attributes:
        content: What it says.
        digest: Of its line, hexadecimal; the next seal names it.
        signed: The bytes that a signature is of.
        signature: None if it is not signed.
    """

    content: Content
    digest: str
    signed: bytes
    signature: bytes | None

    def is_signed_by(self, key: SignatureChecker) -> bool:
        """Whether it is signed, and by this key."""
        return self.signature is not None and key.is_signed(self.signed, self.signature)


def marks_of(digests: Sequence[bytes]) -> bytes:
    """The marks of events, from their digests."""
    return b"".join([digest[:MARK_BYTES] for digest in digests])


def runs_of(positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Positions in rising order as stretches of a first position and a length."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and position == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return tuple(runs)


def write_line(content: Content, key: Signer | None = None) -> tuple[bytes, str]:
    """The line of a seal, with its end, and the digest that the next one is to name."""
    record = {
        "seal": FORMAT,
        "number": content.number,
        "events": content.events,
        "positions": content.runs,
        "marks": b64encode(content.marks).decode("ascii"),
        "total": content.total,
        "log": content.log,
        "sealedAt": content.sealed_at,
        "previous": content.previous,
    }
    line = orjson.dumps(record)[:-1]
    if key is not None:
        line += b',"signature":"%b"' % key.sign(_SIGNED_AS + line).hex().encode("ascii")
    digest = sha256(line).hexdigest()
    return line + b',"digest":"%b"}\n' % digest.encode("ascii"), digest


def read_line(line: bytes) -> Seal:
    """A seal from its line.

    Raises:
        UnreadableSealError: It is no seal, or was changed.
    """
    match = _LINE.fullmatch(line.removesuffix(b"\n"))
    if match is None or not line.endswith(b"\n"):
        _refuse("is not a line of a seal")
    digest = match[3].decode("ascii")
    if sha256(line[: match.start(3) - len(b',"digest":"')]).hexdigest() != digest:
        _refuse("was changed: its digest is another")
    signature = None if match[2] is None else bytes.fromhex(match[2].decode("ascii"))
    try:
        content = _content(orjson.loads(match[1] + b"}"))
    except (ValueError, KeyError, TypeError):
        _refuse("is not one that this version reads")
    return Seal(content=content, digest=digest, signed=_SIGNED_AS + match[1], signature=signature)


def _refuse(problem: str) -> NoReturn:
    raise UnreadableSealError(problem)


def _content(record: dict[str, Any]) -> Content:
    if record["seal"] != FORMAT:
        _refuse(f"is of format {record['seal']}, this version reads {FORMAT}")
    content = Content(
        number=record["number"],
        runs=tuple((first, count) for first, count in record["positions"]),
        marks=b64decode(record["marks"], validate=True),
        total=record["total"],
        log=record["log"],
        sealed_at=record["sealedAt"],
        previous=record["previous"],
    )
    counts = {record["events"], content.events, sum(count for _, count in content.runs)}
    if not content.events or len(counts) > 1 or len(content.marks) % MARK_BYTES:
        _refuse("has another number of marks than of positions")
    return content
