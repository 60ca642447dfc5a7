"""The rows of the built-in read models, exactly."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from eventcore.events import GenericEvent, NewEvent
from eventcore.events.catalogue import (
    ModelDeployed,
    ModelInference,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
    OrderCancelled,
    OrderDelivered,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderRefunded,
    OrderShipped,
    ReservationClaimed,
    SessionActivity,
    SessionEnded,
    SessionStarted,
    UserClosed,
    UserEmailChanged,
    UserProfileUpdated,
    UserReactivated,
    UserRegistered,
    UserSuspended,
)
from eventcore.projections import MemoryViews, ProjectionRunner, built_in_projections
from eventcore.projections.read_models import (
    ANALYTICS,
    EVENTS,
    ML_MODELS,
    ORDER_ITEMS,
    ORDERS,
    SESSIONS,
    USER_EVENTS,
    USERS,
)
from eventcore.stores.log import StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import event_id, moment, order, record

ID = "00000000-0000-0000-0000-00000000000"


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def printed(log):
    """Catch up, then print a table as a query would."""

    def rows(table, **where):
        views = MemoryViews()
        ProjectionRunner(log, views, built_in_projections()).run_to_head()
        return [table.public(row) for row in views.query(table, where)]

    return rows


def test_a_user_is_as_the_last_event_left_it(log, printed):
    record(
        log,
        UserRegistered(user_id="u1", email="ada@example.com", first_name="Ada"),
        UserRegistered(user_id="u2", email="bo@example.com"),
        UserRegistered(user_id="u3", email="cy@example.com"),
        UserProfileUpdated(user_id="u1", last_name="Lovelace"),
        UserEmailChanged(user_id="u1", email="ada@example.org"),
        UserSuspended(user_id="u1"),
        UserReactivated(user_id="u1"),
        UserSuspended(user_id="u2", reason="abuse"),
        UserClosed(user_id="u3"),
    )

    assert printed(USERS) == [
        {
            "user_id": "u1",
            "email": "ada@example.org",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "status": "active",
            "created_at": "2026-01-31T23:59:59.000000Z",
            "updated_at": "2026-02-01T00:00:05.000000Z",
        },
        {
            "user_id": "u2",
            "email": "bo@example.com",
            "first_name": None,
            "last_name": None,
            "status": "suspended",
            "created_at": "2026-02-01T00:00:00.000000Z",
            "updated_at": "2026-02-01T00:00:06.000000Z",
        },
        {
            "user_id": "u3",
            "email": "cy@example.com",
            "first_name": None,
            "last_name": None,
            "status": "closed",
            "created_at": "2026-02-01T00:00:01.000000Z",
            "updated_at": "2026-02-01T00:00:07.000000Z",
        },
    ]


def test_a_session_has_a_beginning_and_perhaps_an_end(log, printed):
    record(
        log,
        SessionStarted(session_id="s1", user_id="u1"),
        SessionStarted(session_id="s2"),
        SessionActivity(session_id="s1", action="view"),
        SessionEnded(session_id="s1"),
    )

    assert printed(SESSIONS) == [
        {
            "session_id": "s1",
            "user_id": "u1",
            "started_at": "2026-01-31T23:59:59.000000Z",
            "ended_at": "2026-02-01T00:00:02.000000Z",
        },
        {
            "session_id": "s2",
            "user_id": None,
            "started_at": "2026-02-01T00:00:00.000000Z",
            "ended_at": None,
        },
    ]


def test_an_order_is_printed_with_its_public_columns(log, printed):
    record(log, order("o1", ("apple", 2, "1.50"), user_id="u1"))

    assert printed(ORDERS) == [
        {
            "order_id": "o1",
            "user_id": "u1",
            "total_amount": "3",
            "currency": "GBP",
            "status": "created",
            "created_at": "2026-01-31T23:59:59.000000Z",
        }
    ]


PAID = OrderPaid(order_id="o1", amount=Decimal(3))


def refunded(amount: str) -> OrderRefunded:
    return OrderRefunded(order_id="o1", amount=Decimal(amount))


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ([], "created"),
        ([PAID], "paid"),
        ([PAID, OrderShipped(order_id="o1")], "shipped"),
        ([PAID, OrderShipped(order_id="o1"), OrderDelivered(order_id="o1")], "delivered"),
        ([OrderCancelled(order_id="o1")], "cancelled"),
        ([PAID, refunded("2.99")], "paid"),
        ([PAID, refunded("2.99"), OrderShipped(order_id="o1")], "shipped"),
        ([PAID, refunded("2.99"), refunded("0.01")], "refunded"),
    ],
)
def test_an_order_has_the_status_its_events_give_it(log, printed, then, *, status):
    record(log, order("o1"), *then)

    assert [row["status"] for row in printed(ORDERS)] == [status]


def added(product: str, quantity: int, price: str) -> OrderItemAdded:
    return OrderItemAdded(
        order_id="o1", product_id=product, quantity=quantity, price=Decimal(price)
    )


def removed(product: str, quantity: int) -> OrderItemRemoved:
    return OrderItemRemoved(order_id="o1", product_id=product, quantity=quantity)


@pytest.mark.parametrize(
    ("changes", "total", "items"),
    [
        ([added("pear", 1, "10")], "13", [("o1#1", 2, "1.5"), ("o1#2", 1, "10")]),
        ([removed("apple", 1)], "1.5", [("o1#1", 1, "1.5")]),
        # From the newest line of the product back.
        (
            [added("apple", 2, "5"), removed("apple", 1)],
            "8",
            [("o1#1", 2, "1.5"), ("o1#2", 1, "5")],
        ),
        ([added("apple", 2, "5"), removed("apple", 3)], "1.5", [("o1#1", 1, "1.5")]),
        # A number is never given twice, also when the newest line went.
        (
            [added("pear", 1, "10"), removed("pear", 1), added("fig", 1, "4")],
            "7",
            [("o1#1", 2, "1.5"), ("o1#3", 1, "4")],
        ),
        # Rounded half up to pence, from the exact sum.
        ([added("pin", 1, "0.0049")], "3", [("o1#1", 2, "1.5"), ("o1#2", 1, "0.0049")]),
        (
            [added("pin", 1, "0.0049"), added("tack", 1, "0.0001")],
            "3.01",
            [("o1#1", 2, "1.5"), ("o1#2", 1, "0.0049"), ("o1#3", 1, "0.0001")],
        ),
    ],
)
def test_items_and_total_follow_what_is_added_and_removed(log, printed, changes, *, total, items):
    record(log, order("o1", ("apple", 2, "1.50")), *changes)

    assert [row["total_amount"] for row in printed(ORDERS)] == [total]
    found = [(row["item_id"], row["quantity"], row["price"]) for row in printed(ORDER_ITEMS)]
    assert found == items


def test_ten_lines_keep_their_numbers(log, printed):
    record(log, order("o1", *((f"p{n}", n, "1") for n in range(1, 12))), removed("p3", 3))

    assert {row["item_id"]: row["product_id"] for row in printed(ORDER_ITEMS)} == {
        f"o1#{n}": f"p{n}" for n in range(1, 12) if n != 3
    }


def test_events_of_what_the_log_never_created_change_nothing(log, printed):
    record(
        log,
        PAID,
        removed("apple", 1),
        UserSuspended(user_id="u9"),
        SessionEnded(session_id="s9"),
        ModelDeployed(model_id="m9", model_version="1"),
        ModelVersionTrained(model_id="m9", model_version="1", metrics={}),
    )

    assert [printed(table) for table in (ORDERS, ORDER_ITEMS, USERS, SESSIONS, ML_MODELS)] == [
        [], [], [], [], []
    ]  # fmt: skip


def test_a_model_without_versions_has_version_0_until_the_first_is_trained(log, printed):
    record(log, ModelRegistered(model_id="m", name="Churn", model_type="classifier"))
    assert printed(ML_MODELS) == [
        {
            "model_id": "m",
            "version": "0",
            "model_type": "classifier",
            "status": "registered",
            "metrics": {},
            "updated_at": "2026-01-31T23:59:59.000000Z",
        }
    ]

    record(log, ModelVersionTrained(model_id="m", model_version="1.0", metrics={"auc": 0.5}))
    assert printed(ML_MODELS) == [
        {
            "model_id": "m",
            "version": "1.0",
            "model_type": "classifier",
            "status": "trained",
            "metrics": {"auc": 0.5},
            "updated_at": "2026-02-01T00:00:00.000000Z",
        }
    ]


def test_each_version_of_a_model_has_a_status_of_its_own(log, printed):
    record(
        log,
        ModelRegistered(model_id="m", name="Churn", model_type="classifier"),
        ModelVersionTrained(model_id="m", model_version="1", metrics={}),
        ModelDeployed(model_id="m", model_version="1"),
        ModelVersionTrained(model_id="m", model_version="2", metrics={}),
        ModelDeployed(model_id="m", model_version="2"),
        ModelVersionTrained(model_id="m", model_version="3", metrics={}),
        ModelRetired(model_id="m", model_version="1"),
        ModelInference(model_id="m", model_version="2", input=1, output=2),
    )

    found = [(row["version"], row["status"], row["updated_at"][-10:]) for row in printed(ML_MODELS)]
    assert found == [
        ("1", "retired", "05.000000Z"),
        ("2", "deployed", "03.000000Z"),
        ("3", "trained", "04.000000Z"),
    ]


def test_every_event_is_listed_with_its_places_and_subjects(log, printed):
    record(log, UserRegistered(user_id="u1", email="a@example.com"), correlation_id="c1")
    record(log, SessionActivity(session_id="s1", action="view"), user_id="u2", session_id="other")

    assert printed(EVENTS) == [
        {
            "event_id": f"{ID}1",
            "timestamp": "2026-01-31T23:59:59.000000Z",
            "event_type": "user.registered",
            "user_id": "u1",
            "correlation_id": "c1",
            "session_id": None,
            "stream": "user-u1",
            "version": 1,
            "position": 1,
        },
        {
            "event_id": f"{ID}2",
            "timestamp": "2026-02-01T00:00:00.000000Z",
            "event_type": "session.activity",
            "user_id": "u2",
            "correlation_id": None,
            "session_id": "other",
            "stream": "session-s1",
            "version": 1,
            "position": 2,
        },
    ]


def test_user_events_are_those_that_name_a_user(log, printed):
    record(log, UserRegistered(user_id="u1", email="a@example.com"), order("o1"))
    record(log, SessionActivity(session_id="s1", action="view"), user_id="u1")

    assert printed(USER_EVENTS) == [
        {
            "user_id": "u1",
            "timestamp#event_id": f"2026-01-31T23:59:59.000000Z#{ID}1",
            "event_type": "user.registered",
            "session_id": None,
            "position": 1,
        },
        {
            "user_id": "u1",
            "timestamp#event_id": f"2026-02-01T00:00:01.000000Z#{ID}3",
            "event_type": "session.activity",
            "session_id": "s1",
            "position": 3,
        },
    ]


def test_events_of_unknown_types_are_listed(log, printed):
    stranger = GenericEvent.model_construct(
        type="shop.opened", schema_version=3, fields={"userId": "u1"}
    )
    event = log.codec.encode(NewEvent(payload=stranger, event_id=UUID(int=1), timestamp=moment(1)))
    log.append([StreamAppend("shop-1", 0, [event])])

    [row] = printed(EVENTS)
    assert (row["event_type"], row["stream"], row["user_id"]) == ("shop.opened", "shop-1", "u1")
    assert printed(ANALYTICS, **{"metric_type#dimensions": "events#eventType=shop.opened"})


@pytest.mark.parametrize(
    "wrong", ["", "a\0b", "a\nb", "x" * 129, 7, None, ["u1"]], ids=lambda value: repr(value)[:9]
)
def test_what_is_no_id_names_nobody(log, printed, wrong):
    fields = {"userId": wrong, "sessionId": wrong}
    stranger = GenericEvent.model_construct(type="shop.opened", schema_version=1, fields=fields)
    context = wrong if isinstance(wrong, str) else None
    new = NewEvent(
        stranger,
        UUID(int=1),
        moment(1),
        user_id=context,
        session_id=context,
        correlation_id=context,
    )
    log.append([StreamAppend("shop-1", 0, [log.codec.encode(new)])])

    [row] = printed(EVENTS)
    assert (row["user_id"], row["session_id"], row["correlation_id"]) == (None, None, None)
    assert printed(USER_EVENTS) == []
    assert [row["metric_type#dimensions"] for row in printed(ANALYTICS)] == [
        "events#eventType=shop.opened"
    ]


@pytest.mark.parametrize("id_", ["u 1", "é", "x\u00a0y", "\U0010ffff", "x" * 128])
def test_an_id_may_be_any_text_without_control_characters(log, printed, id_):
    stranger = GenericEvent.model_construct(
        type="shop.opened", schema_version=1, fields={"userId": id_}
    )
    new = NewEvent(stranger, UUID(int=1), moment(1), user_id="a\0b")
    log.append([StreamAppend("shop-1", 0, [log.codec.encode(new)])])

    assert [row["user_id"] for row in printed(USER_EVENTS)] == [id_]


def test_reservations_appear_nowhere(log, printed):
    record(log, ReservationClaimed(reservation_id="email:0", holder="user-u1"), user_id="u1")

    assert [printed(table) for table in (EVENTS, USER_EVENTS, ANALYTICS)] == [[], [], []]


def test_analytics_count_by_the_day_of_the_event(log, printed):
    record(
        log,
        UserRegistered(
            user_id="u1", email="a@example.com"
        ),  # on 31 January, one second to midnight
        order("o1", ("apple", 2, "1.50"), user_id="u1"),
        order("o2", ("pear", 1, "0.99"), user_id="u1"),
        SessionStarted(session_id="s1", user_id="u2"),
        SessionStarted(session_id="s2"),
    )

    found = [
        (row["date"], row["metric_type#dimensions"], row["value"]) for row in printed(ANALYTICS)
    ]
    assert found == [
        ("2026-01-31", "active_users", "1"),
        ("2026-01-31", "events#eventType=user.registered", "1"),
        ("2026-02-01", "active_users", "2"),
        ("2026-02-01", "events#eventType=order.created", "2"),
        ("2026-02-01", "events#eventType=session.started", "2"),
        ("2026-02-01", "orders#currency=GBP", "2"),
        ("2026-02-01", "revenue#currency=GBP", "3.99"),
        ("2026-02-01", "sessions", "2"),
    ]


@pytest.mark.parametrize(
    ("table", "days"), [(EVENTS, 90), (USER_EVENTS, 365), (ANALYTICS, 1096), (ORDERS, None)]
)
def test_copies_expire_and_facts_do_not(table, days):
    assert table.ttl_days == days


def test_expiry_takes_what_is_older_and_a_rebuild_brings_it_back(log):
    record(log, UserRegistered(user_id="u1", email="a@example.com"))
    views = MemoryViews()
    runner = ProjectionRunner(log, views, built_in_projections())
    runner.run_to_head()

    assert runner.expire(datetime(2029, 1, 31, tzinfo=UTC)) == 2  # three years later, to the day
    assert [views.count(table) for table in (EVENTS, USER_EVENTS, ANALYTICS, USERS)] == [0, 0, 2, 1]

    runner.rebuild("events")
    assert [row.event_id for row in views.query(EVENTS)] == [event_id(1)]
