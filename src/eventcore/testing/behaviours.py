"""Tests of aggregates and projections as sentences: given what happened, when this, then that.

::

    given(order_created).when(PayOrder(order_id="o-1", amount=25)).then(OrderPaid(...))
    given(order_created).when(PayOrder(order_id="o-1", amount=24)).then(reason="amount-mismatch")
    given(order_created, order_paid).when(DailySales).then(SalesRow("2026-01-01", "GBP", 1, 25))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from eventcore.commands.command import Command
from eventcore.errors import ConfigurationError, RuleViolationError
from eventcore.events.event import DomainEvent, stream_of
from eventcore.events.recorded import NewEvent
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.memory import MemoryViews
from eventcore.projections.projection import Projection
from eventcore.projections.tables import AnyTable
from eventcore.testing.differences import difference
from eventcore.testing.histories import HappenedEvent, log_of
from eventcore.testing.plain_folds import Rows
from eventcore.testing.trials import EventFailedError, Subject, to_head


def given(*events: HappenedEvent, registry: EventRegistry = default_registry) -> Given:
    """What happened, in this order; nothing, if nothing is given.

    Args:
        events: Payloads, which get times from 2026-01-01 09:00 UTC on, a second apart, and ids that
            count up; or ``NewEvent`` s with their own.
        registry: Knows the classes of the events.
    """
    return Given(events, registry)


@dataclass(frozen=True, slots=True)
class Given:
    """What happened.

    Attributes:
        events: In this order.
        registry: Knows their classes.
    """

    events: Sequence[HappenedEvent]
    registry: EventRegistry

    @overload
    def when(self, what: Command) -> Decided: ...
    @overload
    def when(self, what: Callable[[], Projection]) -> Folded: ...
    def when(self, what: Any) -> Decided | Folded:
        """A command is executed, or a projection applies the events.

        Args:
            what: A command: its aggregate decides, after those of the events that are in its
                stream. Or the class of a projection, or a function that makes one.

        Raises:
            AssertionError: The projection fails on one of the events.
        """
        if isinstance(what, Command):
            return self._decided(what)
        return self._folded(what)

    def _decided(self, command: Command) -> Decided:
        payloads = [one.payload if isinstance(one, NewEvent) else one for one in self.events]
        aggregate = command.__aggregate__(id=command.aggregate_id)
        aggregate.fold(one for one in payloads if stream_of(one) == command.stream)
        try:
            command.decide(aggregate)
        except RuleViolationError as error:
            return Decided((), error)
        return Decided(tuple(aggregate.pending), None)

    def _folded(self, make: Callable[[], Projection]) -> Folded:
        tables = tuple(make().tables)
        log = log_of(self.events, self.registry)
        subject = Subject(make, log, log, self.registry, tables)
        views = MemoryViews()
        try:
            to_head(subject, subject.engine(views))
        except EventFailedError as error:
            msg = f"The projection fails: {error}"
            raise AssertionError(msg) from error
        return Folded(tables, subject.rows(views))


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a command.

    Attributes:
        events: What it recorded.
        refusal: The rule that refused it; None if none did.
    """

    events: tuple[DomainEvent, ...]
    refusal: RuleViolationError | None

    def then(self, *events: DomainEvent, reason: str | None = None) -> None:
        """Exactly these events were recorded, in this order; or a rule refused with this reason.

        Args:
            events: None of them: nothing is to be recorded, and nothing refused.
            reason: Code of the refusal, e.g. ``amount-mismatch``. Without events.

        Raises:
            AssertionError: It was not so; says what was instead.
        """
        expected = f"refused with {reason}" if reason else _in_words(events)
        if self.refusal is not None:
            found, as_expected = f"refused: {self.refusal}", self.refusal.reason == reason
        else:
            found, as_expected = _in_words(self.events), not reason and self.events == events
        if not as_expected:
            msg = f"Expected: {expected}\nFound: {found}"
            raise AssertionError(msg) from self.refusal


@dataclass(frozen=True, slots=True)
class Folded:
    """What a projection made of the events.

    Attributes:
        tables: Its tables.
        rows: By key, by the name of their table.
    """

    tables: Sequence[AnyTable]
    rows: Rows

    def then(self, *rows: Any) -> None:
        """Exactly these rows are kept, in any order; none, if none are given.

        Args:
            rows: Each of the row class of one of the projection's tables.

        Raises:
            AssertionError: Others are; shows the first that differ, column by column.
            ConfigurationError: A row is of no table's class, or of that of several.
        """
        expected: Rows = {table.name: {} for table in self.tables}
        for row in rows:
            of_class = [table for table in self.tables if table.row is type(row)]
            if len(of_class) != 1:
                raise ConfigurationError(
                    message=f"{type(row).__name__} is the row class of {len(of_class)} tables of "
                    "the projection; it has to be that of one"
                )
            expected[of_class[0].name][of_class[0].key_of(row)] = row
        found = difference(self.tables, expected, self.rows)
        if found:
            msg = f"The rows are not as expected:\n{found}"
            raise AssertionError(msg)


def _in_words(events: Sequence[DomainEvent]) -> str:
    if not events:
        return "nothing recorded"
    return "".join(f"\n  {event!r}" for event in events)
