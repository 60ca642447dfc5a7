"""What a store may keep beside the log: snapshots of aggregates, and refusals of imports."""
# ruff: noqa: D102, PLR2004 - the name of a case is its sentence, its numbers are the example

from __future__ import annotations

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.refusals import Refusal, RefusalStore
from eventcore.stores.snapshots import Snapshot, SnapshotStore
from eventcore.testing.log_cases import LogCases, expect_error, skip

REFUSALS = READ_PAGE_EVENTS // 2 + 1
"""Event ids with two refusals each: more than one page of them."""


class MemoryCases(LogCases):
    """Cases of :class:`SnapshotStore` and :class:`RefusalStore`; a log need not be either."""

    def test_a_stream_without_a_snapshot_has_none(self) -> None:
        assert self._snapshots().load_snapshot("order-1") is None

    def test_the_newest_snapshot_of_a_stream_is_kept(self) -> None:
        store = self._snapshots()
        store.save_snapshot(Snapshot("order-1", 5, "fold", b'{"v":5}'))
        store.save_snapshot(Snapshot("order-1", 10, "fold", b'{"v":10}'))
        store.save_snapshot(Snapshot("order-2", 1, "fold", b'{"v":1}'))

        assert store.load_snapshot("order-1") == Snapshot("order-1", 10, "fold", b'{"v":10}')
        assert store.load_snapshot("order-2") == Snapshot("order-2", 1, "fold", b'{"v":1}')

    def test_an_older_snapshot_does_not_replace_a_newer_one(self) -> None:
        store = self._snapshots()
        store.save_snapshot(Snapshot("order-1", 10, "fold", b"new"))

        store.save_snapshot(Snapshot("order-1", 9, "fold", b"old"))
        store.save_snapshot(Snapshot("order-1", 10, "fold", b"same version"))

        assert store.load_snapshot("order-1") == Snapshot("order-1", 10, "fold", b"new")

    def test_a_snapshot_of_another_fold_replaces_any(self) -> None:
        store = self._snapshots()
        store.save_snapshot(Snapshot("order-1", 10, "fold", b"old fold"))

        store.save_snapshot(Snapshot("order-1", 7, "fold 2", b"new fold"))

        assert store.load_snapshot("order-1") == Snapshot("order-1", 7, "fold 2", b"new fold")

    def test_a_snapshot_is_no_event(self) -> None:
        self._snapshots().save_snapshot(Snapshot("order-1", 1, "fold", b"{}"))

        assert self.log.head() == 0
        assert self.log.stream_version("order-1") == 0

    def test_refusals_are_found_by_event_id(self) -> None:
        store = self._refusals()
        first = Refusal("id-1", "digest", "not-found", "no such order")
        store.remember_refusals([first, Refusal("id-2", "digest", "email-taken", "taken")])
        store.remember_refusals([])

        assert dict(store.find_refusals(["id-1", "id-3"])) == {("id-1", "digest"): first}
        assert dict(store.find_refusals([])) == {}

    def test_a_newer_refusal_replaces_the_older_of_the_same_content_only(self) -> None:
        store = self._refusals()
        other = Refusal("id-1", "digest 2", "not-found", "no such order")
        newer = Refusal("id-1", "digest 1", "email-taken", "taken")
        store.remember_refusals([Refusal("id-1", "digest 1", "not-found", "no such user"), other])

        store.remember_refusals([newer])

        assert dict(store.find_refusals(["id-1"])) == {
            ("id-1", "digest 1"): newer,
            ("id-1", "digest 2"): other,
        }

    def test_what_was_judged_is_written_together(self) -> None:
        store = self._refusals()
        self.fill("order-1", 1)
        event, refusal = self.make(), Refusal("id-1", "digest", "not-found", "no such order")

        store.append_judged([StreamAppend("order-1", 1, [event])], [refusal], {"order-2": 0})
        store.append_judged([], [], {})

        assert [stored.state for stored in self.log.read_stream("order-1")][1:] == [event.state]
        assert list(store.find_refusals(["id-1"]).values()) == [refusal]

    def test_what_was_judged_by_a_stream_that_moved_is_not_written(self) -> None:
        store = self._refusals()
        self.fill("order-1", 2)
        refusal = Refusal("id-1", "digest", "not-found", "no such order")

        with expect_error(ConcurrencyConflictError) as caught:
            store.append_judged(
                [StreamAppend("order-2", 0, [self.make()])], [refusal], {"order-1": 1}
            )
        with expect_error(ConcurrencyConflictError):
            store.append_judged([StreamAppend("order-1", 1, [self.make()])], [refusal], {})

        assert (caught[0].expected_version, caught[0].actual_version) == (1, 2)
        assert self.log.head() == 2
        assert dict(store.find_refusals(["id-1"])) == {}

    def test_a_stream_that_must_not_move_may_be_appended_to_as_well(self) -> None:
        store = self._refusals()
        self.fill("order-1", 2)
        refusal = Refusal("id-1", "digest", "not-found", "no such order")

        store.append_judged(
            [StreamAppend("order-1", 2, [self.make()])], [refusal], {"order-1": 2, "user-1": 0}
        )
        store.append_judged(
            [StreamAppend("order-1", ANY_VERSION, [self.make()])], [], {"order-1": 3}
        )
        store.append_judged([StreamAppend("user-1", 0, [self.make()])], [], {"user-1": 0})

        assert self.log.stream_versions(["order-1", "user-1"]) == {"order-1": 4, "user-1": 1}
        assert list(store.find_refusals(["id-1"]).values()) == [refusal]

    def test_a_stream_that_must_not_move_and_is_appended_to_elsewhere_conflicts(self) -> None:
        store = self._refusals()
        self.fill("order-1", 2)
        refusal = Refusal("id-1", "digest", "not-found", "no such order")

        for expected, unmoved in ((2, 1), (1, 2), (ANY_VERSION, 1)):
            with expect_error(ConcurrencyConflictError) as caught:
                store.append_judged(
                    [StreamAppend("order-1", expected, [self.make()])],
                    [refusal],
                    {"order-1": unmoved},
                )
            error = caught[0]
            assert (error.expected_version, error.actual_version) == (1, 2)

        assert self.log.head() == 2
        assert dict(store.find_refusals(["id-1"])) == {}

    def test_a_refusal_is_not_kept_when_the_append_beside_it_fails(self) -> None:
        store = self._refusals()
        event = self.make()
        self.append("order-1", 0, [event])
        refusal = Refusal("id-1", "digest", "not-found", "no such order")

        with expect_error(EventIdReusedError):
            store.append_judged([StreamAppend("order-2", 0, [event])], [refusal], {})

        assert dict(store.find_refusals(["id-1"])) == {}

    def test_all_refusals_are_found_by_id_and_digest_however_many_they_are(self) -> None:
        store = self._refusals()
        refusals = [
            Refusal(f"id-{number:04}", digest, "not-found", "no such order")
            for number in range(REFUSALS)
            for digest in ("a", "b")
        ]
        assert list(store.all_refusals()) == []

        store.remember_refusals(refusals[::-1])

        assert list(store.all_refusals()) == refusals

    def _snapshots(self) -> SnapshotStore:
        log = self.log
        if not isinstance(log, SnapshotStore):
            skip("the store keeps no snapshots")
        return log

    def _refusals(self) -> RefusalStore:
        log = self.log
        if not isinstance(log, RefusalStore):
            skip("the store keeps no refusals")
        return log
