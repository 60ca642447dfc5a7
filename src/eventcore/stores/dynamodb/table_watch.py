"""Noticing that another table took the place of the one that was opened.

A table that was restored under the name of an older one has the older one's items, also those that
say which table they belong to. Only the service knows that it is another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventcore.errors import LogRestoredError, SchemaMismatchError
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.tables import table_identity

QUIET_SECONDS: Final = 30.0
"""How long after a write the table is taken for the same. One that is restored under its name takes
minutes, after it was deleted: whoever was refused or quiet meanwhile looks which table is there
before the next write."""

_Clocks = tuple[float, float]


class TableWatch:
    """Looks which table is there before a write, if it may be another one. For any thread.

    Args:
        calls: To the service.
        table: Its name.
        identity: Of the one that was opened, see
            :func:`eventcore.stores.dynamodb.tables.table_identity`.
    """

    def __init__(self, calls: DynamoDBCalls, table: str, identity: str) -> None:
        self._calls = calls
        self._table = table
        self.identity = identity
        self._known_at: _Clocks | None = self._clocks()

    def look(self) -> _Clocks:
        """Ask the service if need be, once; gives the time.

        Raises:
            LogRestoredError: It is another one than was opened.
            SchemaMismatchError: There is none.
            StoreUnavailableError: The service does not say: nothing may be written.
        """
        now, known = self._clocks(), self._known_at
        if known is None or any(
            abs(later - earlier) > QUIET_SECONDS for later, earlier in zip(now, known, strict=True)
        ):
            answer = self._calls.call("DescribeTable", {"TableName": self._table})
            self.check(table_identity(answer["Table"]))
            self._known_at = now
        return now

    def check(self, identity: str) -> None:
        """Refuse the table of an identity if it is not the one that was opened.

        Raises:
            LogRestoredError: It is not.
        """
        if identity != self.identity:
            problem = f"table {self._table} is another one than was opened"
            raise LogRestoredError(store=self._calls.name, problem=problem)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around a write that the table itself answers.

        Raises:
            LogRestoredError: See :meth:`look`. Nothing was sent.
            StoreUnavailableError: Likewise.
            SchemaMismatchError: There is no table.
        """
        began = self.look()
        try:
            yield
        except SchemaMismatchError:
            self._known_at = None  # it was deleted: what is there next is another one
            raise
        self._known_at = began

    def _clocks(self) -> _Clocks:
        # Two: one may have stood still while the machine slept, the other one may jump.
        return self._calls.clock(), time.time()  # noqa: TID251 - says whether to look, and no more
