"""How a process manager may be declared, and what is refused."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from eventcore.commands import CancelOrder, PayOrder
from eventcore.errors import ConfigurationError, RegistrationError
from eventcore.events.catalogue.orders import OrderCreated
from eventcore.processes import (
    CartAbandoned,
    PaymentNotReceived,
    ProcessManager,
    Reaction,
    Timer,
    reacts,
)
from eventcore.processes.folding import Folding
from eventcore.processes.tables import ProcessTables
from eventcore.projections.tables import Table
from tests.processing import Chase, Clock, create_order, open_shop


class Row(NamedTuple):
    owner: str
    number: int


TABLE = Table("pairs", Row, key=["owner", "number"])


def of_order(event):
    return event.id


def test_a_process_manager_needs_a_name_and_a_table():
    with pytest.raises(RegistrationError, match="needs a name, a table"):

        class Nameless(ProcessManager):
            table = TABLE


def test_a_process_manager_that_reacts_to_nothing_is_refused():
    with pytest.raises(RegistrationError, match="no method is marked with @reacts"):

        class Deaf(ProcessManager):
            name = "deaf"
            table = TABLE


def test_reacts_needs_event_classes():
    with pytest.raises(RegistrationError, match="@reacts needs event classes"):
        reacts(key=of_order)


def test_two_commands_of_one_name_cannot_be_told_apart():
    class CancelOrder2(CancelOrder):
        pass

    CancelOrder2.__name__ = "CancelOrder"

    with pytest.raises(RegistrationError, match="two commands in sends share a name"):

        class Confused(ProcessManager):
            name = "confused"
            table = TABLE
            sends = (CancelOrder, CancelOrder2)

            @reacts(OrderCreated, key=of_order)
            def placed(self, row, event):
                return Reaction(row)


@pytest.mark.parametrize("process", [PaymentNotReceived, CartAbandoned])
def test_a_time_that_is_none_is_refused(process):
    with pytest.raises(ConfigurationError, match="within is above zero"):
        process(timedelta(0))


def test_keys_of_several_columns_come_back_as_they_were():
    class Pairs(Chase):
        name = "pairs"
        table = TABLE

    tables = ProcessTables(Pairs())

    instance = tables.instance_of(("ada", 7))

    assert instance == '["ada",7]'
    assert tables.key_of(instance) == ("ada", 7)


def reaction_of(returned: Callable[[Any], Any]) -> ProcessManager:
    class Odd(ProcessManager):
        name = "odd"
        table = Chase.table
        sends = (CancelOrder,)

        @reacts(OrderCreated, key=of_order)
        def placed(self, row, event):
            return returned(event)

    return Odd()


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(
            lambda _: Reaction(None, [PayOrder(order_id="o", amount=Decimal(1))]), id="unnamed"
        ),
        pytest.param(lambda e: Reaction(None, timers=[Timer("t", e.timestamp)]), id="ended"),
        pytest.param(lambda _: None, id="nothing"),
    ],
)
def test_a_reaction_that_cannot_be_kept_sends_nothing(returned):
    with open_shop("memory://", Clock(), reaction_of(returned)) as app:
        create_order(app, "o-1")
        runner = app.process_runner()
        runner.run_to_rest()

        [status] = runner.status()
        assert (status.parked, status.outbox, status.instances) == (1, 0, 0)
        assert app.log.head() == 1


def test_a_command_that_is_declared_no_more_is_noted():
    with open_shop("memory://", Clock(), Chase()) as app:
        create_order(app, "o-1")
        runner = app.process_runner()
        runner._fold(runner._begin())  # it lies in the outbox, not sent yet

        class Later(Chase):
            name = "chase"
            sends = (CancelOrder,)  # type: ignore[assignment]  # fewer than before

        later = app.process_runner([Later()])
        later.run_to_rest()

        assert [row.reason for row in later.refusals("chase")] == ["command-unknown"]


def test_only_events_that_concern_it_are_read():
    types = {cls.__event__.type for cls in Folding(Chase(), ProcessTables(Chase())).event_types}

    assert types == {"order.created", "order.paid", "order.cancelled", "process.timed_out"}
