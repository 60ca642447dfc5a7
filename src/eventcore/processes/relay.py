"""Relay: does what the outbox says, and takes it out when it is done.

A crash at any moment ends in one effect: a row is taken out only after all of it was done, and
doing it again changes nothing, since the ids of its commands are derived from the event.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from eventcore.commands.command import Command, CommandResult
from eventcore.errors import (
    CodedError,
    ConcurrencyConflictError,
    EventCoreError,
    RetriesExhaustedError,
    StoreClosedError,
    StoreUnavailableError,
)
from eventcore.events.context import event_context
from eventcore.events.times import from_text
from eventcore.processes.folding import Folding, command_id_of
from eventcore.processes.tables import DueRow, OutboxRow, RefusalRow, messages_in
from eventcore.projections.views import Views

ROWS_AT_ONCE: Final = 100
"""Events whose commands were sent that are taken out of the outbox in one transaction."""

RETRY_FIRST_SECONDS: Final = 0.1
RETRY_SECONDS_MAX: Final = 60.0
"""Bounds of the wait before a command is sent again to a store that could not be reached."""

TRANSIENT: Final = (
    StoreUnavailableError,
    RetriesExhaustedError,
    ConcurrencyConflictError,
    OSError,
    TimeoutError,
)
"""Errors that may be gone the next time."""

_logger = logging.getLogger(__name__)


class Sent(NamedTuple):
    """What came of a look at the outbox.

    Attributes:
        commands: Commands that were executed, also those that had been before.
        refused: Commands that were refused; noted, not sent again.
        waiting: Events whose commands could not be sent; tried again later.
    """

    commands: int = 0
    refused: int = 0
    waiting: int = 0


class _Retry(NamedTuple):
    attempts: int
    not_before: float


class Relay:
    """Sends the commands of one process manager. For one thread.

    Several may send the same outbox, also in other processes: each command has one effect.

    Args:
        folding: The process manager with its tables.
        views: Where they are kept.
        execute: Executes a command; repeated under the same id it changes nothing.
        now: The time, aware; only noted.
        monotonic: Seconds of a clock that never steps back: says when to try again.
    """

    def __init__(
        self,
        folding: Folding,
        views: Views,
        *,
        execute: Callable[[Command], CommandResult],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._folding = folding
        self._tables = folding.tables
        self._name = folding.process.name
        self._views = views
        self._execute = execute
        self._now = now
        self._monotonic = monotonic
        self._retries: dict[int, _Retry] = {}
        """By the position of the event; what is seen again in a rebuild sends nothing."""

    def send(self) -> Sent:
        """Do everything in the outbox that can be done now, in order within each instance.

        Raises:
            StoreError: The views failed. Go on later.
        """
        sent, after = Sent(), (0, 0)
        blocked: set[str] = set()
        while rows := self._rows_above(after):
            done: list[OutboxRow] = []
            refusals: list[RefusalRow] = []
            for row in rows:
                instances = {message["instance"] for message in messages_in(row)}
                if blocked & instances or not self._send_row(row, refusals):
                    blocked |= instances
                else:
                    done.append(row)
            self._take_out(done, refusals)
            sent = Sent(
                sent.commands + sum(_commands_in(row) for row in done) - len(refusals),
                sent.refused + len(refusals),
                sent.waiting + len(rows) - len(done),
            )
            after = (rows[-1].position, rows[-1].part)
        return sent

    def _rows_above(self, place: tuple[int, int]) -> list[OutboxRow]:
        rows = self._views.query(self._tables.outbox, {"process": self._name})
        above = (row for row in rows if (row.position, row.part) > place)
        return list(islice(above, ROWS_AT_ONCE))

    def _send_row(self, row: OutboxRow, refusals: list[RefusalRow]) -> bool:
        """Whether all of it was done; else it is tried again later."""
        retry = self._retries.get(row.position)
        if retry is not None and self._monotonic() < retry.not_before:
            return False
        noted: list[RefusalRow] = []
        commands = [one for message in messages_in(row) for one in message["commands"]]
        try:
            for number, message in enumerate(commands):
                refusal = self._send_one(row, number, message)
                if refusal is not None:
                    noted.append(refusal)
        except StoreClosedError:
            raise
        except TRANSIENT as error:
            self._put_off(row, error)
            return False
        self._retries.pop(row.position, None)
        refusals += noted
        return True

    def _send_one(
        self, row: OutboxRow, number: int, message: Mapping[str, Any]
    ) -> RefusalRow | None:
        name = message["name"]
        command_class = self._folding.command_of(name)
        if command_class is None:
            return self._refusal(row, number, name, reason="command-unknown")
        command_id = command_id_of(self._name, row.event_id, number)
        try:
            fields = {**message["fields"], "commandId": str(command_id)}
            command = command_class.model_validate_json(orjson.dumps(fields))
        except ValidationError:
            return self._refusal(row, number, name, reason="command-invalid")
        try:
            with event_context(correlation_id=row.correlation_id, causation_id=row.event_id):
                self._execute(command)
        except (StoreClosedError, *TRANSIENT):
            raise
        except CodedError as error:
            return self._refusal(row, number, name, reason=error.reason, stream=command.stream)
        except Exception as error:  # noqa: BLE001 - noted, and told in the log
            # A mistake in the command's own code must not keep all that comes after it. Ours never
            # repeat a personal value; of others only the kind is told.
            known = isinstance(error, EventCoreError)
            _logger.error(  # noqa: TRY400 - a traceback would repeat the command
                "%s of %s failed: %s", name, self._name, error if known else type(error).__name__
            )
            reason = type(error).__name__
            return self._refusal(row, number, name, reason=reason, stream=command.stream)
        return None

    def _refusal(
        self, row: OutboxRow, number: int, command: str, *, reason: str, stream: str = ""
    ) -> RefusalRow:
        _logger.info("%s of %s for %s was refused: %s", command, self._name, stream, reason)
        return RefusalRow(self._name, row.position, number, command, stream, reason, self._now())

    def _put_off(self, row: OutboxRow, error: Exception) -> None:
        before = self._retries.get(row.position)
        attempts = before.attempts + 1 if before else 1
        longest = min(RETRY_FIRST_SECONDS * 2 ** min(attempts, 30), RETRY_SECONDS_MAX)
        wait = longest * (0.5 + _spread(f"{self._name}:{row.event_id}:{attempts}") / 2)
        self._retries[row.position] = _Retry(attempts, self._monotonic() + wait)
        _logger.warning(
            "Commands of %s for the event at %d are put off: %s",
            self._name,
            row.position,
            type(error).__name__,
        )

    def _take_out(self, rows: list[OutboxRow], refusals: list[RefusalRow]) -> None:
        if not rows:
            return
        tables = self._tables
        with self._views.transaction() as transaction:
            due = [timer for row in rows for timer in _timers_in(row)]
            if due:
                transaction.upsert(tables.due, due)
            if refusals:
                transaction.upsert(tables.refusals, refusals)
            transaction.delete(
                tables.outbox, [(self._name, row.position, row.part) for row in rows]
            )


def _commands_in(row: OutboxRow) -> int:
    return sum(len(message["commands"]) for message in messages_in(row))


def _timers_in(row: OutboxRow) -> list[DueRow]:
    return [
        DueRow(
            process=row.process,
            due_at=from_text(timer["due"]),
            timer_id=timer["id"],
            instance=message["instance"],
            timer=timer["name"],
            position=row.position,
            event_id=row.event_id,
            correlation_id=row.correlation_id,
        )
        for message in messages_in(row)
        for timer in message["timers"]
    ]


def _spread(text: str) -> float:
    """A number from 0 to below 1 that differs from text to text: processes do not try together."""
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
