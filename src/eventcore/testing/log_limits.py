"""Limits and malformed appends: a clear error, and nothing is written."""
# ruff: noqa: D102 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from eventcore.errors import EventCoreError, LimitExceededError, StoreError
from eventcore.events.limits import CATEGORY_LENGTH_MAX, EVENT_TYPE_LENGTH_MAX, ID_LENGTH_MAX
from eventcore.stores.limits import limits_of
from eventcore.stores.log import StreamAppend
from eventcore.testing.log_cases import LogCases, expect_error, versions

UNSTORABLE = (
    "a\0b",
    "a\nb",
    "\r",
    "\t",
    "\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\x9f",
    "\ud800",
    "a\udfffb",
)
"""Text with control characters, or with half a surrogate pair, which has no UTF-8 form."""


class LimitCases(LogCases):
    """Cases of what a store does not take."""

    def test_an_event_of_the_largest_size_is_stored_and_read_back(self) -> None:
        event = self.make()
        filler = b" " * (self.state_bytes_max - len(event.state))
        largest = event._replace(state=event.state + filler)

        self.append("order-1", 0, [largest])

        (stored,) = self.log.read_stream("order-1")
        assert stored.state == largest.state

    def test_a_larger_event_is_refused(self) -> None:
        size = self.state_bytes_max + 1
        too_large = self.make()._replace(state=b" " * size)

        error = self._refused(LimitExceededError, StreamAppend("order-1", 0, [too_large]))

        assert (error.actual, error.limit, error.unit) == (size, self.state_bytes_max, "bytes")

    def test_the_most_events_of_an_append_are_stored(self) -> None:
        result = self.fill("order-1", self.events_per_append_max)

        assert result.versions[-1] == self.events_per_append_max
        assert self.log.stream_version("order-1") == self.events_per_append_max

    def test_more_events_in_one_append_are_refused(self) -> None:
        count = self.events_per_append_max + 1
        half = count // 2
        events = self.make.many(count)

        error = self._refused(
            LimitExceededError,
            StreamAppend("order-1", 0, events[:half]),
            StreamAppend("order-2", 0, events[half:]),
        )

        assert (error.actual, error.limit) == (count, self.events_per_append_max)

    def test_the_most_streams_of_an_append_are_stored(self) -> None:
        count = self.streams_per_append_max

        result = self.log.append(
            [StreamAppend(f"order-{number}", 0, [self.make()]) for number in range(count)]
        )

        assert result.versions == (1,) * count

    def test_more_streams_in_one_append_are_refused(self) -> None:
        count = self.streams_per_append_max + 1

        error = self._refused(
            LimitExceededError,
            *(StreamAppend(f"order-{number}", 0, [self.make()]) for number in range(count)),
        )

        assert (error.actual, error.unit) == (count, "streams")

    def test_a_log_states_the_limits_that_it_keeps(self) -> None:
        limits = limits_of(self.log)

        assert limits.events_per_append_max == self.events_per_append_max
        assert limits.streams_per_append_max == self.streams_per_append_max
        assert limits.state_bytes_max == self.state_bytes_max

    def test_an_append_without_events_is_refused(self) -> None:
        self._refused(StoreError, StreamAppend("order-1", 0, []))
        self._refused(
            StoreError, StreamAppend("order-1", 0, [self.make()]), StreamAppend("order-2", 0, [])
        )
        self._refused(StoreError)

    def test_an_event_id_named_twice_is_refused_also_if_it_is_stored(self) -> None:
        event = self.make()

        self._refused(StoreError, StreamAppend("order-1", 0, [event, event]))
        self._refused(
            StoreError, StreamAppend("order-1", 0, [event]), StreamAppend("order-2", 0, [event])
        )
        self.append("order-1", 0, [event])
        self._refused(StoreError, StreamAppend("order-1", -1, [event, event]))

    def test_a_negative_expected_version_is_refused(self) -> None:
        self._refused(StoreError, StreamAppend("order-1", -2, [self.make()]))

    def test_a_stream_name_is_category_and_id(self) -> None:
        for name in ("", "order", "order-", "-1", "-"):
            self._refused(StoreError, StreamAppend(name, 0, [self.make()]))

    def test_a_stream_name_that_is_too_long_is_refused(self) -> None:
        longest = f"{'c' * CATEGORY_LENGTH_MAX}-{'i' * ID_LENGTH_MAX}"
        self.append(longest, 0, [self.make()])
        assert versions(self.log.read_stream(longest)) == [1]

        self._refused(LimitExceededError, StreamAppend(f"c{longest}", 0, [self.make()]))
        self._refused(LimitExceededError, StreamAppend(f"{longest}i", 0, [self.make()]))

    def test_control_characters_in_a_stream_name_are_refused(self) -> None:
        for text in UNSTORABLE:
            self._refused(StoreError, StreamAppend(f"order-{text}", 0, [self.make()]))
            self._refused(StoreError, StreamAppend(f"{text}-1", 0, [self.make()]))

    def test_an_event_type_that_no_store_could_keep_is_refused(self) -> None:
        for text in ("", *UNSTORABLE):
            self._refused(StoreError, StreamAppend("order-1", 0, [self.make(text)]))
        too_long = self.make("x" * (EVENT_TYPE_LENGTH_MAX + 1))
        self._refused(LimitExceededError, StreamAppend("order-1", 0, [too_long]))

    def test_an_event_id_that_is_no_canonical_uuid_is_refused(self) -> None:
        event = self.make(event_id=UUID("0190abcd-ef01-7abc-8abc-abcdefabcdef"))
        id_ = event.event_id
        for text in ("", "1", id_.upper(), id_.replace("-", ""), f"{{{id_}}}", f"{id_}\n"):
            self._refused(StoreError, StreamAppend("order-1", 0, [event._replace(event_id=text)]))

    def test_a_page_that_could_hold_no_event_is_refused(self) -> None:
        self.fill("order-1", 1)
        for limit in (0, -1):
            with expect_error(StoreError):
                self.log.read_page(0, limit)

    def _refused(self, kind: type[EventCoreError], *appends: StreamAppend) -> EventCoreError:
        before = self.log.head()
        sent: Sequence[StreamAppend] = list(appends)
        with expect_error(kind) as caught:
            self.log.append(sent)
        assert self.log.head() == before
        return caught[0]
