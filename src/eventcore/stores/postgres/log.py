"""The log in a Postgres database: any number of writers, none waits for another, nothing skipped.

How a reader can be sure is told in :mod:`eventcore.stores.postgres.gaps`, how threads share a
commit in :mod:`eventcore.stores.postgres.appending`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, NoReturn

import psycopg
from psycopg import sql

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    StoreClosedError,
    StoreUnavailableError,
)
from eventcore.events.codec import Codec
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.following import PullSubscription
from eventcore.stores.holders import Holder
from eventcore.stores.limits import PLACE_MAX, check_append, check_page, is_storable
from eventcore.stores.log import (
    ANY_VERSION,
    EVERYTHING,
    AppendResult,
    LogFilter,
    Page,
    StreamAppend,
    StreamRow,
    Subscription,
)
from eventcore.stores.paging import read_all
from eventcore.stores.postgres.appending import Appending
from eventcore.stores.postgres.connections import PostgresConnections, is_lost
from eventcore.stores.postgres.following import Tail
from eventcore.stores.postgres.gaps import (
    LOOK_SECONDS_MAX,
    LOOK_SECONDS_MIN,
    Fetch,
    GapWatch,
)
from eventcore.stores.postgres.inline import InAppend, InlineAppending
from eventcore.stores.postgres.memories import Memories, refusal_columns
from eventcore.stores.postgres.migrations import ensure_schema
from eventcore.stores.postgres.reading import COLUMNS, FinalRows, PageReading, page_statements
from eventcore.stores.postgres.requests import Request, distribute, statement_for
from eventcore.stores.postgres.trimming import PostgresTrims
from eventcore.stores.postgres.wakeup import PostgresWakeup
from eventcore.stores.refusals import Refusal
from eventcore.stores.repeats import repeated_append
from eventcore.stores.trimming import TrimRecord

HELD_TIMEOUT_SECONDS: Final = 30.0
"""How long reading a page waits for the transactions that may still write below it. Following has
no such limit: a subscription waits, and hands out what comes before."""

RACES_MAX: Final = 100
"""How often an append that found nothing in its way, but did not succeed, is tried again."""

CLOSE_SECONDS: Final = 1.0
"""How long closing waits for the last notification to be sent."""

_SERIALIZATION: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available: nothing was written, nothing is wrong
(PostgreSQL manual, "Error Codes")."""

_Row = tuple[int, str, int, str, bytes]


