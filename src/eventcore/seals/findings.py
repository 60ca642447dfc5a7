"""What verifying found: the first thing that is not as it was, and where."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from eventcore.events.recorded import Recorded
from eventcore.projections.columns import StoredValue


class Kind(StrEnum):
    """What is wrong with the first event that is not as it was."""

    ALTERED = "altered"
    """Another event is in its place."""
    MISSING = "missing"
    """It is gone."""
    REORDERED = "re-ordered"
    """It is somewhere else."""
    DOUBLED = "doubled"
    """It is there twice."""
    ADDED = "added"
    """It is between events that were sealed, and was not."""
    RESTORED = "restored"
    """The log ends before what was sealed: an earlier state of it was restored."""
    UNREADABLE = "unreadable"
    """The store cannot read it."""
    INDEX = "index"
    """It is in order in the log, but its stream, or its id, leads elsewhere."""
    SEAL = "seal"
    """Not an event: the seals themselves were changed."""
    ROW = "row"
    """Not an event: a row of a read model."""


class Finding(NamedTuple):
    """The first thing that is not as it was.

    Attributes:
        kind: What is wrong with it.
        problem: The same in words, without any value of the event.
        position: Where in the log; None if it is not about one place.
        stream: Of the event that is there now.
        version: Likewise.
        type: Likewise.
        table: Of a row of a read model.
        key: Of that row, column names to stored values.
        column: The first of its columns that differs; None if the row is missing, or should be.
    """

    kind: Kind
    problem: str
    position: int | None = None
    stream: str | None = None
    version: int | None = None
    type: str | None = None
    table: str | None = None
    key: Mapping[str, StoredValue] | None = None
    column: str | None = None

    @classmethod
    def at(cls, event: Recorded[Any], kind: Kind, problem: str) -> Finding:
        """About an event that is there."""
        return cls(kind, problem, event.position, event.stream, event.version, event.type)

    def in_words(self) -> str:
        """One line for a person."""
        if self.table is not None:
            key = ", ".join(f"{name} {value}" for name, value in (self.key or {}).items())
            return f"{self.table}{f' ({key})' if key else ''}: {self.problem}"
        place = "" if self.position is None else f"position {self.position}"
        if self.stream is not None:
            place += f" ({self.type} of {self.stream}, version {self.version})"
        return f"{place}: {self.problem}" if place else self.problem


class FoundError(Exception):
    """Ends the work of a verifier; never leaves this room."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.problem)
        self.finding = finding


class Verdict(NamedTuple):
    """What came of verifying.

    Attributes:
        events: Events that were read and found in order.
        position: Of the last of them.
        streams: Of how many streams they are.
        seals: Seals that were checked.
        sealed: Events that are as they were sealed.
        unsealed: Events behind the last seal: in order by themselves, but nothing says how they
            were.
        log: Digest of the log up to that position, hexadecimal.
        finding: The first thing that is not as it was; None: nothing was found.
    """

    events: int = 0
    position: int = 0
    streams: int = 0
    seals: int = 0
    sealed: int = 0
    unsealed: int = 0
    log: str = ""
    finding: Finding | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return self.finding is None
