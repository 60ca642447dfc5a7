"""Executing commands: once, on the newest state, again when another writer was faster."""

from __future__ import annotations

import re
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

import pytest
from typing_extensions import override

from eventcore.aggregates import Order, OrderStatus, User
from eventcore.commands import (
    AddItem,
    CancelOrder,
    Command,
    CreateOrder,
    EndSession,
    PayOrder,
    RegisterUser,
    ShipOrder,
    StartSession,
)
from eventcore.commands.digests import command_digest
from eventcore.errors import (
    CommandIdReusedError,
    ConcurrencyConflictError,
    ConfigurationError,
    EventIdReusedError,
    InvalidEventError,
    RegistrationError,
    RetriesExhaustedError,
    RuleViolationError,
    StoreUnavailableError,
)
from eventcore.events import EventContext, Id, event_context
from eventcore.events.catalogue import OrderItem, SystemHealthCheck, UserClosed, WebhookReceived
from tests.unit.commands.shop import PRICE, START, Shop, log_of

COMMAND_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.fixture(params=["memory", "sqlite"])
def shop(request, tmp_path):
    made = Shop(log_of(request.param, tmp_path))
    yield made
    made.log.close()


@contextmanager
def between_load_and_append(shop: Shop, act, times: int = 1):
    """Another writer acts just before each of the first ``times`` appends."""
    plain, left = shop.log.append, [times]

    def append(appends):
        if left[0]:
            left[0] -= 1
            shop.log.append = plain
            act()
            shop.log.append = append
        return plain(appends)

    shop.log.append = append
    try:
        yield
    finally:
        shop.log.append = plain


def test_a_command_appends_what_it_decided(shop):
    result = shop.create_order()

    (event,) = result.events
    assert result == ("order-o-1", 1, 1, (event,), False)
    assert next(iter(shop.log.read())) == event
    assert event.timestamp == START
    assert event.payload.total_amount == PRICE


def test_a_refused_command_writes_nothing(shop):
    shop.create_order()

    with pytest.raises(RuleViolationError) as refused:
        shop.executor.execute(ShipOrder(order_id="o-1"))

    assert refused.value.reason == "invalid-transition"
    assert shop.log.head() == 1


def test_a_command_that_records_nothing_returns_the_head(shop):
    class LookAt(Command, aggregate=Order):
        order_id: Id

        @override
        def decide(self, order, /):
            pass

    shop.create_order()

    assert shop.executor.execute(LookAt(order_id="o-1")) == ("order-o-1", 1, 1, (), False)
    assert shop.log.head() == 1


def test_the_same_command_twice_writes_nothing_and_returns_the_first_result(shop):
    shop.create_order()
    command = PayOrder(order_id="o-1", amount=PRICE, command_id=COMMAND_ID)

    first = shop.executor.execute(command)
    shop.executor.execute(ShipOrder(order_id="o-1"))
    second = shop.executor.execute(command)

    assert second == (*first[:4], True)
    assert first.repeated is False
    assert shop.log.head() == 3


def test_a_command_of_several_events_is_repeated_whole(shop):
    class AddTwice(Command, aggregate=Order):
        order_id: Id

        @override
        def decide(self, order, /):
            order.add_item(product_id="b", quantity=1, price=PRICE)
            order.add_item(product_id="c", quantity=1, price=PRICE)

    shop.create_order()
    command = AddTwice(order_id="o-1", command_id=COMMAND_ID)
    first = shop.executor.execute(command)
    shop.executor.execute(AddItem(order_id="o-1", product_id="d", quantity=1, price=PRICE))

    second = shop.executor.execute(command)

    assert [event.payload.product_id for event in second.events] == ["b", "c"]
    assert second == (*first[:4], True)


def test_a_command_id_used_for_another_aggregate_is_refused(shop):
    shop.create_order("o-1", command_id=COMMAND_ID)

    with pytest.raises(EventIdReusedError):
        shop.create_order("o-2", command_id=COMMAND_ID)

    assert shop.log.head() == 1


