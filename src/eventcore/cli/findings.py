"""Finding: what one look of ``eventcore doctor`` came to."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What one look found.

    Attributes:
        check: What was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        action: What to do about it; empty if nothing.
    """

    check: str
    ok: bool
    detail: str
    action: str = ""
