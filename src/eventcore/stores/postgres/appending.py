"""Appending: one statement and one round trip each, and threads that meet share a commit.

A commit costs a flush to disk and a round trip, however many events it holds. While one statement
is on its way, the threads that come meanwhile get in line; all of them leave together in the next
one, which is sent before the answers of the last are handed out. Whose stream moved is refused
alone: the statement leaves that stream's events out and nobody else's. Whatever fails as a whole
(a race lost at the very moment, a lock, a lost connection) each caller repeats by itself, which is
safe, because an append that is stored already is recognised by its event ids.

There is no thread besides: one of those whose events are in a statement fetches the answer for all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

import psycopg

from eventcore.errors import StoreClosedError
from eventcore.stores.log import AppendResult
from eventcore.stores.postgres.connections import POOL_TIMEOUT_SECONDS, PostgresConnections
from eventcore.stores.postgres.lanes import Lane
from eventcore.stores.postgres.requests import Batch, Request, distribute, statement_for
from eventcore.stores.signals import Slots

SHARED_EVENTS_MAX: Final = 1_000
"""Events in a statement shared by several callers."""

SHARED_BYTES_MAX: Final = 1024 * 1024
"""Bytes of such events: a large one does not make many small ones wait for its transfer."""

LANES_MAX: Final = 4
"""Connections for shared statements. One is used as long as it answers; the others are for when
its statement waits for something. More at once would only make the statements smaller."""

ALONE_MAX: Final = 8
"""Connections for statements of one caller: those of several streams, and what is repeated."""

QUEUE_PATIENCE_SECONDS: Final = 0.1
"""How long a statement may take before others are sent beside it on another connection."""

LOCK_TIMEOUT_MS: Final = 250
"""How long a shared statement may wait for a lock that one of its callers ran into: after that
each goes on alone."""


class Appending:
    """Writes the appends of any number of threads.

    Args:
        connections: Where to.
        statements: Those of ``sql/log.sql`` whose names begin with ``append_``.
    """

    def __init__(self, connections: PostgresConnections, statements: Mapping[str, bytes]) -> None:
        self._connections = connections
        self._statements = statements
        self._lock = threading.Lock()
        self._queue: list[Request] = []
        self._free: list[Lane] = []
        self._sent: dict[Lane, float] = {}
        self._opening: list[float] = []
        self._alone: list[Lane] = []
        self._alone_free = Slots(ALONE_MAX)
        self._closed = False

    def append(self, request: Request) -> AppendResult | None:
        """Write an append to one stream together with those of other threads.

        Returns: Where the events are; None if the stream moved, and nothing was written.

        Raises:
            psycopg.Error: It failed, alone or with others; the outcome may be unknown.
            StoreClosedError: Closed.
        """
        with self._lock:
            if self._closed:
                raise StoreClosedError(store=self._connections.name)
            self._queue.append(request)
            is_driving = self._needs_lane()
            lane, batch = self._take() if is_driving else (None, [])
            is_waiting = request not in batch
            if is_waiting:
                request.turn = threading.Lock()
                request.turn.acquire()
        if is_driving:
            self._drive(lane, batch, None if is_waiting else request)
        if is_waiting:
            self._wait(request)
        if request.error is not None:
            raise request.error
        return request.result

    @contextmanager
    def alone(self) -> Iterator[Lane]:
        """A lane for statements of one caller, which wait for locks as long as it takes."""
        self._connections.check_usable()
        if not self._alone_free.take(POOL_TIMEOUT_SECONDS):
            message = f"no connection for appending was free for {POOL_TIMEOUT_SECONDS:.0f} s"
            raise psycopg.OperationalError(message)
        lane: Lane | None = None
        try:
            with self._lock:
                lane = self._alone.pop() if self._alone else None
            if lane is None:
                lane = Lane(self._connections, self._statements)
            yield lane
        finally:
            if lane is not None:
                with self._lock:
                    is_kept = lane.is_idle and not self._closed
                    if is_kept:
                        self._alone.append(lane)
                if not is_kept:
                    lane.close()
            self._alone_free.give_back()

    def append_alone(self, request: Request) -> AppendResult | None:
        """Write an append in a statement of its own; else as :meth:`append`."""
        with self.alone() as lane:
            lane.send(*statement_for([request]))
            distribute([request], lane.receive())
        return request.result

    def drop_idle(self) -> None:
        """Close the connections nobody uses just now: the server went away."""
        with self._lock:
            lanes = [*self._free, *self._alone]
            self._free.clear()
            self._alone.clear()
        for lane in lanes:
            lane.close()

    def close(self) -> None:
        """Close the connections, those in use as soon as they are not."""
        with self._lock:
            self._closed = True
        self.drop_idle()

    def _needs_lane(self) -> bool:
        """Whether no statement is on its way whose answer is worth waiting for. Under the lock."""
        begun = [*self._sent.values(), *self._opening]
        late = time.monotonic() - QUEUE_PATIENCE_SECONDS
        return len(begun) < LANES_MAX and all(since < late for since in begun)

    def _take(self) -> tuple[Lane | None, list[Request]]:
        """A lane, None for one to be opened, and who goes with it. Under the lock."""
        lane = self._free.pop() if self._free else None
        if lane is None:
            self._opening.append(time.monotonic())
        else:
            self._sent[lane] = time.monotonic()
        return lane, self._next_batch()

    def _open(self) -> Lane:
        """Open the lane that :meth:`_take` promised."""
        try:
            lane = Lane(self._connections, self._statements, lock_timeout_ms=LOCK_TIMEOUT_MS)
        except BaseException:
            with self._lock:
                self._opening.pop()
            raise
        with self._lock:
            self._opening.pop()
            self._sent[lane] = time.monotonic()
        return lane

    def _next_batch(self) -> list[Request]:
        """Take those out of the line who can share a statement. Under the lock."""
        batch, self._queue = sharing(self._queue)
        return batch

    def _wait(self, request: Request) -> None:
        """Until the answer is there, or it is this caller's turn to fetch it."""
        assert request.turn is not None
        try:
            # Answered and not woken: the one who was to do that was interrupted.
            while not (request.turn.acquire(timeout=QUEUE_PATIENCE_SECONDS) or request.is_answered):
                with self._lock:
                    is_late = request in self._queue and self._needs_lane()
                    lane, batch = self._take() if is_late else (None, [])
                is_mine = request in batch
                if is_late:
                    self._drive(lane, batch, request if is_mine else None)
                if is_mine:
                    return
        except BaseException:
            self._abandon(request)
            raise
        _wake(request.following)
        if request.errand is not None:
            self._finish(request.errand, request)

    def _abandon(self, request: Request) -> None:
        """Leave in an orderly way: others must not wait for a caller that was interrupted."""
        with self._lock:
            if request in self._queue:
                self._queue.remove(request)
            request.is_abandoned = True
            errand = request.errand
        assert request.turn is not None
        if request.turn.acquire(blocking=False):
            _wake(request.following)
        if errand is not None:
            self._finish(errand, request)

    def _drive(self, lane: Lane | None, requests: list[Request], me: Request | None) -> None:
        """Send what is shared on a lane of one's own, and fetch the answer."""
        try:
            lane = lane or self._open()
            batch = Batch(lane, requests)
            batch.send()
        except BaseException as error:
            self._give_up(lane, requests, error, me=me)
            if isinstance(error, psycopg.Error):
                return
            raise
        self._finish(batch, me)

    def _finish(self, batch: Batch, me: Request | None) -> None:
        """Fetch an answer, send those who came meanwhile, then hand the answer out."""
        while self._receive(batch, me):
            try:
                following = self._send_following(batch.lane, me)
                leader = self._appoint(following) if following is not None else None
            finally:
                _release(batch.requests, me)
            if following is None or leader is not None:
                return
            batch = following

    def _receive(self, batch: Batch, me: Request | None) -> bool:
        """Fetch an answer; False if the lane is lost and everybody has been told."""
        try:
            batch.receive()
        except BaseException as error:
            if isinstance(error, psycopg.Error) and batch.lane.is_idle:
                # The statement failed, the connection did not.
                for request in batch.requests:
                    request.error = error
                return True
            self._give_up(batch.lane, batch.requests, error, me=me)
            if isinstance(error, psycopg.Error):
                return False
            raise
        return True

    def _send_following(self, lane: Lane, me: Request | None) -> Batch | None:
        with self._lock:
            requests = self._next_batch() if self._queue else []
            is_over = not requests and self._closed
            if requests:
                self._sent[lane] = time.monotonic()
            else:
                del self._sent[lane]
                if not is_over:
                    self._free.append(lane)
        if is_over:
            lane.close()
        if not requests:
            return None
        batch = Batch(lane, requests)
        try:
            batch.send()
        except BaseException as error:
            self._give_up(lane, requests, error, me=me)
            if isinstance(error, psycopg.Error):
                return None
            raise
        return batch

    def _appoint(self, batch: Batch) -> Request | None:
        """Choose who fetches the answer; None if all of its callers were interrupted."""
        with self._lock:
            leader = next((one for one in batch.requests if not one.is_abandoned), None)
            if leader is not None:
                leader.errand = batch
        if leader is not None and leader.turn is not None:
            # Before the others wake up, so that the next statement is sent meanwhile.
            leader.turn.release()
        return leader

    def _give_up(
        self,
        lane: Lane | None,
        requests: Sequence[Request],
        error: BaseException,
        *,
        me: Request | None,
    ) -> None:
        """Give a lane up, and let everybody in its statement go on alone."""
        if lane is not None:
            lane.close()
            with self._lock:
                self._sent.pop(lane, None)
        told = error
        if not isinstance(error, psycopg.Error):
            # One of them was interrupted; the others only lost the connection they shared.
            told = psycopg.OperationalError("the thread that fetched the answer was interrupted")
        for request in requests:
            request.error = told
        _release(requests, me)


