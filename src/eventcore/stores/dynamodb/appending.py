"""Appending: callers share transactions, and each gets its own answer.

While one transaction is on its way, later callers wait in line; whoever is first in it then takes
along all that fit. Those who shared a transaction get their answers at the same moment, and what
they append next comes a moment later: so whoever leads right behind a transaction that was shared
waits for as many as shared it, very shortly. Nobody else waits: without others an append is written
alone, at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from eventcore.errors import LimitExceededError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.ids import EventIds
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.limits import (
    CELL_EVENTS_MAX,
    GROUP_BYTES_MAX,
    TRANSACTION_ITEMS_MAX,
)
from eventcore.stores.dynamodb.requests import Commit, Head, Request, Turn
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.writing import Writing
from eventcore.stores.log import AppendResult

RACES_MAX: Final = 200
"""How often an append whose streams moved all the time, and that takes them as they are, is tried.
"""

COMPANY_SECONDS_MAX: Final = 0.002
"""How long after a shared transaction those who shared it are waited for, at most: threads that go
on at once are back within that, sixteen of them."""

COMPANY_SHARE: Final = 0.25
"""And as a share of what the transaction took, where that is less: to come too late for the next
one costs a caller a whole one."""


class Appending:
    """Writes requests, several at once where they may share. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        writing: Writes a transaction.
        streams: Knows where streams end.
        ids: Remembers what was written.
    """

    def __init__(  # noqa: PLR0917 - the parts of a log
        self,
        calls: DynamoDBCalls,
        keys: Keys,
        writing: Writing,
        streams: StreamReading,
        ids: EventIds,
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._writing = writing
        self._streams = streams
        self._ids = ids
        self._lock = threading.Lock()
        self._line: deque[Request] = deque()
        self._is_led = False
        self._taken: list[Request] = []
        self._company_size = 1
        self._company_until = 0.0
        self._company: Turn | None = None

    def append(self, request: Request) -> AppendResult | None:
        """Write a request, perhaps with others; None: one of its streams is not where it has to be.

        Where its streams are must have been seen before, see :meth:`prepare`.

        Raises:
            LimitExceededError: It does not fit into a transaction. Nothing was sent.
            StoreUnavailableError: The service does not answer; the outcome is unknown.
        """
        try:
            with self._lock:
                self._line.append(request)
                if self._company is not None and len(self._line) >= self._company_size:
                    self._company.set()
                request.leads, self._is_led = not self._is_led, True
            if not request.leads:
                request.turn.wait()
            while request.leads and not request.is_done:
                self._await_company(request)
                began = self._calls.clock()
                taken = self._take()
                self._write(taken)
                self._expect_company(len(taken), began)
        finally:
            self._leave(request)
        if request.error is not None:
            raise request.error
        return request.result

    def prepare(self, request: Request) -> bool:
        """See where its streams are; False: one of them is not where it has to be."""
        # Version 0 needs no look: the put of version 1 finds out.
        unknown = [
            stream
            for stream, wanted in request.heads
            if wanted is None or (wanted and self._streams.last.get(stream) != wanted)
        ]
        found = self._streams.last_versions(unknown)
        wanted = {head.stream: head.wanted for head in request.heads}
        if any(wanted[stream] not in {None, version} for stream, version in found.items()):
            return False
        if request.unmoved:
            versions = self._streams.last_versions(list(request.unmoved))
            return versions == request.unmoved
        return True

    def _leave(self, request: Request) -> None:
        """A caller goes, served or interrupted; nobody behind it may wait for it."""
        try:
            self._hand_on(request)
        except BaseException:
            self._hand_on(request)  # interrupted once more, before it was done
            raise

    def _hand_on(self, request: Request) -> None:
        """All in one hold of the lock: the caller before may be handing on to it at this moment."""
        with self._lock:
            if not request.is_done and request in self._line:
                self._line.remove(request)
            if not request.leads:
                return
            # Interrupted between taking requests out of the line and writing them.
            self._fail(self._taken, self._interrupted())
            self._taken = []
            self._line = deque(one for one in self._line if not one.is_done)
            request.leads = False
            if self._line:
                self._line[0].leads = True
                self._line[0].turn.set()
            else:
                self._is_led = False

    def _interrupted(self) -> StoreUnavailableError:
        problem = "the thread that wrote it was interrupted"
        return StoreUnavailableError(store=self._calls.name, problem=problem)

    def _await_company(self, first: Request) -> None:
        """Wait until as many are in line as shared the last transaction, if it ended just now."""
        left_seconds = self._company_until - self._calls.clock()
        if left_seconds <= 0 or not first.can_share:
            return
        company = Turn()
        with self._lock:
            if len(self._line) >= self._company_size:
                return
            self._company = company
        try:
            company.wait(left_seconds)
        finally:
            with self._lock:
                self._company = None

    def _expect_company(self, size: int, began: float) -> None:
        """So many shared a transaction, have just been told, and may be back in a moment."""
        now = self._calls.clock()
        self._company_size = size
        wait_seconds = min(COMPANY_SECONDS_MAX, COMPANY_SHARE * (now - began))
        self._company_until = now + wait_seconds if size > 1 else now

    def _take(self) -> list[Request]:
        """The next requests that may share a transaction, in the order they came."""
        with self._lock:
            taken, left = self._chosen()
            # In one step: whoever is interrupted has taken them, or they are still in line.
            self._taken, self._line = taken, left
            return taken

    def _chosen(self) -> tuple[list[Request], deque[Request]]:
        """Those in line that may share a transaction with the first of it, and the others."""
        first = self._line[0]
        taken, left = [first], deque[Request]()
        streams = {head.stream for head in first.heads}
        items, events, size = 1 + first.items, len(first.rows), first.state_bytes
        for one in islice(self._line, 1, None):
            fits = (
                first.can_share
                and one.can_share
                and len(taken) < TRANSACTION_ITEMS_MAX
                and items + one.items <= TRANSACTION_ITEMS_MAX
                and events + len(one.rows) <= CELL_EVENTS_MAX
                and size + one.state_bytes <= GROUP_BYTES_MAX
                and streams.isdisjoint(head.stream for head in one.heads)
            )
            if not fits:
                left.append(one)
                continue
            taken.append(one)
            streams.update(head.stream for head in one.heads)
            items, events = items + one.items, events + len(one.rows)
            size += one.state_bytes
        return taken, left

    def _write(self, requests: Sequence[Request]) -> None:
        """Write requests in one transaction; those that keep it from being done are left out."""
        try:
            ready = self._ready(requests)
            while ready:
                commit = self._packed(ready)
                if commit is None:
                    for one in ready:
                        self._write([one])
                    return
                base, refused = self._writing.write(commit)
                if not refused:
                    self._written(ready, base)
                    return
                for index in refused:
                    _finish(ready[index])
                ready = [one for index, one in enumerate(ready) if index not in refused]
        except Exception as error:  # noqa: BLE001 - raised again by each of the callers
            self._fail(requests, error)
        except BaseException:
            self._fail(requests, self._interrupted())
            raise

    def _packed(self, requests: Sequence[Request]) -> Commit | None:
        """The requests in one commit; None: several, which do not quite fit."""
        try:
            return Commit(self._keys, requests)
        except LimitExceededError:
            if len(requests) == 1:
                raise
            return None

    @staticmethod
    def _fail(requests: Sequence[Request], error: Exception) -> None:
        for request in requests:
            if not request.is_done:
                request.error = error
                _finish(request)

    def _ready(self, requests: Sequence[Request]) -> list[Request]:
        """Those whose streams are where they have to be, for all that this process knows."""
        ready: list[Request] = []
        taken: set[str] = set()
        for request in requests:
            ids = {row.event.event_id for row in request.rows}
            is_known = bool(self._ids.remembered(ids)) or not taken.isdisjoint(ids)
            bases = [self._base(head) for head in request.heads]
            if is_known or None in bases:
                _finish(request)
                continue
            request.bases = [base for base in bases if base is not None]
            taken |= ids
            ready.append(request)
        return ready

    def _base(self, head: Head) -> int | None:
        """The version a stream is at, None if it is not where it has to be."""
        last = self._streams.last.get(head.stream)
        if last is None and head.wanted == 0:
            return 0
        return last if head.wanted in {None, last} else None

    def _written(self, requests: Sequence[Request], base: int) -> None:
        first = base
        placed: list[tuple[str, int]] = []
        for request in requests:
            result = request.result_at(first)
            placed += zip(
                [row.event.event_id for row in request.rows], result.positions, strict=True
            )
            # The last row of each head has the last version.
            reached = {row.head: row.step for row in request.rows}
            for index, head in enumerate(request.heads):
                self._streams.last.saw(head.stream, request.bases[index] + reached[index])
            request.result = result
            first += len(request.rows)
        self._ids.remember(placed)
        for request in requests:
            _finish(request)


def _finish(request: Request) -> None:
    request.is_done = True
    request.turn.set()
