"""Appending: all or nothing, optimistic concurrency, and repeats that write nothing."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend
from eventcore.testing.log_cases import LogCases, expect_error, positions, versions


class AppendingCases(LogCases):
    """Cases of ``append``."""

    def test_the_first_event_is_version_1_at_position_1(self) -> None:
        event = self.make()

        result = self.append("order-1", 0, [event])

        assert result == AppendResult((1,), (1,), repeated=False)
        (stored,) = self.contents()
        assert (stored.position, stored.stream, stored.version) == (1, "order-1", 1)
        assert (stored.type, stored.state) == (event.type, event.state)
        assert str(stored.event_id) == event.event_id

    def test_events_of_one_append_get_contiguous_places_in_their_order(self) -> None:
        events = self.make.many(5)

        result = self.append("order-1", 0, events)

        assert result == AppendResult((1, 2, 3, 4, 5), (1, 2, 3, 4, 5), repeated=False)
        assert [stored.state for stored in self.contents()] == [event.state for event in events]

    def test_positions_are_shared_by_all_streams_and_versions_are_not(self) -> None:
        self.fill("order-1", 2)
        self.fill("user-1", 1)

        result = self.append("order-1", 2, [self.make()])

        assert result == AppendResult((4,), (3,), repeated=False)

    def test_one_append_writes_several_streams(self) -> None:
        self.fill("order-1", 1)

        result = self.log.append(
            [
                StreamAppend("user-1", 0, self.make.many(2)),
                StreamAppend("order-1", 1, self.make.many(1)),
            ]
        )

        assert result == AppendResult((2, 3, 4), (1, 2, 2), repeated=False)
        assert [(event.stream, event.version) for event in self.contents()] == [
            ("order-1", 1),
            ("user-1", 1),
            ("user-1", 2),
            ("order-1", 2),
        ]

    def test_a_stream_named_again_goes_on_and_the_order_given_is_kept(self) -> None:
        self.fill("order-1", 1)
        appends = [
            StreamAppend("order-1", 1, self.make.many(2)),
            StreamAppend("user-1", ANY_VERSION, [self.make()]),
            StreamAppend("order-1", 3, [self.make()]),
            StreamAppend("user-1", ANY_VERSION, [self.make()]),
        ]

        result = self.log.append(appends)

        assert result == AppendResult((2, 3, 4, 5, 6), (2, 3, 1, 4, 2), repeated=False)
        assert [(event.stream, event.version) for event in self.log.read(1)] == [
            ("order-1", 2),
            ("order-1", 3),
            ("user-1", 1),
            ("order-1", 4),
            ("user-1", 2),
        ]
        repeated = self.log.append(appends)
        assert repeated == AppendResult(result.positions, result.versions, repeated=True)

    def test_a_stream_named_again_at_a_version_it_has_not_reached_conflicts(self) -> None:
        for second in (0, 1, 3):
            with expect_error(ConcurrencyConflictError) as caught:
                self.log.append(
                    [
                        StreamAppend("order-1", 0, self.make.many(2)),
                        StreamAppend("order-1", second, [self.make()]),
                    ]
                )
            error = caught[0]
            assert (error.expected_version, error.actual_version) == (second, 2)
        assert self.log.head() == 0

    def test_one_stale_stream_keeps_the_others_from_being_written(self) -> None:
        self.fill("order-1", 1)
        before = self.contents()

        with expect_error(ConcurrencyConflictError) as caught:
            self.log.append(
                [
                    StreamAppend("user-1", 0, [self.make()]),
                    StreamAppend("order-1", 0, [self.make()]),
                ]
            )

        assert caught[0].stream == "order-1"
        assert self.contents() == before
        assert self.log.stream_version("user-1") == 0

    def test_a_stale_expected_version_fails_with_both_versions_and_writes_nothing(self) -> None:
        self.fill("order-1", 3)
        before = self.contents()

        with expect_error(ConcurrencyConflictError) as caught:
            self.append("order-1", 2, [self.make()])

        error = caught[0]
        assert (error.stream, error.expected_version, error.actual_version) == ("order-1", 2, 3)
        assert self.contents() == before

    def test_an_expected_version_above_the_last_one_fails(self) -> None:
        self.fill("order-1", 1)

        with expect_error(ConcurrencyConflictError) as caught:
            self.append("order-1", 5, [self.make()])

        assert (caught[0].expected_version, caught[0].actual_version) == (5, 1)
        assert self.log.head() == 1

    def test_an_expected_version_of_a_stream_that_does_not_exist_fails(self) -> None:
        with expect_error(ConcurrencyConflictError) as caught:
            self.append("order-1", 1, [self.make()])

        assert (caught[0].expected_version, caught[0].actual_version) == (1, 0)
        assert self.log.head() == 0

    def test_a_stream_cannot_begin_twice(self) -> None:
        self.fill("order-1", 1)

        with expect_error(ConcurrencyConflictError):
            self.append("order-1", 0, [self.make()])

        assert self.log.stream_version("order-1") == 1

    def test_any_version_appends_where_the_stream_is(self) -> None:
        self.fill("order-1", 2)

        result = self.append("order-1", ANY_VERSION, self.make.many(2))
        begun = self.append("order-2", ANY_VERSION, [self.make()])

        assert result.versions == (3, 4)
        assert begun.versions == (1,)

    def test_a_repeated_append_gives_the_same_places_and_writes_nothing(self) -> None:
        events = self.make.many(3)
        first = self.append("order-1", 0, events)

        second = self.append("order-1", 0, events)

        assert second == AppendResult(first.positions, first.versions, repeated=True)
        assert self.log.head() == 3

    def test_a_repeated_append_is_found_also_after_others_appended(self) -> None:
        self.fill("order-1", 1)
        events = self.make.many(2)
        first = self.append("order-1", 1, events)
        self.append("order-1", 3, self.make.many(4))
        self.fill("user-1", 3)

        second = self.append("order-1", 1, events)

        assert second == AppendResult(first.positions, first.versions, repeated=True)
        assert self.log.head() == 10

    def test_a_repeated_append_of_several_streams_gives_the_same_places(self) -> None:
        appends = [
            StreamAppend("user-1", 0, self.make.many(2)),
            StreamAppend("order-1", 0, self.make.many(1)),
            StreamAppend("day-1", ANY_VERSION, self.make.many(1)),
        ]
        first = self.log.append(appends)

        second = self.log.append(appends)

        assert second == AppendResult(first.positions, first.versions, repeated=True)
        assert self.log.head() == 4

    def test_a_repeated_append_at_any_version_gives_the_same_places(self) -> None:
        events = self.make.many(2)
        first = self.append("order-1", ANY_VERSION, events)
        self.append("order-1", ANY_VERSION, [self.make()])

        second = self.append("order-1", ANY_VERSION, events)

        assert second == AppendResult(first.positions, first.versions, repeated=True)
        assert self.log.head() == 3

    def test_a_repeat_at_any_version_is_found_by_another_log_after_many_others(self) -> None:
        events = self.make.many(2)
        other = [StreamAppend("day-2", ANY_VERSION, self.make.many(2))]
        self.append("day-1", ANY_VERSION, self.make.many(600))
        first = self.append("day-1", ANY_VERSION, events)
        second = self.log.append(other)
        self.append("day-1", ANY_VERSION, self.make.many(600))
        log = self.open_another() if self.is_shared else self.log

        again = log.append([StreamAppend("day-1", ANY_VERSION, events)])
        others = log.append(other)

        assert again == AppendResult(first.positions, first.versions, repeated=True)
        assert others == AppendResult(second.positions, second.versions, repeated=True)
        assert log.stream_version("day-1") == 1_202

    def test_an_append_of_which_a_part_is_stored_is_refused(self) -> None:
        events = self.make.many(2)
        self.append("order-1", 0, events[:1])

        with expect_error(ConcurrencyConflictError):
            self.append("order-1", 0, events)
        with expect_error(EventIdReusedError) as caught:
            self.append("order-1", ANY_VERSION, events)

        error = caught[0]
        assert (error.event_id, error.stream, error.version) == (events[0].event_id, "order-1", 1)
        assert self.log.head() == 1

    def test_an_append_of_several_streams_of_which_one_is_stored_is_refused(self) -> None:
        stored = StreamAppend("order-1", ANY_VERSION, self.make.many(1))
        self.log.append([stored])

        with expect_error(EventIdReusedError):
            self.log.append([StreamAppend("user-1", 0, [self.make()]), stored])

        assert self.log.stream_version("user-1") == 0

    def test_an_event_id_with_another_content_is_refused(self) -> None:
        first = self.make(data={"amount": "1.00"})
        self.append("order-1", 0, [first])
        other = first._replace(state=first.state.replace(b"1.00", b"2.00"))

        with expect_error(EventIdReusedError) as caught:
            self.append("order-1", 1, [other])

        error = caught[0]
        assert (error.event_id, error.stream, error.version) == (first.event_id, "order-1", 1)
        assert [event.state for event in self.contents()] == [first.state]

    def test_an_event_id_with_another_type_is_refused(self) -> None:
        first = self.make("order.paid")
        self.append("order-1", ANY_VERSION, [first])

        with expect_error(EventIdReusedError):
            self.append("order-1", ANY_VERSION, [first._replace(type="order.cancelled")])

        assert self.log.head() == 1

    def test_an_event_id_is_refused_in_another_stream(self) -> None:
        event = self.make()
        self.append("order-1", 0, [event])

        with expect_error(EventIdReusedError) as caught:
            self.append("order-2", 0, [event])

        assert (caught[0].stream, caught[0].version) == ("order-1", 1)
        assert self.log.stream_version("order-2") == 0

    def test_an_event_id_is_refused_at_another_version_of_its_stream(self) -> None:
        event = self.make()
        self.append("order-1", 0, [event])

        with expect_error(EventIdReusedError):
            self.append("order-1", 1, [event])

        assert self.log.stream_version("order-1") == 1

    def test_one_reused_event_id_keeps_the_whole_append_from_being_written(self) -> None:
        event = self.make()
        self.append("order-1", 0, [event])
        before = self.contents()

        with expect_error(EventIdReusedError):
            self.append("order-2", 0, [*self.make.many(3), event])

        assert self.contents() == before

    def test_a_moved_stream_is_reported_before_a_reused_event_id(self) -> None:
        event = self.make()
        self.append("order-1", 0, [event])

        with expect_error(ConcurrencyConflictError):
            self.log.append(
                [
                    StreamAppend("user-1", 0, [event]),
                    StreamAppend("order-1", 0, [self.make()]),
                ]
            )

    def test_a_refused_append_leaves_no_trace_in_the_next_one(self) -> None:
        self.fill("order-1", 2)
        with expect_error(ConcurrencyConflictError):
            self.append("order-1", 0, self.make.many(3))

        result = self.append("order-1", 2, [self.make()])

        assert result.versions == (3,)
        stored = self.contents()
        assert versions(stored) == [1, 2, 3]
        assert positions(stored) == sorted(positions(stored))
        assert positions(stored)[-1] == result.positions[0]
