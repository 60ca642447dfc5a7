"""Calls to DynamoDB: the one interface everything here goes through, and how a call may fail.

Whatever sends the requests (boto3, a model of the table in tests) does one attempt a call and says
how it failed. :class:`DynamoDBCalls` around it decides what is tried again.

Items are in the service's own JSON form, ``{"pk": {"S": "…"}, "sk": {"N": "1"}}``. A binary value
is given as ``bytes``; in answers it is the base64 text that came over the wire: read it with
:func:`binary`.
"""

from __future__ import annotations

import os
import random  # noqa: TID251 - spreads attempts in time, decides nothing that is stored
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from eventcore.errors import (
    ConfigurationError,
    EventCoreError,
    SchemaMismatchError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)

RETRY_SECONDS: Final = 15.0
"""How long a call that may be repeated goes on being tried: longer than a table that grows, or a
router that fails over, usually takes."""

PAUSE_FIRST_SECONDS: Final = 0.02
PAUSE_SECONDS_MAX: Final = 1.0
"""Bounds of the pause before another attempt. Each is drawn from zero to its bound, which doubles
(AWS Architecture Blog, "Exponential Backoff And Jitter": full jitter)."""

BATCH_SENDS_MAX: Final = 20
"""How often a batch of which the service does nothing is sent."""

Item = dict[str, dict[str, Any]]
"""An item in the service's JSON form."""

Kind = Literal["throttled", "conflict", "unknown", "unreachable", "absent", "forbidden", "refused"]


class CallFailedError(Exception):
    """One attempt of a call failed.

    Attributes:
        kind: ``throttled`` and ``conflict`` (with a transaction in progress): not done, may be
            tried again. ``unreachable``: never sent. ``unknown``: may or may not have been done, or
            may be done yet. ``absent``: no such table. ``forbidden``: who asks may not.
            ``refused``: the request itself is wrong.
        code: What the service calls it.
        problem: For a person; repeats nothing of what was sent.
    """

    def __init__(self, code: str, problem: str, *, kind: Kind) -> None:
        super().__init__(f"{code}: {problem}")
        self.kind = kind
        self.code = code
        self.problem = problem


class ConditionFailedError(Exception):
    """A conditional write was refused: nothing was written.

    Attributes:
        item: What is there, if ``ReturnValuesOnConditionCheckFailure`` asked for it.
    """

    def __init__(self, item: Item | None) -> None:
        super().__init__("the condition of a write does not hold")
        self.item = item


class Reason(NamedTuple):
    """Why one action of a transaction kept it from being done.

    Attributes:
        code: ``None``: this one did not; ``ConditionalCheckFailed``, ``TransactionConflict``, …
        item: What is there, if it was asked for.
    """

    code: str
    item: Item | None


