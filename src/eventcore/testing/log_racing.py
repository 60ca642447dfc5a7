"""Racing: many threads at once lose nothing, double nothing and keep every order."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError
from eventcore.events.recorded import Recorded
from eventcore.stores.log import ANY_VERSION, AppendResult, Log, StreamAppend
from eventcore.testing.log_cases import (
    HANG_SECONDS,
    LogCases,
    positions,
    run_threads,
    skip,
    versions,
)
from eventcore.testing.scenarios import EventMaker

WRITERS = 4
APPENDS_EACH = 25
RACERS = 6
RACES = 8


class RacingCases(LogCases):
    """Cases of many threads at once."""

    def test_a_follower_of_many_writers_sees_every_event_once_and_in_order(self) -> None:
        log = self.log
        # An append writes two events to the writer's own stream and one to a stream of all writers.
        total = WRITERS * APPENDS_EACH * 3
        results: dict[int, list[AppendResult]] = {writer: [] for writer in range(WRITERS)}
        followed: list[Recorded[Any]] = []

        def write(writer: int) -> None:
            make = EventMaker(series=writer + 1)
            for number in range(APPENDS_EACH):
                results[writer].append(
                    log.append(
                        [
                            StreamAppend(f"own-{writer}", 2 * number, make.many(2)),
                            StreamAppend("shared-1", ANY_VERSION, [make()]),
                        ]
                    )
                )

        def follow() -> None:
            with log.subscribe() as subscription:
                followed.extend(itertools.islice(subscription, total))

        run_threads(follow, *(lambda w=writer: write(w) for writer in range(WRITERS)))

        stored = self.contents()
        assert followed == stored
        assert len(stored) == total
        assert positions(stored) == sorted(set(positions(stored)))
        self._check_streams(log, results)

    @staticmethod
    def _check_streams(log: Log, results: dict[int, list[AppendResult]]) -> None:
        shared = list(log.read_stream("shared-1"))
        assert versions(shared) == list(range(1, WRITERS * APPENDS_EACH + 1))
        assert positions(shared) == sorted(positions(shared))
        for writer, appends in results.items():
            own = list(log.read_stream(f"own-{writer}"))
            assert versions(own) == list(range(1, 2 * APPENDS_EACH + 1))
            assert positions(own) == [place for append in appends for place in append.positions[:2]]
            # Where each append was told to be is where it is.
            assert {append.positions[2] for append in appends} <= set(positions(shared))
            assert all(list(append.positions) == sorted(append.positions) for append in appends)

    def test_exactly_one_of_the_racers_wins_each_version(self) -> None:
        log = self.log
        barrier = threading.Barrier(RACERS)
        outcomes: list[tuple[int, int, bool]] = []
        conflicts: list[tuple[int, int]] = []

        def race(racer: int) -> None:
            make = EventMaker(series=racer + 1)
            for version in range(RACES):
                barrier.wait(HANG_SECONDS)
                try:
                    log.append([StreamAppend("order-1", version, [make(data={"by": racer})])])
                except ConcurrencyConflictError as error:
                    conflicts.append((error.expected_version, error.actual_version))
                    outcomes.append((version, racer, False))
                else:
                    outcomes.append((version, racer, True))
                barrier.wait(HANG_SECONDS)

        run_threads(*(lambda r=racer: race(r) for racer in range(RACERS)))

        winners = {version: racer for version, racer, won in outcomes if won}
        assert len(outcomes) == RACERS * RACES
        assert set(conflicts) == {(version, version + 1) for version in range(RACES)}
        assert sorted(version for version, _, won in outcomes if won) == list(range(RACES))
        stored = list(log.read_stream("order-1"))
        assert [event.envelope["data"]["by"] for event in stored] == [
            winners[version] for version in range(RACES)
        ]

    def test_the_same_append_by_many_threads_at_once_is_written_once(self) -> None:
        log = self.log
        events = self.make.many(3)
        results: list[AppendResult] = []
        barrier = threading.Barrier(RACERS)

        def append() -> None:
            barrier.wait(HANG_SECONDS)
            results.append(log.append([StreamAppend("order-1", 0, events)]))

        run_threads(*[append] * RACERS)

        assert {(result.positions, result.versions) for result in results} == {
            ((1, 2, 3), (1, 2, 3))
        }
        assert sorted(result.repeated for result in results) == [False] + [True] * (RACERS - 1)
        assert log.head() == 3

    def test_one_event_id_raced_into_many_streams_is_stored_once(self) -> None:
        self._race_ids([self.log] * RACERS)

    def test_one_event_id_raced_by_many_handles_is_stored_once(self) -> None:
        if not self.is_shared:
            skip("each log of this store is a new one")
        if not self.has_unique_event_ids:
            skip("this store cannot refuse an id that another log is just storing elsewhere")
        self._race_ids([self.log, *(self.open_another() for _ in range(RACERS - 1))])

    def _race_ids(self, logs: Sequence[Log]) -> None:
        events = self.make.many(RACES)
        barrier = threading.Barrier(len(logs))
        outcomes: list[str] = []

        def race(stream: str, log: Log) -> None:
            for event in events:
                barrier.wait(HANG_SECONDS)
                try:
                    log.append([StreamAppend(stream, ANY_VERSION, [event])])
                except EventIdReusedError:
                    outcomes.append("refused")
                else:
                    outcomes.append("stored")

        run_threads(*(lambda n=n, log=log: race(f"own-{n}", log) for n, log in enumerate(logs)))

        assert sorted(outcomes) == ["refused"] * RACES * (len(logs) - 1) + ["stored"] * RACES
        assert [event.state for event in self.contents()] == [event.state for event in events]

    def test_appends_of_several_streams_in_opposite_orders_neither_hang_nor_mix(self) -> None:
        log = self.log

        def write(series: int, streams: tuple[str, str]) -> Callable[[], None]:
            def run() -> None:
                make = EventMaker(series=series)
                for _ in range(APPENDS_EACH):
                    log.append([StreamAppend(name, ANY_VERSION, [make()]) for name in streams])

            return run

        run_threads(
            write(1, ("left-1", "right-1")),
            write(2, ("right-1", "left-1")),
            write(3, ("left-1", "right-1")),
        )

        for stream in ("left-1", "right-1"):
            assert versions(log.read_stream(stream)) == list(range(1, 3 * APPENDS_EACH + 1))

    def test_a_reader_never_sees_half_an_append(self) -> None:
        log = self.log
        done = threading.Event()
        torn: list[int] = []

        def write() -> None:
            for number in range(APPENDS_EACH):
                events = self.make.many(2)
                log.append(
                    [
                        StreamAppend("left-1", number, events[:1]),
                        StreamAppend("right-1", number, events[1:]),
                    ]
                )
            done.set()

        def read() -> None:
            while not done.is_set():
                count = sum(1 for _ in log.read_page(0, 10 * APPENDS_EACH).events)
                if count % 2:
                    torn.append(count)

        run_threads(write, read)

        assert torn == []
        assert log.head() == 2 * APPENDS_EACH