@pytest.mark.parametrize(
    "other",
    [
        PayOrder(order_id="o-1", amount=PRICE, command_id=COMMAND_ID),
        CreateOrder(
            order_id="o-1",
            items=(OrderItem(product_id="b", quantity=1, price=PRICE),),
            currency="GBP",
            command_id=COMMAND_ID,
        ),
    ],
)
def test_a_command_id_used_for_another_command_is_refused(shop, other):
    shop.create_order("o-1", command_id=COMMAND_ID)

    with pytest.raises(CommandIdReusedError) as refused:
        shop.executor.execute(other)

    assert (refused.value.stream, refused.value.version) == ("order-o-1", 1)
    assert str(refused.value).startswith(f"Command id {COMMAND_ID} was used for another command")
    assert shop.log.head() == 1


def test_another_command_with_the_id_executed_at_the_same_time_is_refused(shop):
    shop.create_order()
    add = AddItem(order_id="o-1", product_id="b", quantity=1, price=PRICE, command_id=COMMAND_ID)
    pay = PayOrder(order_id="o-1", amount=PRICE, command_id=COMMAND_ID)

    with (
        between_load_and_append(shop, lambda: shop.executor.execute(add)),
        pytest.raises(CommandIdReusedError),
    ):
        shop.executor.execute(pay)

    assert shop.log.head() == 2


def test_the_same_command_read_again_from_json_is_the_same(shop):
    text = CreateOrder(
        order_id="o-1",
        items=(OrderItem(product_id="b", quantity=1, price=PRICE),),
        currency="GBP",
        command_id=COMMAND_ID,
    ).model_dump_json()

    results = [
        shop.executor.execute(CreateOrder.model_validate_json(text)).repeated for _ in range(2)
    ]

    assert results == [False, True]


def test_only_the_first_event_of_a_command_with_an_id_has_its_digest(shop):
    shop.create_order("o-1")
    with event_context(metadata={"ipAddress": "::1"}):
        shop.create_order("o-2", command_id=COMMAND_ID)

    without, with_id = shop.log.read()

    assert dict(without.metadata) == {}
    assert with_id.metadata["ipAddress"] == "::1"
    assert re.fullmatch("[0-9a-f]{16}", with_id.metadata["commandDigest"])


def test_a_digest_does_not_depend_on_the_order_of_a_set_and_does_on_the_key():
    class Tag(Command, aggregate=Order):
        order_id: Id
        tags: frozenset[str]
        notes: dict[str, int]

    one = Tag(order_id="o", tags=frozenset("abcdefgh"), notes={"a": 1, "b": 2})
    other = Tag(order_id="o", tags=frozenset("hgfedcba"), notes={"b": 2, "a": 1})

    assert command_digest(one, b"") == command_digest(other, b"") == "2d34687cb98f0835"
    assert command_digest(one, b"key") != command_digest(one, b"")
    assert command_digest(one, b"k" * 65) != command_digest(one, b"k" * 66)


def test_a_command_that_recorded_nothing_is_decided_again_under_its_id(shop):
    class AddUnlessEmpty(Command, aggregate=Order):
        order_id: Id

        @override
        def decide(self, order, /):
            if order.exists:
                order.add_item(product_id="b", quantity=1, price=PRICE)

    command = AddUnlessEmpty(order_id="o-1", command_id=COMMAND_ID)
    before = shop.executor.execute(command)
    shop.create_order()

    after = shop.executor.execute(command)

    assert (before.events, before.repeated) == ((), False)
    assert (len(after.events), after.repeated) == (1, False)


def test_the_id_of_a_registration_may_be_the_id_of_the_command_that_answers_it(shop):
    done = shop.executor.execute(RegisterUser(user_id="u-1", email="a@example.com"))

    result = shop.create_order(command_id=done.events[0].event_id)

    assert (result.stream, result.repeated) == ("order-o-1", False)


def test_a_command_executed_elsewhere_at_the_same_time_is_executed_once(shop):
    shop.create_order()
    command = AddItem(
        order_id="o-1", product_id="b", quantity=1, price=PRICE, command_id=COMMAND_ID
    )

    with between_load_and_append(shop, lambda: shop.executor.execute(command)):
        result = shop.executor.execute(command)

    assert result.repeated is True
    assert result.version == 2
    assert shop.log.head() == 2


