"""Read your own write: from a command's return until all eight read models have it.

Beside it the base library: its own projection runner and ``wait()``, in memory, where nothing but
its waiting costs time; on SQLite it has no subscriptions at all.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from typing_extensions import override

from benchmarks.measuring import Figure, arguments, interleaved, report
from eventcore import open_app
from eventcore.app import App
from eventcore.commands import RegisterUser, UpdateProfile

P50_TARGET_MS = 5.0


class Person(Aggregate):
    """The base library's own style."""

    def __init__(self, name: str) -> None:
        self.name = name

    @event("Renamed")
    def rename(self, name: str) -> None:
        """Take another name."""
        self.name = name


class People(Application[Any]):
    """An application of the base library."""


class Names(POPOTrackingRecorder):
    """A view that keeps nothing but its position."""


class NameProjection(Projection[Names]):
    """Tracks every event."""

    name = "names"

    @override
    @singledispatchmethod
    def process_event(self, _event: Any, tracking: Tracking) -> None:
        """Note that it was seen."""
        self.view.insert_tracking(tracking)


def ours(app: App) -> Callable[[], float]:
    """Milliseconds of one write that is waited for."""
    count = iter(range(10**9))

    def once() -> float:
        result = app.execute(UpdateProfile(user_id="u-1", first_name=f"Ada {next(count)}"))
        started = time.perf_counter()
        app.wait_for(result.position)
        return (time.perf_counter() - started) * 1000

    return once


def theirs(runner: ProjectionRunner[Any, Any], person: Person) -> Callable[[], float]:
    """The same with the base library."""
    count = iter(range(10**9))

    def once() -> float:
        person.rename(f"Ada {next(count)}")
        (recording,) = runner.app.save(person)
        started = time.perf_counter()
        runner.wait(recording.notification.id)
        return (time.perf_counter() - started) * 1000

    return once


def main() -> None:
    """Measure both, one write after the other."""
    options = arguments(__doc__ or "", rounds=200)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, open_app(f"sqlite:///{Path(folder)}/x.db") as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        runner = app.runner()
        runner.start()
        with ProjectionRunner(
            application_class=People, projection_class=NameProjection, view_class=Names
        ) as base:
            person = Person(name=str(uuid4()))
            base.app.save(person)
            found = interleaved({"ours": ours(app), "theirs": theirs(base, person)}, options.rounds)
        runner.stop()
    figures = []
    for name, values in found.items():
        values.sort()
        title = {"ours": "eventcore, SQLite, 8 read models", "theirs": "eventsourcing, in memory"}[
            name
        ]
        target = P50_TARGET_MS if name == "ours" else None
        figures += [
            Figure(f"{title}: p50", statistics.median(values), "ms", target, at_least=False),
            Figure(f"{title}: p95", values[int(len(values) * 0.95)], "ms"),
        ]
    report("a position waited for after a command", figures)


if __name__ == "__main__":
    main()
