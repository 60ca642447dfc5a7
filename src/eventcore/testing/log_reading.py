"""Reading: one stream, the whole log, pages and filters, single events by id."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

from datetime import timedelta

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.times import to_text
from eventcore.stores.log import EVERYTHING, AppendResult, LogFilter, Page, StreamAppend
from eventcore.testing.log_cases import LogCases, positions, versions
from eventcore.testing.scenarios import START

ODD_IDS = (
    "a/b/../c", "o'brien", 'say "hi"', "a b", " ", "-", "a-b-c", "%20", "_", "?x=1&y=2#z", "*",
    "NULL", "1; DROP TABLE eventcore_log", "Zo\u00eb", "\u65e5\u672c", "\U0001f469\u200d\U0001f467",
    "\u202eevil", "\u200b", "\\", "$ref", "a", "A", "a ", "\u00e9", "e\u0301", "x" * 128,
    "\u8a9e" * 128,
)  # fmt: skip
"""Ids that quoting, escaping, folding or trimming would damage; no two of them are the same."""


class ReadingCases(LogCases):
    """Cases of every reading method."""

    def test_an_empty_log_has_head_0_and_nothing_to_read(self) -> None:
        assert self.log.head() == 0
        assert self.log.read_page(0, 10) == Page([], 0)
        assert self.log.read_page(0, 10, LogFilter(types=frozenset({"a.b"}))) == Page([], 0)
        assert self.contents() == []

    def test_an_unknown_stream_is_empty(self) -> None:
        self.fill("order-1", 1)

        assert list(self.log.read_stream("order-2")) == []
        assert list(self.log.read_stream("order-2", backwards=True)) == []
        assert list(self.log.read_stream("order-2", until_time=to_text(START))) == []
        assert self.log.stream_version("order-2") == 0

    def test_a_stream_is_read_alone_and_in_order(self) -> None:
        self.fill("order-1", 2)
        self.fill("order-11", 2)
        self.append("order-1", 2, self.make.many(2))

        events = list(self.log.read_stream("order-1"))

        assert [(event.stream, event.version, event.position) for event in events] == [
            ("order-1", 1, 1),
            ("order-1", 2, 2),
            ("order-1", 3, 5),
            ("order-1", 4, 6),
        ]

    def test_a_stream_is_read_between_versions(self) -> None:
        self.fill("order-1", 5)
        read = self.log.read_stream

        assert versions(read("order-1", after=2)) == [3, 4, 5]
        assert versions(read("order-1", until=2)) == [1, 2]
        assert versions(read("order-1", after=1, until=4)) == [2, 3, 4]
        assert versions(read("order-1", after=5)) == []
        assert versions(read("order-1", after=3, until=2)) == []
        assert versions(read("order-1", until=0)) == []
        assert versions(read("order-1", until=99)) == [1, 2, 3, 4, 5]
        assert versions(read("order-1", after=-1)) == [1, 2, 3, 4, 5]
        assert versions(read("order-1", after=2**70)) == []
        assert versions(read("order-1", until=2**70)) == [1, 2, 3, 4, 5]

    def test_a_stream_is_read_backwards(self) -> None:
        self.fill("order-1", 5)
        read = self.log.read_stream

        assert versions(read("order-1", backwards=True)) == [5, 4, 3, 2, 1]
        assert versions(read("order-1", backwards=True, limit=1)) == [5]
        assert versions(read("order-1", backwards=True, after=1, until=4, limit=2)) == [4, 3]

    def test_a_limit_bounds_what_is_read_of_a_stream(self) -> None:
        self.fill("order-1", 3)
        read = self.log.read_stream

        assert versions(read("order-1", limit=2)) == [1, 2]
        assert versions(read("order-1", after=1, limit=1)) == [2]
        assert versions(read("order-1", limit=0)) == []
        assert versions(read("order-1", limit=99)) == [1, 2, 3]

    def test_a_stream_is_read_as_of_a_time_that_counts_itself(self) -> None:
        times = [START + timedelta(seconds=second) for second in (0, 10, 10, 20)]
        self.append("order-1", 0, [self.make(at=at) for at in times])
        read = self.log.read_stream

        def as_of(second: float) -> str:
            return to_text(START + timedelta(seconds=second))

        assert versions(read("order-1", until_time=as_of(-1))) == []
        assert versions(read("order-1", until_time=as_of(0))) == [1]
        assert versions(read("order-1", until_time=as_of(9.999999))) == [1]
        assert versions(read("order-1", until_time=as_of(10))) == [1, 2, 3]
        assert versions(read("order-1", until_time=as_of(99))) == [1, 2, 3, 4]
        assert versions(read("order-1", until_time=as_of(10), backwards=True)) == [3, 2, 1]
        assert versions(read("order-1", until_time=as_of(99), after=1, until=3)) == [2, 3]
        assert versions(read("order-1", until_time=as_of(10), backwards=True, limit=1)) == [3]

    def test_as_of_a_time_is_a_prefix_also_where_a_clock_stepped_back(self) -> None:
        times = [START + timedelta(seconds=second) for second in (0, 30, 10, 40)]
        self.append("order-1", 0, [self.make(at=at) for at in times])

        as_of_10 = self.log.read_stream("order-1", until_time=to_text(times[2]))
        as_of_30 = self.log.read_stream("order-1", until_time=to_text(times[1]))

        # Version 3 says second 10, but it builds on version 2, which had not happened then.
        assert versions(as_of_10) == [1]
        assert versions(as_of_30) == [1, 2, 3]

    def test_a_stream_of_thousands_is_read_completely_both_ways(self) -> None:
        count = 2 * READ_PAGE_EVENTS + 500
        self.fill("order-1", count)
        expected = list(range(1, count + 1))

        assert versions(self.log.read_stream("order-1")) == expected
        assert versions(self.log.read_stream("order-1", backwards=True)) == expected[::-1]
        assert (
            versions(self.log.read_stream("order-1", limit=READ_PAGE_EVENTS + 1))
            == (expected[: READ_PAGE_EVENTS + 1])
        )
        assert positions(self.log.read()) == expected

    def test_a_name_that_no_store_could_keep_is_not_there(self) -> None:
        self.fill("order-1", 1)
        name = "order-\udcff\0"

        assert list(self.log.read_stream(name)) == []
        assert self.log.stream_version(name) == 0
        assert dict(self.log.stream_versions([name, "order-1"])) == {name: 0, "order-1": 1}
        assert dict(self.log.locate([name])) == {}
        assert self.log.read_page(0, 10, LogFilter(types=frozenset({name}))) == Page([], 1)
        assert self.log.read_page(0, 10, LogFilter(categories=frozenset({name}))) == Page([], 1)

    def test_the_versions_of_many_streams_are_read_at_once(self) -> None:
        self.fill("order-1", 3)
        self.fill("user-1", 1)

        found = self.log.stream_versions(["order-1", "order-2", "user-1"])

        assert dict(found) == {"order-1": 3, "order-2": 0, "user-1": 1}
        assert dict(self.log.stream_versions([])) == {}
        assert self.log.stream_version("order-1") == 3

    def test_pages_follow_each_other_without_gap_or_overlap(self) -> None:
        self.fill("order-1", 3)
        self.fill("user-1", 2)

        first = self.log.read_page(0, 2)
        second = self.log.read_page(first.end, 2)
        third = self.log.read_page(second.end, 2)

        assert (positions(first.events), first.end) == ([1, 2], 2)
        assert (positions(second.events), second.end) == ([3, 4], 4)
        assert (positions(third.events), third.end) == ([5], 5)
        assert self.log.read_page(third.end, 2) == Page([], 5)

    def test_a_page_after_the_head_is_empty_and_ends_where_it_began(self) -> None:
        self.fill("order-1", 1)

        assert self.log.read_page(7, 10) == Page([], 7)
        assert self.log.read_page(7, 10, LogFilter(types=frozenset({"a.b"}))) == Page([], 7)

    def test_a_negative_position_reads_from_the_beginning(self) -> None:
        self.fill("order-1", 2)

        assert positions(self.log.read_page(-5, 10).events) == [1, 2]
        assert positions(self.log.read(-5)) == [1, 2]

    def test_a_filter_by_type_leaves_out_the_others(self) -> None:
        self._mixed()

        page = self.log.read_page(0, 10, LogFilter(types=frozenset({"order.paid", "user.moved"})))

        assert [(event.position, event.type) for event in page.events] == [
            (2, "order.paid"),
            (3, "user.moved"),
        ]

    def test_a_filter_by_category_compares_the_whole_first_part_of_the_name(self) -> None:
        self._mixed()

        page = self.log.read_page(0, 10, LogFilter(categories=frozenset({"order"})))

        assert [event.stream for event in page.events] == ["order-1", "order-1", "order-x-y"]

    def test_types_and_categories_must_both_match(self) -> None:
        self._mixed()
        where = LogFilter(
            types=frozenset({"order.created", "user.moved"}), categories=frozenset({"order"})
        )

        page = self.log.read_page(0, 10, where)

        assert positions(page.events) == [1, 5]

    def test_a_filter_that_names_nothing_lets_nothing_pass(self) -> None:
        self._mixed()

        page = self.log.read_page(0, 10, LogFilter(types=frozenset()))

        assert page == Page([], 5)

    def test_a_filter_by_odd_names_is_no_query(self) -> None:
        self._mixed()

        page = self.log.read_page(
            0, 10, LogFilter(types=frozenset({"%", "' OR 1=1 --", "order.*"}))
        )

        assert page == Page([], 5)

    def test_a_filtered_page_ends_at_the_head_if_nothing_more_matches(self) -> None:
        self._mixed()

        page = self.log.read_page(0, 10, LogFilter(types=frozenset({"order.paid"})))

        assert (positions(page.events), page.end) == ([2], 5)

    def test_a_full_filtered_page_ends_at_its_last_event(self) -> None:
        self._mixed()
        where = LogFilter(categories=frozenset({"order"}))

        first = self.log.read_page(0, 2, where)
        second = self.log.read_page(first.end, 2, where)

        assert (positions(first.events), first.end) == ([1, 2], 2)
        assert (positions(second.events), second.end) == ([5], 5)

    def test_the_whole_log_is_read_between_positions_and_by_filter(self) -> None:
        self._mixed()
        orders = LogFilter(categories=frozenset({"order"}))

        assert positions(self.log.read()) == [1, 2, 3, 4, 5]
        assert positions(self.log.read(2)) == [3, 4, 5]
        assert positions(self.log.read(1, until=4)) == [2, 3, 4]
        assert positions(self.log.read(4, until=2)) == []
        assert positions(self.log.read(where=orders)) == [1, 2, 5]
        assert positions(self.log.read(1, until=4, where=orders)) == [2]
        assert positions(self.log.read(where=EVERYTHING)) == [1, 2, 3, 4, 5]
        assert positions(self.log.read(2**70)) == []

    def test_rare_matches_are_found_over_many_pages(self) -> None:
        for number in range(1, 4):
            self.fill(f"noise-{number}", READ_PAGE_EVENTS)
            self.fill(f"order-{number}", 1, "order.created")

        rare = list(self.log.read(where=LogFilter(types=frozenset({"order.created"}))))

        assert [event.stream for event in rare] == ["order-1", "order-2", "order-3"]

    def test_reading_ends_at_the_head_that_was_when_it_began(self) -> None:
        self.fill("order-1", 2)

        seen = []
        for event in self.log.read():
            seen.append(event.position)
            self.append("user-1", len(seen) - 1, [self.make()])

        assert seen == [1, 2]
        assert self.log.head() == 4

    def test_events_are_located_by_id(self) -> None:
        events = self.make.many(3)
        self.append("order-1", 0, events)
        absent = self.make()

        found = self.log.locate([events[2].event_id, absent.event_id, events[0].event_id])

        assert {id_: event.version for id_, event in found.items()} == {
            events[0].event_id: 1,
            events[2].event_id: 3,
        }
        assert found[events[0].event_id].state == events[0].state
        assert dict(self.log.locate([])) == {}

    def test_thousands_of_events_are_located_at_once(self) -> None:
        events = self.make.many(2 * READ_PAGE_EVENTS)
        self.append("order-1", 0, events)

        found = self.log.locate([event.event_id for event in events])

        assert len(found) == 2 * READ_PAGE_EVENTS

    def test_odd_ids_name_streams_of_their_own(self) -> None:
        streams = [f"order-{id_}" for id_ in ODD_IDS]
        events = {stream: self.make(data={"of": stream}) for stream in streams}
        for stream in streams:
            assert self.append(stream, 0, [events[stream]]).versions == (1,)

        for stream, id_ in zip(streams, ODD_IDS, strict=True):
            (stored,) = self.log.read_stream(stream)
            assert (stored.stream, stored.category, stored.id) == (stream, "order", id_)
            assert stored.state == events[stream].state
        assert dict(self.log.stream_versions(streams)) == dict.fromkeys(streams, 1)
        orders = self.log.read(where=LogFilter(categories=frozenset({"order"})))
        assert [event.stream for event in orders] == streams

    def test_what_one_reader_does_to_an_event_no_other_sees(self) -> None:
        self.append("order-1", 0, [self.make(data={"tags": []})])
        (first,) = self.log.read_stream("order-1")
        first.envelope["data"]["tags"].append("changed")

        (second,) = self.log.read_stream("order-1")

        assert second.envelope["data"] == {"tags": []}

    def _mixed(self) -> None:
        self.log.append(
            [
                StreamAppend("order-1", 0, [self.make("order.created"), self.make("order.paid")]),
                StreamAppend("user-1", 0, [self.make("user.moved")]),
                StreamAppend("orders-1", 0, [self.make("order.created")]),
                StreamAppend("order-x-y", 0, [self.make("order.created")]),
            ]
        )
        assert self.log.head() == 5

    def test_the_result_of_an_append_is_where_the_events_are_read(self) -> None:
        self.fill("user-1", 1)

        result = self.fill("order-1", 2)

        assert result == AppendResult((2, 3), (1, 2), repeated=False)
        assert positions(self.log.read_stream("order-1")) == [2, 3]