def test_a_command_that_lost_its_race_is_decided_on_the_newer_state(shop):
    shop.create_order()
    other = AddItem(order_id="o-1", product_id="b", quantity=1, price=PRICE)

    with between_load_and_append(shop, lambda: shop.executor.execute(other)):
        result = shop.executor.execute(
            AddItem(order_id="o-1", product_id="c", quantity=1, price=PRICE)
        )

    assert result.version == 3
    assert shop.pauses == [1]
    assert sorted(shop.repository.get(Order, "o-1").lines) == ["a", "b", "c"]


def test_two_writers_racing_lose_the_second_write_to_the_rule(shop):
    shop.create_order()

    def cancel():
        shop.executor.execute(CancelOrder(order_id="o-1"))

    with between_load_and_append(shop, cancel), pytest.raises(RuleViolationError) as refused:
        shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE))

    assert refused.value.reason == "invalid-transition"
    assert shop.repository.get(Order, "o-1").status is OrderStatus.CANCELLED


def test_a_command_gives_up_after_a_bounded_number_of_races():
    shop = Shop(attempts_max=3)
    shop.create_order()
    numbers = iter(range(3))

    def other():
        order = shop.repository.get(Order, "o-1")
        order.add_item(product_id=f"other-{next(numbers)}", quantity=1, price=PRICE)
        shop.executor.save(order)

    with (
        between_load_and_append(shop, other, times=3),
        pytest.raises(RetriesExhaustedError) as error,
    ):
        shop.executor.execute(CancelOrder(order_id="o-1"))

    assert (error.value.attempts, error.value.stream) == (3, "order-o-1")
    assert shop.pauses == [1, 2, 3]
    assert shop.repository.get(Order, "o-1").status is OrderStatus.CREATED


def test_saving_what_was_loaded_before_another_write_fails_and_keeps_what_is_pending(shop):
    shop.create_order()
    first = shop.repository.get(Order, "o-1")
    second = shop.repository.get(Order, "o-1")
    first.pay(amount=PRICE)
    second.cancel()

    shop.executor.save(first)
    with pytest.raises(ConcurrencyConflictError) as conflict:
        shop.executor.save(second)

    assert (conflict.value.expected_version, conflict.value.actual_version) == (1, 2)
    assert len(second.pending) == 1
    assert first.pending == []
    assert shop.log.head() == 2


def test_a_saved_aggregate_can_be_used_further(shop):
    shop.create_order()
    order = shop.repository.get(Order, "o-1")

    order.pay(amount=PRICE)
    shop.executor.save(order)
    order.ship()
    result = shop.executor.save(order)

    assert result.version == 3
    assert shop.executor.save(order) == ("order-o-1", 3, 3, (), False)


def test_saving_moves_a_claim(shop):
    user = User(id="u-1")
    user.register(email="a@example.com")
    shop.executor.save(user)

    user.change_email(email="b@example.com")
    shop.executor.save(user)

    shop.executor.execute(RegisterUser(user_id="u-2", email="a@example.com"))
    with pytest.raises(RuleViolationError) as refused:
        shop.executor.execute(RegisterUser(user_id="u-3", email="b@example.com"))
    assert refused.value.reason == "email-taken"


def test_an_append_whose_answer_got_lost_is_found_by_the_same_command(shop):
    plain = shop.log.append

    def append(appends):
        plain(appends)
        raise StoreUnavailableError(store="log", problem="the connection was lost")

    shop.log.append = append
    with pytest.raises(StoreUnavailableError):
        shop.create_order(command_id=COMMAND_ID)
    shop.log.append = plain

    assert shop.create_order(command_id=COMMAND_ID).repeated is True
    assert shop.log.head() == 1


