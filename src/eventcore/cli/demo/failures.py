"""How the demo fails: loudly, and saying what differs."""

from __future__ import annotations

from eventcore.errors import EventCoreError


class DemoFailedError(EventCoreError):
    """Something was not as the library promises."""

    template = "The demo found a difference: {problem}"


class WorkerFailedError(EventCoreError):
    """A process of the demo ended by itself."""

    template = "The {name} (process {pid}) ended with code {code}: {problem}"


def must(holds: bool, problem: str) -> None:
    """Refuse to go on unless something holds.

    Raises:
        DemoFailedError: It does not.
    """
    if not holds:
        raise DemoFailedError(problem=problem)