class TransactionCanceledError(Exception):
    """A transaction was not done, in no part.

    Attributes:
        reasons: One for each action, in their order.
    """

    def __init__(self, reasons: list[Reason]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = reasons

    @property
    def failed_conditions(self) -> list[int]:
        """Which actions had a condition that does not hold; none: it may be tried again."""
        found = enumerate(self.reasons)
        return [index for index, reason in found if reason.code == "ConditionalCheckFailed"]


class Transport(Protocol):
    """Sends one request and waits for its answer, once."""

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The answer.

        Raises:
            ConditionFailedError: See there.
            TransactionCanceledError: See there.
            CallFailedError: See there.
        """

    def close(self) -> None:
        """Release its connections."""


class DynamoDBCalls:
    """Calls that are tried again where that is safe. May be used from any thread.

    Not to be used across a ``fork``: in the child everything but :meth:`close` is refused.

    A ``TransactWriteItems`` is sent once: whether it may be repeated only its sender knows.

    Args:
        transport: Sends the requests.
        name: Of the store, for messages.
        retry_seconds: How long one call is tried.
        clock: Seconds that only grow.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name: str = "dynamodb",
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.clock = clock
        self.sleep = sleep
        self._transport = transport
        self._retry_seconds = retry_seconds
        self._process = os.getpid()
        self._closed = False

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Do it, trying again with growing pauses while it is known or harmless to.

        A write that is tried again may meet its own earlier attempt: make it conditional, or one
        that gives the same whenever it is done.

        Raises:
            ConditionFailedError: A condition does not hold. Nothing was written.
            TransactionCanceledError: A transaction was not done.
            StoreUnavailableError: The service did not answer in time, or not now. A transaction may
                have been done.
            SchemaMismatchError: There is no such table.
            ConfigurationError: Whoever asks may not do that.
            StoreError: The request is not understood.
            StoreClosedError: After :meth:`close`.
        """
        pauses = Pauses(self.sleep)
        deadline = self.clock() + self._retry_seconds
        while True:
            self.check_open()
            try:
                return self._transport.call(operation, parameters)
            except CallFailedError as error:
                is_final = error.kind in {"absent", "forbidden", "refused"}
                is_late = operation == "TransactWriteItems" or self.clock() >= deadline
                if is_final or is_late:
                    raise self._translated(error, parameters) from error
            pauses.pause()

    def finish(
        self, operation: str, request: Mapping[str, Any], *, undone: str
    ) -> list[dict[str, Any]]:
        """Do a batch, sending again what the service left undone of it until nothing is.

        Args:
            operation: ``BatchGetItem`` or ``BatchWriteItem``.
            request: What each table is asked for, ``RequestItems``.
            undone: Under which name the answer says what was not done.

        Raises:
            StoreUnavailableError: Nothing of it is done, again and again.
        """
        pauses = Pauses(self.sleep)
        answers: list[dict[str, Any]] = []
        idle = 0
        while idle < BATCH_SENDS_MAX:
            answers.append(self.call(operation, {"RequestItems": request}))
            before, request = _requests(request), answers[-1].get(undone) or {}
            if not request:
                return answers
            if _requests(request) < before:
                # An answer that was full. What is throttled comes back whole.
                pauses, idle = Pauses(self.sleep), 0
            idle += 1
            pauses.pause()
        raise StoreUnavailableError(
            store=self.name, problem=f"{operation} was left undone {BATCH_SENDS_MAX} times"
        )

    def check_open(self) -> None:
        """Refuse to go on after :meth:`close`, or in a child process. Takes no lock.

        Raises:
            StoreClosedError: It was closed.
            StoreError: Opened before a fork.
        """
        # Before any lock: one held by another thread at the fork is never released in the child.
        if self.is_forked:
            raise StoreError(
                store=self.name, problem="opened before a fork; open it again in the child process"
            )
        if self._closed:
            raise StoreClosedError(store=self.name)

    def close(self) -> None:
        """Refuse further calls and release the connections; in a child they are the parent's."""
        self._closed = True
        if not self.is_forked:
            self._transport.close()

    @property
    def is_forked(self) -> bool:
        """Whether this is another process than the one that opened it."""
        return os.getpid() != self._process

    def _translated(self, error: CallFailedError, parameters: Mapping[str, Any]) -> EventCoreError:
        match error.kind:
            case "absent":
                return SchemaMismatchError(
                    table=parameters.get("TableName", "named in a transaction"),
                    database=self.name,
                    found="no table",
                    expected="one",
                    action="Create it with eventcore db apply",
                )
            case "forbidden":
                return ConfigurationError(message=f"{self.name}: {error}")
            case "refused":
                return StoreError(store=self.name, problem=str(error))
            case _:
                return StoreUnavailableError(store=self.name, problem=str(error))


def _requests(batch: Mapping[str, Any]) -> int:
    """How many items a batch asks for."""
    return sum(len(one["Keys"]) if "Keys" in one else len(one) for one in batch.values())


class Pauses:
    """Pauses between attempts, each drawn at random below a bound that doubles."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._bound_seconds = PAUSE_FIRST_SECONDS

    def pause(self) -> None:
        """Wait before the next attempt."""
        self._sleep(random.uniform(0, self._bound_seconds))  # noqa: S311 - not a secret
        self._bound_seconds = min(2 * self._bound_seconds, PAUSE_SECONDS_MAX)


def binary(attribute: Mapping[str, Any]) -> bytes:
    """The bytes of a binary attribute of an answer, or of an error's item."""
    value = attribute["B"]
    return value if isinstance(value, bytes) else b64decode(value)