def sharing(queue: list[Request]) -> tuple[list[Request], list[Request]]:
    """Who of a line, each with one stream, can share a statement; and who is left of it."""
    if len(queue) == 1:
        return queue, []
    batch: list[Request] = []
    left: list[Request] = []
    streams: dict[str, int | None] = {}
    firsts: set[str] = set()
    events = size = 0
    for request in queue:
        head = request.heads[0]
        first = request.events[0][2].event_id
        count = len(request.events)
        bytes_then = size + request.state_bytes
        fits = not batch or (events + count <= SHARED_EVENTS_MAX and bytes_then <= SHARED_BYTES_MAX)
        # Whoever builds on a version of a stream is alone with it: the next one finds out what
        # became of that first.
        meets = head.stream in streams and not (
            head.wanted is None and streams[head.stream] is None
        )
        # Each finds its part of the answer by its first event.
        if fits and not meets and first not in firsts:
            batch.append(request)
            firsts.add(first)
            events += count
            size = bytes_then
        else:
            left.append(request)
        streams.setdefault(head.stream, head.wanted)
    return batch, left


def _release(requests: Sequence[Request], me: Request | None) -> None:
    """Let those go on whose answer is there, one after the other.

    All at once they would only wake up to wait for the interpreter, in the way of the one who
    sends the next statement.
    """
    waiting = [one for one in requests if one is not me and one.turn is not None]
    for one, following in pairwise(waiting):
        one.following = following
    for one in waiting:
        one.is_answered = True
    if waiting:
        _wake(waiting[0])


def _wake(request: Request | None) -> None:
    """Wake a caller, who wakes the one that follows; those who were interrupted are passed over."""
    while request is not None:
        following, turn = request.following, request.turn
        assert turn is not None
        turn.release()
        # If it was interrupted, one of the two of us finds the turn unused and goes on.
        if not (request.is_abandoned and turn.acquire(blocking=False)):
            return
        request = following
