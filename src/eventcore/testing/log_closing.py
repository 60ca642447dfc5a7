"""Closing and opening again."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

from collections.abc import Callable

from eventcore.errors import StoreClosedError
from eventcore.stores.log import AppendResult, Log, LogFilter, StreamAppend, Subscription
from eventcore.stores.snapshots import Snapshot, SnapshotStore
from eventcore.testing.log_cases import LogCases, expect_error, skip


class ClosingCases(LogCases):
    """Cases of ``close``, and of several handles."""

    def test_it_is_a_log_and_its_subscription_is_a_subscription(self) -> None:
        assert isinstance(self.log, Log)
        with self.log.subscribe() as subscription:
            assert isinstance(subscription, Subscription)

    def test_a_closed_log_refuses_everything(self) -> None:
        self.fill("order-1", 1)
        log = self.log
        where = LogFilter(types=frozenset({"a.b"}))
        log.close()
        uses: list[Callable[[], object]] = [
            lambda: log.append([StreamAppend("order-1", 1, [self.make()])]),
            lambda: list(log.read_stream("order-1")),
            lambda: log.stream_version("order-1"),
            lambda: log.stream_versions(["order-1"]),
            lambda: log.read_page(0, 10),
            lambda: log.read_page(0, 10, where),
            lambda: list(log.read()),
            log.head,
            lambda: log.locate([]),
            log.subscribe,
        ]
        if isinstance(log, SnapshotStore):
            uses.append(lambda: log.load_snapshot("order-1"))
            uses.append(lambda: log.save_snapshot(Snapshot("order-1", 1, "f", b"{}")))

        for use in uses:
            with expect_error(StoreClosedError):
                use()

    def test_closing_twice_is_fine(self) -> None:
        self.fill("order-1", 1)

        self.log.close()
        self.log.close()

    def test_what_was_appended_is_there_after_opening_again(self) -> None:
        self._needs_sharing()
        events = self.make.many(3)
        first = self.append("order-1", 0, events)
        stored = self.contents()
        self.log.close()

        again = self.open_another()

        assert list(again.read()) == stored
        # Also an answer that got lost with the old handle.
        repeated = again.append([StreamAppend("order-1", 0, events)])
        assert repeated == AppendResult(first.positions, first.versions, repeated=True)
        assert again.append([StreamAppend("order-1", 3, [self.make()])]).versions == (4,)

    def test_two_handles_see_each_others_appends(self) -> None:
        self._needs_sharing()
        other = self.open_another()
        assert other.head() == 0

        self.fill("order-1", 1)
        result = other.append([StreamAppend("order-1", 1, [self.make()])])

        assert result.versions == (2,)
        assert self.log.stream_version("order-1") == 2
        assert list(other.read()) == self.contents()

    def test_closing_one_handle_leaves_the_other(self) -> None:
        self._needs_sharing()
        other = self.open_another()

        other.close()

        assert self.fill("order-1", 1).versions == (1,)

    def _needs_sharing(self) -> None:
        if not self.is_shared:
            skip("each log of this store is a new one")
