"""Writing one commit: reserve positions, write everything in one transaction, settle its outcome.

1. ``ADD`` on the sequencer reserves positions that nobody else will ever be given. A reservation
   that is never used is a hole in the log, nothing worse.
2. One transaction puts the cells of the log and the items of the streams. Every put demands that
   nothing is there: a cell or a version is written once, by whoever comes first.
3. A transaction that was refused, or whose outcome is unknown, is settled before anything is said
   or tried again: a tombstone is put where its first cell belongs, on the same condition. Either
   the tombstone is there, and the transaction can never be done, however late it may arrive; or
   something was there before, and says by its token whether it is ours.

Why that is enough, and why nothing less is, is in ``docs/explanation/dynamodb-log.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from eventcore.errors import (
    EventCoreError,
    LogRestoredError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    DynamoDBCalls,
    Item,
    Pauses,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.layout import FORMAT, Keys, record_of, tombstone
from eventcore.stores.dynamodb.requests import IS_ABSENT, Commit
from eventcore.stores.dynamodb.table_watch import TableWatch
from eventcore.stores.dynamodb.tables import check_usable, ensure_table, read_sequencer

SENDS_MAX: Final = 6
"""How often one transaction is sent while nobody answers or others hold its items; then its outcome
is settled."""

FENCED_MAX: Final = 20
"""How often a commit may find its positions fenced by readers: they wait longer each time."""

TOKEN_BYTES: Final = 16


class _Outcome(NamedTuple):
    """What is known of a transaction that was sent.

    Attributes:
        is_done: It was done.
        refused: Requests that had a condition which does not hold. Neither: nothing is known, or
            its positions are fenced.
    """

    is_done: bool
    refused: list[int]


_DONE: Final = _Outcome(is_done=True, refused=[])
_UNKNOWN: Final = _Outcome(is_done=False, refused=[])


class Writing:
    """Writes commits to one log. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        identity: Of the table that the log was opened in, see
            :func:`eventcore.stores.dynamodb.tables.table_identity`.
        new_token: Makes a token that no other commit has.
        sends_max: How often a transaction is sent before its outcome is settled.
    """

    def __init__(
        self,
        calls: DynamoDBCalls,
        keys: Keys,
        identity: str,
        *,
        new_token: Callable[[], bytes] = lambda: os.urandom(TOKEN_BYTES),
        sends_max: int = SENDS_MAX,
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._watch = TableWatch(calls, keys.table, identity)
        self._new_token = new_token
        self._sends_max = sends_max

    @property
    def identity(self) -> str:
        """Of the table that the log was opened in."""
        return self._watch.identity

    def write(self, commit: Commit) -> tuple[int, list[int]]:
        """Write a commit.

        Returns:
            The position of its first event, and no requests; or 0, and which of its requests were
            refused because a stream had moved: then nothing was written.

        Raises:
            StoreUnavailableError: The service does not answer: the outcome may be unknown. Writing
                the same events at the same versions once more is safe.
            StoreError: The table is not as this log left it.
        """
        pauses = Pauses(self._calls.sleep)
        for _ in range(FENCED_MAX):
            base = self.reserve(commit.count) if commit.count else 0
            token = self._new_token()
            outcome = self._transact(commit, base, token)
            if outcome.is_done:
                return base, []
            # Nothing may be said before it is certain: an earlier attempt may have been done, or
            # may be on its way still.
            if base and self._settle(base, commit.count, token):
                return base, []
            if outcome.refused:
                return 0, outcome.refused
            if not base:
                problem = "its outcome is unknown, or its items were in other transactions"
                raise StoreUnavailableError(store=self._calls.name, problem=problem)
            pauses.pause()
        problem = f"its positions were fenced before it could be written, {FENCED_MAX} times"
        raise StoreUnavailableError(store=self._calls.name, problem=problem)

    def reserve(self, count: int) -> int:
        """Reserve so many positions; gives the first.

        Repeated when the answer got lost: what was reserved for it is a hole then.

        Raises:
            LogRestoredError: The table is another one than was opened, or a repair closed or signed
                it. Nothing was reserved. The sequencer of a restored copy is that of the table it
                is a copy of: only the :class:`~eventcore.stores.dynamodb.table_watch.TableWatch`
                tells.
            SchemaMismatchError: The log is of another format now, or the table is gone.
        """
        try:
            with self._watch.writing():
                answer = self._add(count)
        except ConditionFailedError as error:
            check_usable(self._calls, self._keys, error.item or {}, self.identity)
            problem = "the sequencer refuses what it has to take"
            raise StoreError(store=self._calls.name, problem=problem) from error
        return int(answer["Attributes"]["c"]["N"]) - count + 1

    def _add(self, count: int) -> dict[str, Any]:
        return self._calls.call(
            "UpdateItem",
            {
                "TableName": self._keys.table,
                "Key": self._keys.sequencer,
                "UpdateExpression": "ADD c :count",
                "ConditionExpression": "f = :format AND t = :identity",
                "ExpressionAttributeValues": {
                    ":count": {"N": str(count)},
                    ":format": {"N": str(FORMAT)},
                    ":identity": {"S": self.identity},
                },
                "ReturnValues": "UPDATED_NEW",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )

    def check_current(self) -> None:
        """Refuse a table that is not the one the log was opened in, or that is being repaired.

        Raises:
            LogRestoredError: It is.
            SchemaMismatchError: The log is of another format now, or the table is gone.
        """
        there = ensure_table(self._calls, self._keys.table, create=False)
        check_usable(self._calls, self._keys, read_sequencer(self._calls, self._keys), there)
        self._watch.check(there)

    def put_once(self, item: Item) -> Item | None:
        """Put an item where nothing is; gives what was there instead, None if it was put."""
        try:
            self._calls.call(
                "PutItem",
                {
                    "TableName": self._keys.table,
                    "Item": item,
                    "ConditionExpression": IS_ABSENT,
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
            )
        except ConditionFailedError as error:
            found = error.item
            if found is None:
                raise StoreError(store=self._calls.name, problem="no item where one was") from error
            return found
        return None

    def _transact(self, commit: Commit, base: int, token: bytes) -> _Outcome:
        """Send the transaction until something is known of it."""
        self._watch.look()  # this thread may have stood still since it reserved
        request = {
            "TransactItems": commit.actions(base, token),
            # The service's own protection against doing it twice, within ten minutes; the
            # conditions protect for ever.
            "ClientRequestToken": token.hex(),
        }
        pauses = Pauses(self._calls.sleep)
        is_unknown = False
        for attempt in range(self._sends_max):
            if attempt:
                pauses.pause()
            try:
                outcome = self._send(commit, request, token)
            except StoreUnavailableError:
                is_unknown = True
            except EventCoreError as error:
                # It tells of this attempt. An earlier one may have been done, or be on its way.
                if is_unknown and self._was_done(commit, base, token, error):
                    return _DONE
                raise
            else:
                if outcome is not None:
                    return outcome
        return _UNKNOWN

    def _send(self, commit: Commit, request: Mapping[str, Any], token: bytes) -> _Outcome | None:
        """What one attempt came to; None: it was not done, and may be tried again."""
        try:
            self._calls.call("TransactWriteItems", request)
        except TransactionCanceledError as error:
            if error.failed_conditions:
                return self._refusal(commit, error, token)
            check_passing(self._calls.name, error)
            return None
        return _DONE

    def _was_done(  # noqa: PLR0917 - what was sent, and what came of it
        self, commit: Commit, base: int, token: bytes, error: EventCoreError
    ) -> bool:
        if not base:
            problem = f"its outcome is unknown, and then: {error}"
            raise StoreUnavailableError(store=self._calls.name, problem=problem) from error
        return self._settle(base, commit.count, token)

    def _refusal(self, commit: Commit, error: TransactionCanceledError, token: bytes) -> _Outcome:
        """What it means that conditions do not hold."""
        failed = error.failed_conditions
        if failed[0] < commit.cell_count:
            item = error.reasons[failed[0]].item
            if item is not None and self._is_ours(item, token):
                return _DONE  # an earlier attempt of this very transaction
            return _UNKNOWN
        return _Outcome(is_done=False, refused=sorted({commit.request_of(one) for one in failed}))

    def _settle(self, base: int, count: int, token: bytes) -> bool:
        """Make sure that a transaction is either done, True, or never will be.

        Raises:
            StoreUnavailableError: That cannot be made sure of, whyever: its outcome is unknown.
            LogRestoredError: Somebody else's cell is there.
        """
        try:
            found = self.put_once(tombstone(self._keys, base, count))
        except EventCoreError as error:
            problem = f"the outcome of an append is unknown: {error}"
            raise StoreUnavailableError(store=self._calls.name, problem=problem) from error
        return found is not None and self._is_ours(found, token)

    def _is_ours(self, item: Item, token: bytes) -> bool:
        """Whether what is where our cell belongs is our cell; else it is a tombstone."""
        found = record_of(item)
        if found.token not in {None, token}:
            problem = f"position {found.first} was reserved, and is written already"
            raise LogRestoredError(store=self._calls.name, problem=problem)
        return found.token == token


def check_passing(store: str, error: TransactionCanceledError) -> None:
    """Pass over what goes away by itself; anything else no attempt will change.

    Raises:
        StoreError: There is something else.
    """
    passing: set[Any] = {
        "None",
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    }
    if wrong := {reason.code for reason in error.reasons} - passing:
        raise StoreError(store=store, problem=f"a transaction was refused: {sorted(wrong)}")