def test_the_context_surrounds_what_is_recorded(shop):
    with event_context(correlation_id="c-1", user_id="admin", metadata={"note": "x"}):
        (event,) = shop.create_order(user_id="u-1", command_id=COMMAND_ID).events

    assert event.correlation_id == "c-1"
    assert event.causation_id == str(COMMAND_ID)
    assert event.user_id == "admin"
    assert event.metadata["note"] == "x"


def test_the_context_s_own_causation_wins(shop):
    with event_context(causation_id="e-1"):
        (event,) = shop.create_order(command_id=COMMAND_ID).events

    assert event.causation_id == "e-1"


def test_user_and_session_are_filled_from_the_payload(shop):
    (order,) = shop.create_order(user_id="u-1").events
    (session,) = shop.executor.execute(StartSession(session_id="s-1", user_id="u-2")).events
    (ended,) = shop.executor.execute(EndSession(session_id="s-1")).events

    assert (order.user_id, order.session_id) == ("u-1", None)
    assert (session.user_id, session.session_id) == ("u-2", "s-1")
    assert (ended.user_id, ended.session_id) == (None, "s-1")


def test_defaults_are_recorded_unless_the_context_says_otherwise():
    shop = Shop(defaults=EventContext(source="shop", environment="test", region="eu"))

    (first,) = shop.create_order("o-1").events
    with event_context(source="import", region="us", environment="test"):
        (second,) = shop.create_order("o-2").events

    assert (first.source, first.environment, first.region) == ("shop", "test", "eu")
    assert (second.source, second.environment, second.region) == ("import", "test", "us")


def test_an_event_of_another_environment_is_refused():
    shop = Shop(defaults=EventContext(environment="test"))

    with event_context(environment="production"), pytest.raises(ConfigurationError) as refused:
        shop.create_order()

    assert "runs in test, the event is of production" in str(refused.value)
    assert shop.log.head() == 0


def test_metadata_that_an_event_declares_are_checked(shop):
    with event_context(metadata={"ipAddress": 7}), pytest.raises(InvalidEventError) as refused:
        shop.executor.execute(RegisterUser(user_id="u-1", email="a@example.com"))

    assert (refused.value.reason, refused.value.field) == (
        "invalid-field",
        "data.metadata.ipAddress",
    )
    assert shop.log.head() == 0


def test_log_only_events_are_appended_in_the_order_given(shop):
    hook = WebhookReceived(webhook_id="w-1", source="github", payload={"a": 1})
    check = SystemHealthCheck(service_name="api", status="up", response_time=1.5, error_count=0)

    recorded = shop.executor.append([hook, check, hook])

    assert [(e.stream, e.version, e.position) for e in recorded] == [
        ("webhook-github", 1, 1),
        ("system-api", 1, 2),
        ("webhook-github", 2, 3),
    ]
    assert [e.payload for e in recorded] == [hook, check, hook]
    assert shop.executor.append([]) == ()


def test_an_event_of_an_aggregate_is_not_appended_past_its_rules(shop):
    with pytest.raises(ConfigurationError, match="execute a command"):
        shop.executor.append([UserClosed(user_id="u-1")])

    assert shop.log.head() == 0


def test_a_command_s_representation_shows_no_personal_values():
    command = RegisterUser(user_id="u-1", email="ada@example.com", first_name="Ada")

    assert repr(command) == "RegisterUser(user_id='u-1', command_id=None)"


def test_a_command_names_the_field_that_holds_the_id():
    with pytest.raises(RegistrationError, match="has no field 'order_id'"):

        class Nameless(Command, aggregate=Order):
            number: Id


def test_a_command_without_a_decision_says_so(shop):
    class Undecided(Command, aggregate=Order, key="number"):
        number: Id

    with pytest.raises(NotImplementedError):
        shop.executor.execute(Undecided(number="o-1"))


def test_a_command_is_read_from_json_as_strictly_as_an_event():
    command = CreateOrder.model_validate_json(
        '{"orderId":"o-1","items":[{"productId":"a","quantity":1,"price":"5.00"}],"currency":"GBP"}'
    )

    assert command == CreateOrder(
        order_id="o-1",
        items=(OrderItem(product_id="a", quantity=1, price=Decimal("5.00")),),
        currency="GBP",
    )
