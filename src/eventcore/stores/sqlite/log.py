"""The log in one SQLite file: the embedded default.

Positions are row ids: SQLite has one writer at a time, so the order of commits is the order of
positions and a reader's snapshot can have no hole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    SchemaMismatchError,
    StoreError,
)
from eventcore.events.codec import Codec
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.following import PullSubscription
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
from eventcore.stores.refusals import Refusal
from eventcore.stores.repeats import repeated_append
from eventcore.stores.sqlite.connections import (
    BUSY_TIMEOUT_SECONDS,
    SQLiteConnections,
    Synchronous,
)
from eventcore.stores.sqlite.inline import InAppend
from eventcore.stores.sqlite.memories import Memories, json_array
from eventcore.stores.sqlite.pages import Fetched, fetch
from eventcore.stores.sqlite.trimming import (
    check_none_trimmed,
    check_page_whole,
    trim,
    trim_record,
    trimmed_positions,
)
from eventcore.stores.sqlite.wakeup import CommitWatch
from eventcore.stores.statements import load_statements
from eventcore.stores.trimming import TrimRecord, refuse_trimmed

_SCHEMA = load_statements("eventcore.stores.sqlite", "sql/schema.sql")
_SQL = load_statements("eventcore.stores.sqlite", "sql/log.sql")
_Row = tuple[int, str, int, str, bytes]
_NewRow = tuple[str, int, str, str, bytes]
_COLUMNS: Final = ["position", "stream", "version", "type", "event_id", "state"]
_GUARDS: Final = frozenset(
    name.replace("create_", "eventcore_", 1) for name in _SCHEMA if "_refuses_" in name
)

"""Position, stream, version, type, state."""


class SQLiteLog(Memories):
    """A log in a SQLite file, shared by any number of threads and processes of one machine.

    The file itself refuses to change or remove an event: ``UPDATE``, ``DELETE`` and ``INSERT OR
    REPLACE`` fail for every program that opens it. SQLite cannot refuse ``DROP TABLE``, nor that
    somebody drops the triggers first: whoever may write the file can destroy it. A log whose
    triggers are gone is not opened.

    Not to be used across a ``fork``: open it again in the child.

    Args:
        path: The file.
        codec: Reads the events that this log hands out.
        synchronous: See :class:`~eventcore.stores.sqlite.connections.SQLiteConnections`.
        create: Create the file and missing tables. Existing ones are never changed.
        busy_timeout_seconds: How long a write waits for another process to finish its own.

    Raises:
        ConfigurationError: The file is no SQLite database, or SQLite is too old.
        SchemaMismatchError: The log's table is absent (with ``create=False``), has other columns,
            or lacks the triggers that keep it immutable.
        StoreUnavailableError: The file or its folder is missing or may not be written.
    """

    def __init__(
        self,
        path: Path | str,
        codec: Codec | None = None,
        *,
        synchronous: Synchronous = "FULL",
        create: bool = True,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self.codec = codec or Codec()
        self.connections = SQLiteConnections(
            path,
            synchronous=synchronous,
            create=create,
            busy_timeout_seconds=busy_timeout_seconds,
        )
        self._name = self.connections.name
        self._in_append: InAppend | None = None
        try:
            self._prepare_tables(create=create)
            self.watch = CommitWatch(self.connections.path)
        except BaseException:
            self.connections.close()
            raise

    def _prepare_tables(self, *, create: bool) -> None:
        with self.connections.reading() as connection:
            columns = _columns(connection)
        if not columns and create:
            with self.connections.writing() as connection:
                for statement in _SCHEMA.values():
                    connection.execute(statement)
                columns = _columns(connection)
        if columns != _COLUMNS:
            self._refuse_table(
                f"the columns {', '.join(columns)}" if columns else "not been created",
                ", ".join(_COLUMNS),
            )
        with self.connections.reading() as connection:
            present = {row[0] for row in connection.execute(_SQL["select_log_triggers"])}
        if missing := sorted(_GUARDS - present):
            self._refuse_table(f"no trigger {', '.join(missing)}", "it, to keep events immutable")

    def _refuse_table(self, found: str, expected: str) -> NoReturn:
        raise SchemaMismatchError(
            table="eventcore_log",
            database=self._name,
            found=found,
            expected=expected,
            action="Name another file, or open it without create=no if it is new",
        )

    def join_appends(self, in_append: InAppend) -> None:
        """Have work done in the transaction of every append from now on.

        Args:
            in_append: The work.
        """
        self._in_append = in_append

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        count = check_append(self._name, appends)
        try:
            with self.connections.writing() as connection:
                rows = self._rows(connection, appends)
                last = _insert(connection, rows)
                number = self._do_inline(connection, rows, last)
        except (ConcurrencyConflictError, sqlite3.IntegrityError) as error:
            # Either the stream moved or an id is taken: both also happen when this very append was
            # stored before and its answer got lost.
            ids = [event.event_id for append in appends for event in append.events]
            repeated = repeated_append(appends, self.locate(ids))
            if repeated is None:
                self._raise_conflict(appends, error)
            return repeated
        if number is not None and self._in_append is not None:
            self._in_append.committed(number)
        self.watch.notify()
        return AppendResult(
            tuple(range(last - count + 1, last + 1)),
            tuple([row[1] for row in rows]),
            repeated=False,
        )

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.append_judged`."""
        number = None
        if appends:
            check_append(self._name, appends)
        try:
            with self.connections.writing() as connection:
                if unmoved:
                    versions = _versions(connection, list(unmoved))
                    for stream, version in unmoved.items():
                        self._check_version(stream, version, versions[stream])
                if appends:
                    rows = self._rows(connection, appends)
                    number = self._do_inline(connection, rows, _insert(connection, rows))
                connection.executemany(_SQL["upsert_refusal"], refusals)
        except sqlite3.IntegrityError as error:
            self._raise_conflict(appends, error)
        if number is not None and self._in_append is not None:
            self._in_append.committed(number)
        self.watch.notify()

    def _do_inline(
        self, connection: sqlite3.Connection, rows: Sequence[_NewRow], last: int
    ) -> int | None:
        if self._in_append is None:
            return None
        first = last - len(rows) + 1
        events: list[Recorded[Any]] = [
            Recorded(position, stream, version, type_, state, self.codec)
            for position, (stream, version, type_, _, state) in enumerate(rows, first)
        ]
        return self._in_append.apply(connection, events)

    def _check_version(self, stream: str, expected_version: int, version: int) -> None:
        if expected_version != version:
            raise ConcurrencyConflictError(
                store=self._name,
                stream=stream,
                expected_version=expected_version,
                actual_version=version,
            )

    def _rows(
        self, connection: sqlite3.Connection, appends: Sequence[StreamAppend]
    ) -> list[_NewRow]:
        rows: list[_NewRow] = []
        reached = _versions(connection, [append.stream for append in appends])
        for stream, expected_version, events in appends:
            version = reached[stream]
            if expected_version != ANY_VERSION:
                self._check_version(stream, expected_version, version)
            for event in events:
                version += 1
                rows.append((stream, version, event.type, event.event_id, event.state))
            reached[stream] = version
        return rows

    def _raise_conflict(
        self,
        appends: Sequence[StreamAppend],
        error: ConcurrencyConflictError | sqlite3.IntegrityError,
    ) -> NoReturn:
        if isinstance(error, ConcurrencyConflictError):
            raise error
        ids = [event.event_id for append in appends for event in append.events]
        present = self.locate(ids)
        taken = next((id_ for id_ in ids if id_ in present), None)
        if taken is None:
            raise StoreError(store=self._name, problem=f"refused the append: {error}") from error
        event = present[taken]
        raise EventIdReusedError(
            event_id=taken, stream=event.stream, version=event.version
        ) from error

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
        low, high = min(after, PLACE_MAX), PLACE_MAX if until is None else min(until, PLACE_MAX)
        rows: list[StreamRow] | None = None
        while rows is None or len(rows) == READ_PAGE_EVENTS:
            with self.connections.reading() as connection:
                rows = connection.execute(
                    _SQL["select_stream_rows"], (stream, low, high, READ_PAGE_EVENTS)
                ).fetchall()
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
        sql = _SQL["select_stream_backwards" if backwards else "select_stream_forwards"]
        low, high = min(after, PLACE_MAX), PLACE_MAX if until is None else min(until, PLACE_MAX)
        remaining = PLACE_MAX if limit is None else limit
        while remaining > 0:
            size = min(remaining, READ_PAGE_EVENTS)
            with self.connections.reading() as connection:
                rows: list[_Row] = connection.execute(sql, (stream, low, high, size)).fetchall()
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
            with self.connections.reading() as connection:
                row = connection.execute(
                    _SQL["select_stream_rows"], (stream, low, PLACE_MAX, 1)
                ).fetchone()
            if row is not None and row[1] != low + 1:
                self._refuse_trimmed(stream)

    def _refuse_trimmed(self, stream: str) -> None:
        refuse_trimmed(self._name, self.trim_record(), f"the beginning of {stream}")

    def trim(self, events: Sequence[Recorded[Any]], *, archive: str) -> int:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim`."""
        with self.connections.writing() as connection:
            return trim(connection, self._name, events, archive)

    def trim_record(self) -> TrimRecord | None:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim_record`."""
        with self.connections.reading() as connection:
            return trim_record(connection)

    def trimmed_positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trimmed_positions`."""
        with self.connections.reading() as connection:
            return trimmed_positions(connection, event_ids)

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
        with self.connections.reading() as connection:
            return _stream_version(connection, stream) if is_storable(stream) else 0

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        with self.connections.reading() as connection:
            rows = connection.execute(
                _SQL["select_stream_versions"], (json_array(streams),)
            ).fetchall()
        return dict.fromkeys(streams, 0) | {stream: version or 0 for stream, version in rows}

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""
        return self.fetch_page(after, limit, where)()

    def fetch_page(
        self, after: int, limit: int, where: LogFilter = EVERYTHING
    ) -> Callable[[], Page]:
        """See :meth:`eventcore.stores.log.PageFetcher.fetch_page`."""
        check_page(self._name, limit)
        after, limit = min(max(after, 0), PLACE_MAX), min(limit, PLACE_MAX)
        found, head = self._fetch(after, limit, where)

        def page() -> Page:
            events = found.events(self.codec)
            if events is not None:
                return self._page(events, after, limit, head=head)
            rows, head_now = self._fetch(after, limit, where, packed=False)
            return self._page(rows.events(self.codec) or [], after, limit, head=head_now)

        return page

    def _fetch(
        self, after: int, limit: int, where: LogFilter, *, packed: bool = True
    ) -> tuple[Fetched, int | None]:
        """Events, and the head if a filter may leave out events at the end."""
        with self.connections.reading() as connection:
            if where.types is None and where.categories is None:
                return fetch(connection, "select_page", (after, limit), packed=packed), None
            # The head is read first: what is committed in between lies above it, for the next page.
            head = connection.execute(_SQL["select_head"]).fetchone()[0] or 0
            names = (_json_names(where.types), _json_names(where.categories))
            parameters = (after, limit, head, *names)
            return fetch(connection, "select_page_where", parameters, packed=packed), head

    def _page(
        self, events: list[Recorded[Any]], after: int, limit: int, *, head: int | None
    ) -> Page:
        end = events[-1].position if events else after
        if head is not None and len(events) < limit:
            end = max(after, head)
        if head is not None or end - after != len(events):
            with self.connections.reading() as connection:
                check_page_whole(connection, self._name, after, end)
        return Page(events, end)

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        with self.connections.reading() as connection:
            return int(connection.execute(_SQL["select_head"]).fetchone()[0] or 0)

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        with self.connections.reading() as connection:
            rows: list[tuple[int, str, int, str, bytes, str]] = connection.execute(
                _SQL["select_by_event_ids"], (json_array(event_ids),)
            ).fetchall()
            if len(rows) < len(event_ids):
                check_none_trimmed(connection, self._name, event_ids)
        return {row[5]: Recorded(*row[:5], self.codec) for row in rows}

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`."""
        self.head()  # refuses a closed log here rather than in the consumer's loop
        return PullSubscription(self, self.watch, after, where)

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Log.close`."""
        # First the followers are woken: a transaction of another thread may keep the rest waiting.
        self.connections.stop()
        self.watch.close()
        self.connections.close()


def _columns(connection: sqlite3.Connection) -> list[str]:
    return [row[1] for row in connection.execute("PRAGMA table_info(eventcore_log)")]


def _insert(connection: sqlite3.Connection, rows: Sequence[_NewRow]) -> int:
    """Write events; gives the position of the last one."""
    if len(rows) == 1:
        last = connection.execute(_SQL["insert_event"], rows[0]).lastrowid
    else:
        connection.executemany(_SQL["insert_event"], rows)
        last = connection.execute(_SQL["last_position_written"]).fetchone()[0]
    assert last is not None
    return int(last)


def _versions(connection: sqlite3.Connection, streams: Sequence[str]) -> dict[str, int]:
    """The last version of each stream: one statement, however many there are."""
    if len(streams) == 1:
        return {streams[0]: _stream_version(connection, streams[0])}
    rows = connection.execute(_SQL["select_stream_versions"], (json_array(set(streams)),))
    return {stream: version or 0 for stream, version in rows}


def _stream_version(connection: sqlite3.Connection, stream: str) -> int:
    row = connection.execute(_SQL["select_stream_version"], (stream,)).fetchone()
    return row[0] if row else 0


def _json_names(names: frozenset[str] | None) -> str | None:
    return None if names is None else json_array(sorted(names))
