"""How the demo fails: loudly, and saying what differs."""

from __future__ import annotations

from eventcore.errors import DemoFailedError


def must(holds: bool, problem: str) -> None:
    """Refuse to go on unless something holds.

    Raises:
        DemoFailedError: It does not.
    """
    if not holds:
        raise DemoFailedError(problem=problem)
