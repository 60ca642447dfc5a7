"""Execution: load, decide, append; and again if another writer was faster, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from eventcore.aggregates.aggregate import Aggregate, Claim, aggregate_class_of
from eventcore.aggregates.reservations import Reservation
from eventcore.commands.command import Command, CommandResult
from eventcore.commands.digests import COMMAND_DIGEST, command_digest
from eventcore.commands.envelopes import Envelopes
from eventcore.commands.repository import Repository
from eventcore.commands.reservations import reservation_appends
from eventcore.errors import (
    CommandIdReusedError,
    ConcurrencyConflictError,
    ConfigurationError,
    EventIdReusedError,
    RetriesExhaustedError,
)
from eventcore.events.event import DomainEvent, stream_of
from eventcore.events.identifiers import event_id_of_command
from eventcore.events.recorded import EncodedEvent, NewEvent, Recorded
from eventcore.stores.log import ANY_VERSION, AppendResult, Log, StreamAppend

ATTEMPTS_MAX: Final = 10
"""How often a command is decided anew because another writer was faster."""


class CommandExecutor:
    """Executes commands on a log. Safe under threads.

    Args:
        log: The log.
        repository: Loads the aggregates.
        envelopes: Surrounds what they record.
        reservation_key: See :func:`eventcore.commands.reservations.reservation_id_of`.
        pause: Called with the number of the attempt that lost its race, before the next one.
        attempts_max: How often a command is decided.
    """

    def __init__(  # noqa: PLR0913 - each a keyword, the last two with a default
        self,
        log: Log,
        *,
        repository: Repository,
        envelopes: Envelopes,
        reservation_key: bytes = b"",
        pause: Callable[[int], None] = lambda _attempt: None,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        self._log = log
        self._codec = log.codec
        self._repository = repository
        self._envelopes = envelopes
        self._reservation_key = reservation_key
        self._pause = pause
        self._attempts_max = attempts_max

    def execute(self, command: Command) -> CommandResult:
        """Make happen what a command wants, once.

        What it records carries its id: that is how it is found again. A command that recorded
        nothing left no trace, and is decided again when it is repeated.

        Raises:
            RuleViolationError: A rule refuses. Nothing was written.
            RetriesExhaustedError: Other writers were faster every time. Nothing was written.
            CommandIdReusedError: The command's id was used for another command. Nothing was
                written.
            StoreUnavailableError: The outcome is unknown. A command with an id can be repeated.
        """
        for attempt in range(1, self._attempts_max + 1):
            first = self._first_result(command)
            if first is not None:
                return first
            aggregate = self._repository.load(command.__aggregate__, command.aggregate_id)
            before, claims = aggregate.version, aggregate.claims()
            command.decide(aggregate)
            if not aggregate.pending:
                return CommandResult(aggregate.stream, before, self._log.head(), (), repeated=False)
            try:
                return self._store(aggregate, claims, command)
            except ConcurrencyConflictError:
                self._pause(attempt)
            except EventIdReusedError:
                # The same command at the same time elsewhere: its result is there now.
                first = self._first_result(command)
                if first is None:
                    raise
                return first
        raise RetriesExhaustedError(
            command=type(command).__name__, stream=command.stream, attempts=self._attempts_max
        )

    def save(self, aggregate: Aggregate) -> CommandResult:
        """Store what an aggregate has pending, if its stream is where it was loaded.

        Raises:
            ConcurrencyConflictError: The stream moved, or a value it claims was just taken. Nothing
                was written, everything is still pending.
            RuleViolationError: Another aggregate holds a value it claims.
        """
        version = aggregate.version - len(aggregate.pending)
        if not aggregate.pending:
            return CommandResult(aggregate.stream, version, self._log.head(), (), repeated=False)
        claims: frozenset[Claim] = frozenset()
        if version and aggregate.claims.__func__ is not Aggregate.claims:  # type: ignore[attr-defined]  # a bound method
            claims = self._repository.get(type(aggregate), aggregate.id, version=version).claims()
        return self._store(aggregate, claims)

    def append(self, payloads: Sequence[DomainEvent]) -> tuple[Recorded[Any], ...]:
        """Append events that belong to no aggregate, all or none, at the end of their streams.

        Raises:
            ConfigurationError: An event belongs to an aggregate, whose rules it must pass: execute
                a command.
        """
        appends: list[StreamAppend] = []
        for payload in payloads:
            category = payload.__event__.category
            if aggregate_class_of(category) is not None:
                raise ConfigurationError(
                    message=(
                        f"{payload.__event__.type} belongs to the aggregate {category}, whose "
                        "rules it must pass: execute a command"
                    )
                )
            encoded = self._codec.encode(self._envelopes.wrap(payload))
            stream = stream_of(payload)
            if appends and appends[-1].stream == stream:
                appends[-1] = appends[-1]._replace(events=[*appends[-1].events, encoded])
            else:
                appends.append(StreamAppend(stream, ANY_VERSION, [encoded]))
        if not appends:
            return ()
        return self._recorded(appends, self._log.append(appends))

    def _store(
        self,
        aggregate: Aggregate,
        claims_before: frozenset[Claim],
        command: Command | None = None,
    ) -> CommandResult:
        """Append what is pending; then nothing is."""
        payloads = tuple(aggregate.pending)
        if command is None or command.command_id is None:
            events = [self._envelopes.wrap(payload) for payload in payloads]
        else:
            events = self._events_of(command, command.command_id, payloads)
        encoded = [self._codec.encode(event) for event in events]
        appends = [StreamAppend(aggregate.stream, aggregate.version - len(payloads), encoded)]
        appends += self._reservations(aggregate, claims_before, events[-1])
        written = self._log.append(appends)
        recorded = self._recorded(appends[:1], written)
        aggregate.pending.clear()
        self._repository.stored(aggregate, payloads, recorded[-1])
        return CommandResult(
            aggregate.stream,
            recorded[-1].version,
            recorded[-1].position,
            recorded,
            repeated=written.repeated,
        )

    def _events_of(
        self, command: Command, command_id: UUID, payloads: Sequence[DomainEvent]
    ) -> list[NewEvent[DomainEvent]]:
        """Events whose ids derive from the command's; the first remembers which command it was."""
        events = [
            self._envelopes.wrap(
                payload,
                event_id=event_id_of_command(command_id, ordinal),
                causation_id=str(command_id),
            )
            for ordinal, payload in enumerate(payloads)
        ]
        digest = command_digest(command, self._reservation_key)
        events[0] = events[0]._replace(metadata={**events[0].metadata, COMMAND_DIGEST: digest})
        return events

    def _reservations(
        self, aggregate: Aggregate, before: frozenset[Claim], cause: NewEvent[DomainEvent]
    ) -> list[StreamAppend]:
        return reservation_appends(
            cause,
            holder=aggregate.stream,
            before=before,
            after=aggregate.claims(),
            key=self._reservation_key,
            load=lambda id_: self._repository.load(Reservation, id_),
            encode=self._codec.encode,
        )

    def _first_result(self, command: Command) -> CommandResult | None:
        """What the same command returned when it was executed before."""
        if command.command_id is None:
            return None
        first_id = str(event_id_of_command(command.command_id, 0))
        first = self._log.locate([first_id]).get(first_id)
        if first is None:
            return None
        digest = first.envelope.get("meta", {}).get(COMMAND_DIGEST)
        # Without a digest it is not of this version, or was copied: the place has to do.
        if first.stream != command.stream or (
            digest is not None and digest != command_digest(command, self._reservation_key)
        ):
            raise CommandIdReusedError(
                command_id=str(command.command_id),
                event_id=first_id,
                stream=first.stream,
                version=first.version,
            )
        events: list[Recorded[Any]] = []
        for event in self._log.read_stream(first.stream, after=first.version - 1):
            if event.event_id != event_id_of_command(command.command_id, len(events)):
                break
            events.append(event)
        last = events[-1]
        return CommandResult(
            first.stream, last.version, last.position, tuple(events), repeated=True
        )

    def _recorded(
        self, appends: Sequence[StreamAppend], written: AppendResult
    ) -> tuple[Recorded[Any], ...]:
        pairs: list[tuple[str, EncodedEvent]] = [
            (append.stream, event) for append in appends for event in append.events
        ]
        # The events asked for come first; those of reservations behind them are left out.
        places = zip(written.positions, written.versions, pairs, strict=False)
        return tuple(
            Recorded(position, stream, version, event.type, event.state, self._codec)
            for position, version, (stream, event) in places
        )
