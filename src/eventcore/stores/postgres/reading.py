"""Reading a table in order, handing out nothing below which something could still appear."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from psycopg import sql

from eventcore.events.codec import Codec
from eventcore.events.garbage import collector_paused
from eventcore.events.recorded import Recorded
from eventcore.stores.limits import PLACE_MAX, is_storable
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.postgres.gaps import Fence, Fetch, GapWatch, contiguous
from eventcore.stores.postgres.trimming import PostgresTrims
from eventcore.stores.statements import load_statements

WINDOW_POSITIONS: Final = 100_000
"""Positions one statement looks at for a choice of rows: a bound on how long it takes."""

WINDOWS_MAX: Final = 10
"""Such statements in one look, which then ends without having found anything."""

COLUMNS: Final = ("position", "stream", "version", "type", "state")
"""Of an event in the log's table, in the order of the arguments of
:class:`~eventcore.events.recorded.Recorded`."""

_POSITION = itemgetter(0)
_Row = tuple[Any, ...]


class Rows(NamedTuple):
    """What one look at a table found.

    Attributes:
        rows: Those that are final, the position first in each; there may be none.
        end: Every row up to this position was looked at.
        fence: What holds the reader behind them; None if nothing does.
    """

    rows: list[Any]
    end: int
    fence: Fence | None


def page_statements(
    table: sql.Composable,
    columns: Sequence[str],
    chosen: str,
    *,
    holders: Literal["every_session", "other_sessions"] = "every_session",
) -> dict[str, bytes]:
    """The statements of ``sql/pages.sql`` for one table.

    Args:
        table: Its name with its schema.
        columns: What is read, the position first.
        chosen: A condition with parameters of its own.
        holders: Whose locks count; for a look inside a transaction that writes, not its own.
    """
    texts = load_statements("eventcore.stores.postgres", "sql/pages.sql")
    parts: dict[str, sql.Composable] = {
        "table": table,
        "position": sql.Identifier(columns[0]),
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
        "nulls": sql.SQL(", ").join([sql.SQL("NULL")] * len(columns)),
        # The texts are those of packaged files, not of a user.
        "server": sql.SQL(texts["server"]),
        "chosen": sql.SQL(chosen),
        "others": sql.SQL(texts[holders]),
    }
    return {name: sql.SQL(text).format(**parts).as_bytes() for name, text in texts.items()}


class FinalRows:
    """Reads what is final. A look never waits for a writer: who calls decides when to look again.

    Args:
        fetch: Reads the rows of a statement on the primary.
        statements: See :func:`page_statements`.
        gaps: Knows what is final.
    """

    def __init__(self, fetch: Fetch, statements: Mapping[str, bytes], *, gaps: GapWatch) -> None:
        self._fetch = fetch
        self._sql = statements
        self._gaps = gaps

    def look(
        self,
        after: int,
        limit: int,
        chosen: Sequence[Any] | None = None,
        *,
        fence: Fence | None = None,
    ) -> Rows:
        """Read what is final above a position.

        Args:
            after: The position.
            limit: Rows at most.
            chosen: Parameters of the condition that rows are to meet; None: all rows.
            fence: What held the reader when this was asked last.
        """
        after, limit = min(max(after, 0), PLACE_MAX), min(limit, PLACE_MAX)
        if fence is not None:
            fence = self._gaps.ask(fence, self._fetch)
        if chosen is None:
            return self._look_at_all(after, limit, fence)
        while True:
            found = self._look_at_chosen(after, limit, chosen, fence=fence)
            if found is not None:
                return found
            fence = None

    def _look_at_all(self, after: int, limit: int, fence: Fence | None) -> Rows:
        if fence is not None:
            # Still held; but the very next position may have been filled meanwhile.
            first, final = self._read(after, 1)
            if not first or not final:
                return Rows([], after, fence)
        while True:
            rows, final = self._read(after, limit)
            if final < len(rows) and fence is None:
                # Everything there is now is asked for at once, or a log with many gaps would be
                # asked for page by page.
                fence = self._gaps.ask(None, self._fetch)
                if fence is None:
                    continue
            held_by = None if final == len(rows) else fence
            return Rows(rows[:final], rows[final - 1][0] if final else after, held_by)

    def _read(self, after: int, limit: int) -> tuple[list[_Row], int]:
        """Rows, and how many of them are final."""
        # Before the rows are read: what appears below it later cannot be missing from them.
        settled = self._gaps.settled
        if after >= settled.end:
            rows = self._fetch(self._sql["select_page"], (after, PLACE_MAX, limit))
            return rows, contiguous(after, [row[0] for row in rows])
        server = settled.server
        rows = self._fetch(
            self._sql["select_page_of_server"], (after, PLACE_MAX, server, limit, server)
        )
        if _is_of_another_server(rows):
            self._gaps.forget(settled)
            return self._read(after, limit)
        known = bisect_right(rows, settled.end, key=_POSITION)
        return rows, known + contiguous(settled.end, [row[0] for row in rows[known:]])

    def _look_at_chosen(
        self, after: int, limit: int, chosen: Sequence[Any], *, fence: Fence | None
    ) -> Rows | None:
        """None if the server became another one meanwhile: look again."""
        # A condition hides the gaps, so what is final is found out first.
        head = self.head()
        if head <= after:
            return Rows([], after, None)
        if fence is None and head > self._gaps.settled.end:
            fence = self._gaps.ask(None, self._fetch)
        settled = self._gaps.settled
        server, end = settled
        if fence is not None:
            # What comes before the first gap waits for nobody.
            known = max(after, end if server == fence.server else 0)
            upto = min(head, known + WINDOW_POSITIONS)
            server = fence.server
            end = self._fetch(self._sql["select_contiguous_until"], (known, known, upto))[0][0]
            if end >= head:
                fence = None  # no gap: whoever holds the lock will write above
        rows: list[_Row] = []
        for _ in range(WINDOWS_MAX):
            if after >= end or len(rows) >= limit:
                break
            upto = min(after + WINDOW_POSITIONS, end)
            window = self._fetch(
                self._sql["select_chosen_of_server"],
                (after, upto, server, *chosen, limit - len(rows), server),
            )
            if _is_of_another_server(window):
                self._gaps.forget(settled)
                return None
            rows += window
            after = rows[-1][0] if len(rows) == limit else upto
        return Rows(rows, after, fence)

    def at(self, position: int) -> list[Any]:
        """The row at a position, final or not; none if there is none."""
        return self._fetch(self._sql["select_page"], (position - 1, position, 1))

    def last_until(self, position: int) -> list[_Row]:
        """The last row that can be seen at or below a position, if there is one."""
        return self._fetch(self._sql["select_last_until"], (min(position, PLACE_MAX),))

    def head(self) -> int:
        """The highest position that can be seen; 0 if there is none."""
        return int(self._fetch(self._sql["select_head"])[0][0])


def _is_of_another_server(rows: Sequence[_Row]) -> bool:
    return bool(rows) and rows[0][0] is None


class Look(NamedTuple):
    """What one look at the log found.

    Attributes:
        page: Events that are final; it may be empty.
        fence: What holds the feed behind them; None if nothing does.
    """

    page: Page
    fence: Fence | None


class PageReading:
    """Reads pages of events.

    Args:
        rows: Of the log's table, :data:`COLUMNS`.
        codec: Given to the events.
        trims: Knows what was trimmed.
    """

    def __init__(self, rows: FinalRows, codec: Codec, *, trims: PostgresTrims) -> None:
        self._rows = rows
        self._codec = codec
        self._trims = trims

    def look(self, after: int, limit: int, where: LogFilter, *, fence: Fence | None = None) -> Look:
        """See :meth:`FinalRows.look`.

        Raises:
            TrimmedHistoryError: Events between ``after`` and the page's end are in an archive.
        """
        chosen: list[Any] | None = None
        if where.types is not None or where.categories is not None:
            types, categories = _names(where.types), _names(where.categories)
            chosen = [types, types, categories, categories]
        rows: list[tuple[int, str, int, str, bytes]]
        rows, end, fence = self._rows.look(after, limit, chosen, fence=fence)
        if end - max(after, 0) != len(rows):
            # After the rows were read: what was trimmed by then is known by now.
            self._trims.check_page(max(after, 0))
        codec = self._codec
        # As many objects as events, at once: not looked through for garbage meanwhile.
        with collector_paused():
            events: list[Recorded[Any]] = [Recorded(*row, codec) for row in rows]
        return Look(Page(events, end), fence)

    def last_until(self, position: int) -> Recorded[Any] | None:
        """The last event that can be seen at or below a position."""
        rows: list[tuple[int, str, int, str, bytes]] = self._rows.last_until(position)
        return Recorded(*rows[0], self._codec) if rows else None

    def has(self, event: Recorded[Any]) -> bool:
        """Whether the log has this very event where it was read, or it was trimmed since."""
        rows = self._rows.at(event.position)
        if not rows:
            event_id = str(event.event_id)
            return self._trims.positions([event_id]).get(event_id) == event.position
        return rows == [(event.position, event.stream, event.version, event.type, event.state)]

    def head(self) -> int:
        """The highest position that can be seen."""
        return self._rows.head()


def _names(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(filter(is_storable, names))