class PostgresLog(Memories):
    """A log in one schema of a Postgres database, shared by any number of threads and processes.

    The database itself refuses to change or remove an event: triggers stop ``UPDATE``, ``DELETE``
    and ``TRUNCATE`` for everybody; a role of the application's own needs ``INSERT`` and ``SELECT``
    only.

    Not to be used across a ``fork``: open it again in the child.

    Args:
        connections: A ``postgresql://`` URL, or connections, which this log then owns and closes.
        codec: Reads the events that this log hands out.
        schema: Where the tables are, if a URL is given.
        create: Create the schema and missing tables. Existing ones are never changed.
        notify: Wake followers by NOTIFY; without it those in other processes look twice a second.

    Raises:
        ConfigurationError: The database or the role may not be used, or the server is too old.
        SchemaMismatchError: The tables are absent (with ``create=False``), have another shape, or
            lack the triggers that keep events immutable.
        StoreUnavailableError: The server cannot be reached.
    """

    def __init__(
        self,
        connections: PostgresConnections | str,
        codec: Codec | None = None,
        *,
        schema: str = "public",
        create: bool = True,
        notify: bool = True,
    ) -> None:
        self.codec = codec or Codec()
        if isinstance(connections, str):
            connections = PostgresConnections(connections, schema=schema)
        self._name = connections.name
        try:
            ensure_schema(connections, create=create)
        except BaseException:
            connections.close()
            raise
        super().__init__(connections)
        table = sql.Identifier(connections.schema, "eventcore_log")
        self._pages = page_statements(table, COLUMNS, self._texts["chosen"])
        self.gaps = GapWatch(connections, self._pages, table.as_string())
        self.wakeup = PostgresWakeup(connections, "log", notify=notify)
        self._appending = Appending(
            connections,
            {name: text for name, text in self._sql.items() if name.startswith("append_")},
        )
        self._trims = PostgresTrims(connections)
        self._reading = self._read_with(connections.fetch)
        self._inline: InlineAppending | None = None
        self._joined: PageReading | None = None

    def _read_with(self, fetch: Fetch) -> PageReading:
        rows = FinalRows(fetch, self._pages, gaps=self.gaps)
        return PageReading(rows, self.codec, trims=PostgresTrims(self.connections, fetch))

    def join_appends(self, in_append: InAppend) -> None:
        """Have work done in the transaction of every append from now on.

        Inside of it, :meth:`read_page` has what the append wrote, and waits for nobody.

        Args:
            in_append: The work.
        """
        connections = self.connections
        table = sql.Identifier(connections.schema, "eventcore_log")
        chosen = self._texts["chosen"]
        pages = page_statements(table, COLUMNS, chosen, holders="other_sessions")
        # Of its own: to the others, what is not committed yet is not final.
        gaps = GapWatch(connections, pages, table.as_string())
        rows = FinalRows(connections.fetch, pages, gaps=gaps)
        self._joined = PageReading(rows, self.codec, trims=self._trims)
        self._inline = InlineAppending(self._appending, connections, in_append, codec=self.codec)

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`.

        A connection that is lost on the way is no reason to fail: the same append is repeated for
        some seconds, and recognised if it was stored.
        """
        check_append(self._name, appends)
        self.connections.check_usable()
        deadline: float | None = None
        for attempt in range(RACES_MAX):
            # Made anew: a shared statement may have left its mark on the one before.
            request = Request(self._name, appends)
            shares = attempt == 0 and len(request.heads) == 1
            appending = self._inline or self._appending
            write = appending.append if shares else appending.append_alone
            try:
                result = write(request)
            except psycopg.IntegrityError:
                result = None
            except psycopg.Error as error:
                # What was wrong with a shared statement may be another caller's.
                if error.sqlstate in _SERIALIZATION or (shares and not is_lost(error)):
                    continue
                if not is_lost(error):
                    self.connections.raise_translated(error)
                self._appending.drop_idle()
                with self.connections.translating_errors():
                    deadline = self.connections.retry(error, deadline)
                continue
            if result is not None:
                self.wakeup.notify(result.positions)
                return result
            result = self._refuse(appends)
            if result is not None:
                return result
        raise StoreUnavailableError(
            store=self._name, problem=f"an append lost its race {RACES_MAX} times"
        )

    def _refuse(self, appends: Sequence[StreamAppend]) -> AppendResult | None:
        """Say why an append was refused, or that it was stored before; None: nothing is wrong."""
        ids = [event.event_id for append in appends for event in append.events]
        present = self.locate(ids)
        repeated = repeated_append(appends, present)
        if repeated is not None:
            return repeated
        self._check_versions(appends)
        taken = next((id_ for id_ in ids if id_ in present), None)
        if taken is None:
            return None
        event = present[taken]
        raise EventIdReusedError(event_id=taken, stream=event.stream, version=event.version)

    def _check_versions(self, appends: Sequence[StreamAppend]) -> None:
        reached = dict(self.stream_versions([append.stream for append in appends]))
        for stream, expected_version, events in appends:
            if expected_version != ANY_VERSION:
                self._check_version(stream, expected_version, reached[stream])
            reached[stream] += len(events)

    def _check_version(self, stream: str, expected_version: int, version: int) -> None:
        if expected_version != version:
            raise ConcurrencyConflictError(
                store=self._name,
                stream=stream,
                expected_version=expected_version,
                actual_version=version,
            )

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.append_judged`."""
        if appends:
            check_append(self._name, appends)
        inline = self._inline if appends else None
        with self.connections.translating_errors(), inline.alone() if inline else nullcontext():
            try:
                number = self._write_judged(appends, refusals, unmoved)
            except psycopg.IntegrityError:
                self._refuse_judged(appends)
            if inline:
                inline.committed(number)
        if appends:
            self.wakeup.notify()

    def _write_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> int | None:
        """Gives the number of what was done inline, if anything was."""
        number = None
        with self._appending.alone() as lane, lane.connection.transaction():
            if self._inline and appends:
                self._inline.lock(lane.connection)
            if unmoved:
                # One statement, one moment: what is appended to these streams after it comes after
                # this transaction in the order of things, and was not judged by it.
                rows = lane.connection.execute(
                    self._sql["select_stream_versions"], (list(unmoved),)
                ).fetchall()
                versions = dict.fromkeys(unmoved, 0) | dict(rows)
                for stream, version in unmoved.items():
                    self._check_version(stream, version, versions[stream])
            if appends:
                request = Request(self._name, appends)
                lane.send(*statement_for([request]))
                distribute([request], lane.receive())
                if request.result is None:
                    self._refuse_judged(appends)
                if self._inline:
                    number = self._inline.apply(lane.connection, [request])
            if refusals:
                lane.connection.execute(self._sql["upsert_refusals"], refusal_columns(refusals))
        return number

    def _refuse_judged(self, appends: Sequence[StreamAppend]) -> NoReturn:
        """Say which stream moved, also if it was by these very events."""
        self._check_versions(appends)
        present = self.locate([event.event_id for append in appends for event in append.events])
        for event in present.values():
            raise EventIdReusedError(
                event_id=str(event.event_id), stream=event.stream, version=event.version
            )
        first = appends[0]
        raise ConcurrencyConflictError(
            store=self._name,
            stream=first.stream,
            expected_version=first.expected_version,
            actual_version=self.stream_version(first.stream),
        )

    def read_stream(  # noqa: PLR0913 - the contract's signature
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        until_time: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read_stream`."""
        if not is_storable(stream):
            return
        if until_time is not None:
            until = self._version_at(stream, until_time, until)
        codec = self.codec
        for rows in self._stream_rows(stream, after, until, backwards=backwards, limit=limit):
            for row in rows:
                yield Recorded(*row, codec)

    def read_stream_rows(
        self, stream: str, *, after: int = 0, until: int | None = None
    ) -> Iterator[list[StreamRow]]:
        """See :meth:`eventcore.stores.log.RowReader.read_stream_rows`."""
        if not is_storable(stream):
            return
        low, high = _bounds(after, until)
        rows: list[Any] | None = None
        while rows is None or len(rows) == READ_PAGE_EVENTS:
            rows = self.connections.fetch(
                self._sql["select_stream_rows"], (stream, low, high, READ_PAGE_EVENTS)
            )
            if rows:
                if rows[0][1] != max(low, 0) + 1:
                    self._refuse_trimmed(stream)
                yield rows
                low = rows[-1][1]
            elif until is not None:
                self._check_beginning(stream, low, high)

    def _stream_rows(
        self, stream: str, after: int, until: int | None, *, backwards: bool, limit: int | None
    ) -> Iterator[list[_Row]]:
        statement = self._sql["select_stream_backwards" if backwards else "select_stream_forwards"]
        low, high = _bounds(after, until)
        remaining = PLACE_MAX if limit is None else limit
        while remaining > 0:
            size = min(remaining, READ_PAGE_EVENTS)
            rows: list[Any] = self.connections.fetch(statement, (stream, low, high, size))
            if rows:
                if not backwards and rows[0][2] != max(low, 0) + 1:
                    self._refuse_trimmed(stream)
                yield rows
            if len(rows) < size:
                high = rows[-1][2] - 1 if backwards and rows else high
                if backwards or (until is not None and not rows):
                    self._check_beginning(stream, low, high)
                return
            remaining -= size
            if backwards:
                high = rows[-1][2] - 1
            else:
                low = rows[-1][2]

    def _check_beginning(self, stream: str, after: int, until: int) -> None:
        """Where a stream has no event between two versions, check that it never had one."""
        low = max(after, 0)
        if low < until:
            rows = self.connections.fetch(
                self._sql["select_stream_rows"], (stream, low, PLACE_MAX, 1)
            )
            if rows and rows[0][1] != low + 1:
                self._refuse_trimmed(stream)

    def _refuse_trimmed(self, stream: str) -> None:
        self._trims.refuse(self._trims.record(), f"the beginning of {stream}")

    def trim(self, events: Sequence[Recorded[Any]], *, archive: str) -> int:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim`.

        The role needs to own the table. Writers wait for it, and it waits two seconds for them.
        """
        return self._trims.trim(events, archive)

    def trim_record(self) -> TrimRecord | None:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim_record`."""
        return self._trims.record()

    def trimmed_positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trimmed_positions`."""
        return self._trims.positions(event_ids)

    def _version_at(self, stream: str, until_time: str, until: int | None) -> int:
        # A prefix: the state that was true then, even where a clock stepped back.
        version = 0
        for event in self.read_stream(stream, until=until):
            if event.timestamp_text > until_time:
                break
            version = event.version
        return version

    def stream_version(self, stream: str) -> int:
        """See :meth:`eventcore.stores.log.Log.stream_version`."""
        if not is_storable(stream):
            self.connections.check_usable()
            return 0
        rows = self.connections.fetch(self._sql["select_stream_version"], (stream,))
        return int(rows[0][0])

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        known = [stream for stream in streams if is_storable(stream)]
        rows = self.connections.fetch(self._sql["select_stream_versions"], (known,))
        return dict.fromkeys(streams, 0) | {row[0]: row[1] for row in rows}

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`.

        Waits for transactions that may still write where it would otherwise read on.

        Raises:
            StoreUnavailableError: They did not end in :data:`HELD_TIMEOUT_SECONDS`; the message
                says who they are.
        """
        check_page(self._name, limit)
        if self._joined is not None and self.connections.is_joined:
            return self._joined.look(after, limit, where).page
        page, fence = self._reading.look(after, limit, where)
        deadline = time.monotonic() + HELD_TIMEOUT_SECONDS
        pause_seconds = LOOK_SECONDS_MIN
        while fence is not None and not page.events and page.end <= after:
            if time.monotonic() >= deadline:
                self._raise_held(after)
            if self.connections.closed.wait(pause_seconds):
                raise StoreClosedError(store=self._name)
            pause_seconds = min(pause_seconds * 2, LOOK_SECONDS_MAX)
            page, fence = self._reading.look(after, limit, where, fence=fence)
        return page

    def _raise_held(self, after: int) -> None:
        who = ", ".join(holder.who for holder in self.gaps.describe())
        raise StoreUnavailableError(
            store=self._name,
            problem=f"events above position {after} wait for a transaction that may still write "
            f"before them: {who or 'it has just ended'}",
        )

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        return self._reading.head()

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        known = [id_ for id_ in event_ids if _is_uuid(id_)]
        rows: list[Any] = self.connections.fetch(self._sql["select_by_event_ids"], (known,))
        found: dict[str, Recorded[Any]] = {}
        for position, stream, version, type_, state, event_id in rows:
            found[event_id] = Recorded(position, stream, version, type_, state, self.codec)
        if len(found) < len(known):
            self._trims.check_ids(known)
        return found

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`.

        A server that goes away is waited for, with a warning in the log of the program.
        """
        self.head()  # refuses a closed log here rather than in the consumer's loop
        reading = self._read_with(partial(self.connections.fetch, retry_seconds=0))
        tail = Tail(self.connections, reading, self.wakeup)
        return PullSubscription(tail, tail, after, where)

    def feed_holders(self) -> list[Holder]:
        """See :meth:`eventcore.stores.holders.FeedWatch.feed_holders`."""
        return self.gaps.describe()

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Log.close`."""
        if self.connections.closed.is_set():
            return
        # The last notification goes out before the connections do.
        self.wakeup.close()
        self.wakeup.join(CLOSE_SECONDS)
        self._appending.close()
        self.connections.close()


def _bounds(after: int, until: int | None) -> tuple[int, int]:
    return min(after, PLACE_MAX), PLACE_MAX if until is None else min(until, PLACE_MAX)


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and is_storable(text) and all(c in "0123456789abcdef-" for c in text)  # noqa: PLR2004 - characters of one
