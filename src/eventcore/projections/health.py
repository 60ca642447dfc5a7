"""Health: whether read models can be trusted to be current, in two checks.

One looks at each projection against the head of the log. The other looks at the feed itself: if
something holds it, no projection gets further however well it runs, and what is behind it cannot be
seen from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventcore.errors import StoreError
from eventcore.stores.holders import FeedWatch, lasting_holders
from eventcore.stores.log import Log, store_of

LAG_SECONDS_MAX: Final = 60.0
"""Age of the oldest event not yet applied, from which a projection counts as unhealthy."""

HELD_SECONDS_MAX: Final = 10.0
"""Age from which a transaction that holds the feed makes it unhealthy; most take milliseconds."""


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: ``projections`` or ``feed``.
        ok: Whether it is well.
        problems: What is not, a sentence each.
        notes: What is worth a look all the same, likewise.
    """

    name: str
    ok: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """``{"name", "ok", "problems", "notes"}``; without the notes if there are none."""
        told = {"name": self.name, "ok": self.ok, "problems": list(self.problems)}
        return {**told, "notes": list(self.notes)} if self.notes else told


class Health(NamedTuple):
    """How read models are.

    Attributes:
        checks: The two checks.
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all checks are well."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For an endpoint of one's own: ``{"ok", "checks"}``, see :meth:`Check.as_dict`."""
        return {"ok": self.ok, "checks": [check.as_dict() for check in self.checks]}


class Lagging(NamedTuple):
    """What is known of one: see :class:`eventcore.projections.statuses.ProjectionStatus`."""

    projection: str
    lag_events: int
    lag_seconds: float | None
    problem: str | None
    parked: int = 0


def check_projections(found: Sequence[Lagging], lag_seconds_max: float) -> Check:
    """Each projection against the head.

    Args:
        found: All of them, with their lags.
        lag_seconds_max: Age of the oldest event not yet applied that is put up with. An event that
            cannot be read yet has no age: the other check tells why.
    """
    problems = [
        f"{one.projection}: {one.problem}"
        if one.problem is not None
        else f"{one.projection} is {one.lag_events:,} positions and {one.lag_seconds:,.0f} s behind"
        for one in found
        if one.problem is not None
        or (one.lag_seconds is not None and one.lag_seconds > lag_seconds_max)
    ]
    # Everything else goes on, and restarting helps nobody: no reason to fail a probe.
    notes = [
        f"{one.parked:,} keys of {one.projection} are parked since an event failed"
        for one in found
        if one.parked
    ]
    return Check("projections", ok=not problems, problems=tuple(problems), notes=tuple(notes))


def check_feed(log: Log, held_seconds_max: float) -> Check:
    """Whether a follower of the log can get further."""
    try:
        log.head()
        store = store_of(log)
        held = lasting_holders(store, held_seconds_max) if isinstance(store, FeedWatch) else []
    except StoreError as error:
        return Check("feed", ok=False, problems=(str(error),))
    problems = tuple(f"the feed is held by {holder.who}" for holder in held)
    return Check("feed", ok=not problems, problems=problems)
