"""What a table or a projection may be declared as, and what is refused when it is defined."""

from datetime import date
from typing import Any, NamedTuple

import pytest

from eventcore.errors import RegistrationError
from eventcore.events import DomainEvent
from eventcore.events.catalogue import (
    OrderCreated,
    OrderEvent,
    OrderPaid,
    ReservationClaimed,
    ReservationEvent,
    UserRegistered,
)
from eventcore.projections import Index, Projection, Table, appends, built_in_projections, on
from eventcore.projections.plan import Plan


class Row(NamedTuple):
    row_id: str
    owner: str | None
    number: int


def table(name: str = "rows", row: type[Any] = Row, **declared: Any) -> Table[Any]:
    return Table(name, row, **{"key": ["row_id"], **declared})


class DateRow(NamedTuple):
    row_id: str
    day: date


class UnionRow(NamedTuple):
    row_id: str
    value: int | str


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: table("Rows"), "a name is lower-case letters"),
        (lambda: table('rows"; DROP TABLE users; --'), "a name is lower-case letters"),
        (lambda: table("eventcore_log"), "the name is reserved"),
        (lambda: table("stored_events"), "the name is reserved"),
        (lambda: table("log", internal=True), "an internal table begins with eventcore_"),
        (lambda: table(key=[]), "a row needs a key"),
        (lambda: table(key=["owner"]), "the key column 'owner' may be None"),
        (lambda: table(key=["id"]), "it has no column 'id'"),
        (lambda: table(group=["id"]), "it has no column 'id'"),
        (lambda: table(indexes=[Index.on("id")]), "it has no column 'id'"),
        (lambda: table(ttl_days=3), "ttl_days and ttl_column belong together"),
        (lambda: table(columns={"colour": "x"}), "columns= names 'colour', which is no field"),
        (lambda: table(columns={"number": 'c"c'}), "'c\"c' is no column name"),
        (lambda: table(columns={"number": "owner"}), "two columns share a name"),
        (lambda: table(row=tuple), "tuple is no NamedTuple with fields"),
        (lambda: table(row=DateRow), r"DateRow\.day is annotated .*, which no column can hold"),
        (lambda: table(row=UnionRow), r"UnionRow\.value is annotated .*, which no column can hold"),
    ],
)
def test_a_table_that_cannot_work_is_refused(declare, message):
    with pytest.raises(RegistrationError, match=message):
        declare()


ROWS = table()
GROUPS = table("groups", group=["owner"])


def by_nothing(event: Any) -> Any:
    return None


def define(decorator: Any = None, **attributes: Any) -> Any:
    body: dict[str, Any] = {"name": "mine", "tables": (ROWS,), **attributes}
    if decorator is not None:
        body["handle"] = decorator(lambda self, row, event: row)
    return type("Mine", (Projection,), body)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: define(name=""), "Mine needs a name"),
        (lambda: define(tables=()), "at least one table"),
        (lambda: define(version=0), "a version from 1"),
        (lambda: on(OrderPaid), "exactly one of key=, keys=, group=, touches="),
        (lambda: on(OrderPaid, key=by_nothing, keys=by_nothing), "exactly one of"),
        (lambda: on(key=by_nothing), "event classes"),
        (appends, "event classes"),
        (
            lambda: define(on(OrderPaid, table=GROUPS, key=by_nothing)),
            "groups is not one of its tables",
        ),
        (lambda: define(on(OrderPaid, key=by_nothing), tables=(ROWS, GROUPS)), "say which table="),
        (lambda: define(on(OrderPaid, group=by_nothing)), "table rows declares no group="),
        (lambda: define(on(OrderPaid, table=ROWS, touches=by_nothing)), "names the tables itself"),
        (
            lambda: define(
                on(OrderPaid, key=by_nothing), apply_page=lambda self, events, transaction: None
            ),
            "it overrides apply_page, so no handler is ever called",
        ),
    ],
)
def test_a_projection_that_cannot_work_is_refused(declare, message):
    with pytest.raises(RegistrationError, match=message):
        declare()


def test_a_table_is_changed_in_one_way():
    both = on(OrderPaid, group=by_nothing), on(OrderCreated, key=by_nothing)
    mixed = define(lambda function: both[1](both[0](function)), tables=(GROUPS,))

    with pytest.raises(
        RegistrationError, match="all handlers that change groups must do so in one way"
    ):
        Plan(mixed())


def types_of(*event_types: type[DomainEvent], internal: bool = False) -> set[str]:
    found = Plan(define(on(*event_types, key=by_nothing, internal=internal))()).types()
    assert found is not None
    return set(found)


def test_a_family_of_events_means_all_its_members():
    assert types_of(OrderEvent) == {
        "order.cancelled",
        "order.created",
        "order.delivered",
        "order.item_added",
        "order.item_removed",
        "order.paid",
        "order.refunded",
        "order.shipped",
    }


def test_internal_events_are_meant_only_when_they_are_named():
    assert types_of(ReservationEvent) == set()
    assert types_of(ReservationClaimed) == {"reservation.claimed"}
    assert types_of(ReservationEvent, internal=True) == {
        "reservation.claimed",
        "reservation.released",
    }


def test_any_event_means_unknown_types_too():
    plan = Plan(define(on(DomainEvent, key=by_nothing))())

    assert plan.types() is None
    assert len(plan.steps_for("never.heard_of")) == 1
    assert plan.steps_for("reservation.claimed") == ()


def test_one_method_may_serve_events_with_different_keys():
    marks = on(OrderPaid, key=lambda e: "a"), on(UserRegistered, key=lambda e: "b")
    plan = Plan(define(lambda function: marks[0](marks[1](function)))())

    [paid], [registered] = plan.steps_for("order.paid"), plan.steps_for("user.registered")
    assert (paid.locate(None), registered.locate(None)) == ("a", "b")


def test_a_subclass_inherits_handlers_and_may_replace_them():
    base = define(on(OrderPaid, key=by_nothing))
    inherited = type("Inherited", (base,), {"name": "inherited"})
    replaced = type(
        "Replaced", (base,), {"name": "replaced", "handle": lambda self, row, event: None}
    )

    assert Plan(inherited()).types() == frozenset({"order.paid"})
    assert Plan(replaced()).types() == frozenset()


def test_the_built_in_read_models_have_the_columns_of_the_catalogue():
    columns = {
        t.name: ", ".join(t.public_columns) for p in built_in_projections() for t in p.tables
    }

    assert columns == {
        "users": "user_id, email, first_name, last_name, status, created_at, updated_at",
        "user_sessions": "session_id, user_id, started_at, ended_at",
        "orders": "order_id, user_id, total_amount, currency, status, created_at",
        "order_items": "item_id, order_id, product_id, quantity, price",
        "ml_models": "model_id, version, model_type, status, metrics, updated_at",
        "events": "event_id, timestamp, event_type, user_id, correlation_id, session_id, stream, "
        "version, position",
        "user_events": "user_id, timestamp#event_id, event_type, session_id, position",
        "analytics": "date, metric_type#dimensions, value",
        "analytics_active_users": "date, user_id",
    }
