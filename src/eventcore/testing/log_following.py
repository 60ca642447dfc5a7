"""Following: everything once and in order, live, and an end when it is asked for."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

import itertools
import threading
from typing import Any

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.log import LogFilter, Page, Subscription
from eventcore.testing.log_cases import HANG_SECONDS, LogCases, positions, run_threads


class FollowingCases(LogCases):
    """Cases of ``subscribe``."""

    def test_a_subscription_begins_with_what_is_stored(self) -> None:
        self.fill("order-1", 3)

        with self.log.subscribe() as subscription:
            assert positions(_take(subscription, 3)) == [1, 2, 3]

    def test_a_subscription_begins_after_the_given_position(self) -> None:
        self.fill("order-1", 5)

        with self.log.subscribe(3) as subscription:
            assert positions(_take(subscription, 2)) == [4, 5]

    def test_a_subscription_crosses_pages(self) -> None:
        count = 2 * READ_PAGE_EVENTS + 10
        self.fill("order-1", count)

        with self.log.subscribe() as subscription:
            assert positions(_take(subscription, count)) == list(range(1, count + 1))

    def test_events_appended_later_arrive(self) -> None:
        self.fill("order-1", 1)
        with self.log.subscribe() as subscription:
            events = iter(subscription)
            assert next(events).position == 1

            # The reader sleeps, or is about to, when each of these is appended.
            run_threads(
                lambda: [self.append("order-1", 1 + n, [self.make()]) for n in range(20)],
                lambda: [next(events) for _ in range(20)],
            )

            self.append("order-1", 21, [self.make()])
            assert next(events).position == 22

    def test_a_filter_leaves_events_out_and_the_rest_arrives(self) -> None:
        where = LogFilter(types=frozenset({"order.paid"}))
        with self.log.subscribe(where=where) as subscription:
            self.fill("order-1", 2)
            self.append("order-1", 2, [self.make("order.paid")])
            self.append("order-1", 3, [self.make()])
            self.append("order-1", 4, [self.make("order.paid")])

            assert positions(_take(subscription, 2)) == [3, 5]

    def test_a_page_says_how_far_a_filtered_follower_is(self) -> None:
        self.fill("order-1", 4)
        with self.log.subscribe(where=LogFilter(types=frozenset({"none.such"}))) as subscription:
            assert subscription.next_page(0) == Page([], 4)

    def test_no_page_in_time_is_an_empty_page(self) -> None:
        self.fill("order-1", 2)
        with self.log.subscribe(2) as subscription:
            assert subscription.next_page(0) == Page([], 2)
            assert subscription.next_page(0.01) == Page([], 2)

            self.append("order-1", 2, [self.make()])
            page = subscription.next_page(HANG_SECONDS)

        assert page is not None
        assert (positions(page.events), page.end) == ([3], 3)

    def test_a_broken_off_iteration_goes_on_where_it_stopped(self) -> None:
        self.fill("order-1", 5)
        with self.log.subscribe() as subscription:
            assert positions(_take(subscription, 2)) == [1, 2]
            assert positions(_take(subscription, 1)) == [3]

            page = subscription.next_page(0)

        assert page is not None
        assert (positions(page.events), page.end) == ([4, 5], 5)

    def test_several_subscribers_each_get_everything(self) -> None:
        count = 40
        subscriptions = [self.log.subscribe() for _ in range(3)]
        taken: list[list[Recorded[Any]]] = [[] for _ in subscriptions]

        run_threads(
            lambda: [self.append("order-1", n, [self.make()]) for n in range(count)],
            *(
                lambda mine=mine, its=its: mine.extend(_take(its, count))
                for mine, its in zip(taken, subscriptions, strict=True)
            ),
        )

        assert [positions(each) for each in taken] == [list(range(1, count + 1))] * 3
        for subscription in subscriptions:
            subscription.close()

    def test_closing_before_the_iteration_ends_it_at_once(self) -> None:
        self.fill("order-1", 2)
        subscription = self.log.subscribe()

        subscription.close()

        assert list(subscription) == []
        assert subscription.next_page() is None
        subscription.close()

    def test_closing_in_the_middle_of_a_page_ends_the_iteration(self) -> None:
        self.fill("order-1", 5)
        subscription = self.log.subscribe()

        seen = []
        for event in subscription:
            seen.append(event.position)
            subscription.close()

        assert seen == [1]
        assert subscription.next_page() is None

    def test_closing_wakes_a_consumer_that_waits(self) -> None:
        self.fill("order-1", 1)
        subscription = self.log.subscribe()
        caught_up = threading.Event()
        seen = []

        def consume() -> None:
            for event in subscription:
                seen.append(event.position)
                caught_up.set()

        def close() -> None:
            assert caught_up.wait(HANG_SECONDS)
            subscription.close()

        run_threads(consume, close)

        assert seen == [1]

    def test_closing_one_subscription_leaves_the_others(self) -> None:
        closed, kept = self.log.subscribe(), self.log.subscribe()

        closed.close()
        self.fill("order-1", 2)

        assert positions(_take(kept, 2)) == [1, 2]
        kept.close()

    def test_closing_the_log_ends_its_subscriptions(self) -> None:
        self.fill("order-1", 1)
        log = self.log
        subscriptions = [log.subscribe() for _ in range(3)]
        caught_up = threading.Barrier(4)
        seen: list[int] = []

        def consume(subscription: Subscription) -> None:
            for event in subscription:
                seen.append(event.position)
                caught_up.wait(HANG_SECONDS)

        def close() -> None:
            caught_up.wait(HANG_SECONDS)
            log.close()

        run_threads(close, *(lambda its=its: consume(its) for its in subscriptions))

        assert seen == [1, 1, 1]
        assert subscriptions[0].next_page() is None

    def test_a_subscription_sees_what_another_handle_appends(self) -> None:
        if not self.is_shared:
            return
        other = self.open_another()
        with other.subscribe() as subscription:
            self.fill("order-1", 2)
            assert positions(_take(subscription, 2)) == [1, 2]
            self.append("order-1", 2, [self.make()])
            assert positions(_take(subscription, 1)) == [3]


def _take(subscription: Subscription, count: int) -> list[Recorded[Any]]:
    return list(itertools.islice(subscription, count))
