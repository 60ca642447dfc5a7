"""What an import did, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class IngestReport:
    """Counts of one run so far.

    Attributes:
        read: Lines that are not blank.
        accepted: Appended to the log in this run.
        duplicate: In the log before, with the same content.
        rejected: Refused.
        reasons: Refused lines by reason code.
        seconds: How long it took.
    """

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The summary that the command line ends with."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 3),
            "reasons": dict(sorted(self.reasons.items())),
        }
