"""What every aggregate does, shown on one that is defined outside the library."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from eventcore.aggregates import (
    Aggregate,
    Order,
    User,
    aggregate_class_of,
    aggregate_classes,
    applies,
    guards,
)
from eventcore.errors import RegistrationError, RuleViolationError
from eventcore.events import DomainEvent, EventRegistry, Id, PayloadModel
from eventcore.events.catalogue import OrderItem, UserRegistered

registry = EventRegistry()


class LampEvent(DomainEvent, category="lamp", key="lamp_id"):
    lamp_id: Id


class LampInstalled(LampEvent, type="lamp.installed", registry=registry):
    watts: int


class LampSwitchedOn(LampEvent, type="lamp.switched_on", registry=registry):
    pass


class LampDusted(LampEvent, type="lamp.dusted", registry=registry):
    pass


@dataclass(kw_only=True)
class Lamp(Aggregate, category="lamp", begins_with=LampInstalled):
    watts: int = 0
    rooms: dict[str, list[str]] = field(default_factory=dict)
    times_on: int = 0

    @guards(LampEvent)
    def _not_too_often(self, _event: LampEvent) -> None:
        if self.times_on >= 2:
            self.refuse("worn-out", "it was on twice")

    @guards(LampSwitchedOn)
    def _has_power(self, _event: LampSwitchedOn) -> None:
        if not self.watts:
            self.refuse("no-power", "it has no power")

    @applies(LampInstalled)
    def _installed(self, event: LampInstalled) -> None:
        self.watts = event.watts
        self.rooms["hall"] = ["ceiling"]

    @applies(LampSwitchedOn)
    def _switched_on(self, _event: LampSwitchedOn) -> None:
        self.times_on += 1


def lamp(watts: int = 40) -> Lamp:
    made = Lamp(id="l-1")
    made.record(LampInstalled(lamp_id="l-1", watts=watts))
    return made


def test_recording_applies_and_keeps_the_event_to_be_stored():
    made = lamp()

    assert (made.version, made.watts) == (1, 40)
    assert made.pending == [LampInstalled(lamp_id="l-1", watts=40)]
    assert made.exists


def test_the_first_event_begins_the_aggregate_and_no_other_does():
    with pytest.raises(RuleViolationError) as missing:
        Lamp(id="l-1").record(LampSwitchedOn(lamp_id="l-1"))
    with pytest.raises(RuleViolationError) as present:
        lamp().record(LampInstalled(lamp_id="l-1", watts=1))

    assert missing.value.reason == "not-found"
    assert present.value.reason == "already-exists"
    assert str(missing.value) == "lamp-l-1: it does not exist (not-found)"


def test_rules_of_a_base_event_guard_all_of_its_family_in_the_order_written():
    made = lamp(watts=0)
    with pytest.raises(RuleViolationError) as refused:
        made.record(LampSwitchedOn(lamp_id="l-1"))
    assert refused.value.reason == "no-power"

    worn = lamp()
    worn.record(LampSwitchedOn(lamp_id="l-1"))
    worn.record(LampSwitchedOn(lamp_id="l-1"))
    for event in (LampSwitchedOn(lamp_id="l-1"), LampDusted(lamp_id="l-1")):
        with pytest.raises(RuleViolationError) as refused:
            worn.record(event)
        assert refused.value.reason == "worn-out"


def test_an_event_nothing_applies_only_raises_the_version():
    made = lamp().fold([LampDusted(lamp_id="l-1")])

    assert (made.version, made.times_on) == (2, 0)


def test_a_copy_shares_nothing_that_can_change():
    made = lamp()
    twin = made.copy()
    assert twin == made

    twin.record(LampSwitchedOn(lamp_id="l-1"))
    twin.rooms["hall"].append("wall")

    assert (made.version, made.times_on, made.rooms) == (1, 0, {"hall": ["ceiling"]})
    assert len(made.pending) == 1


class Shade(PayloadModel):
    colour: str
    sizes: dict[str, float]


@dataclass(kw_only=True)
class Shelf(Aggregate, category="shelf"):
    shade: Shade | None = None
    pairs: tuple[dict[str, int], ...] = ()


def test_a_copy_shares_nothing_inside_frozen_values_either():
    made = Shelf(id="s-1", shade=Shade(colour="red", sizes={"a": 1.0}), pairs=({"b": 1},))
    twin = made.copy()
    assert twin.shade is not None
    assert made.shade is not None

    twin.shade.sizes["a"] = 999.0
    twin.pairs[0]["b"] = 999

    assert (made.shade.sizes, made.pairs) == ({"a": 1.0}, ({"b": 1},))


def test_the_state_survives_as_json_without_what_is_pending():
    made = lamp()

    again = Lamp.from_json(made.to_json())

    assert again == made
    assert again.pending == []
    assert made.to_json() == (
        b'{"id":"l-1","version":1,"watts":40,"rooms":{"hall":["ceiling"]},"times_on":0}'
    )


def test_an_order_survives_as_json_to_the_digit():
    order = Order(id="o-1")
    items = [OrderItem(product_id="a", quantity=1, price=Decimal("1.10"))]
    order.create(items=items, currency="GBP")

    again = Order.from_json(order.to_json())

    assert again == order
    assert str(again.subtotal) == "1.10"


def test_what_is_no_state_is_refused():
    with pytest.raises(ValueError, match="validation error"):
        Lamp.from_json(b'{"id":"l-1","watts":"many"}')


def test_the_fingerprint_is_the_same_for_the_same_fold_and_differs_between_classes():
    assert Lamp.fingerprint() == Lamp.fingerprint()
    assert len({cls.fingerprint() for cls in aggregate_classes()}) == len(aggregate_classes())


def test_the_fingerprint_is_the_same_in_every_process():
    code = (
        "import eventcore.aggregates; from eventcore.aggregates.aggregate import aggregate_classes;"
        "print([cls.fingerprint() for cls in aggregate_classes()])"
    )

    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (1, 2)
    ]

    assert printed[0] == printed[1]
    assert Order.fingerprint() in printed[0]


def test_looking_up_events_does_not_change_the_fingerprint():
    before = Lamp.fingerprint()

    lamp().fold([LampDusted(lamp_id="l-1")])

    assert Lamp.fingerprint() == before


def fold_with(body, **members) -> str:
    namespace = {
        "_on": applies(LampSwitchedOn)(body),
        "__annotations__": {"watts": int},
        "watts": 0,
        "__module__": __name__,
        **members,
    }
    changed: Any = type("Changed", (Aggregate,), namespace)
    return str(dataclass(kw_only=True)(changed).fingerprint())


def test_the_fingerprint_changes_with_the_code_of_the_fold():
    def one(self, _event):
        self.watts += 1

    def two(self, _event):
        self.watts += 2

    assert fold_with(one) != fold_with(two)
    assert fold_with(one) != fold_with(one, fold_version=2)


def test_the_fingerprint_follows_what_the_fold_calls():
    def body(self, _event):
        self.watts = self._step()

    first = fold_with(body, _step=lambda self: 1)
    second = fold_with(body, _step=lambda self: 2)

    assert first != second


def test_a_class_is_found_by_its_category():
    assert aggregate_class_of("lamp") is Lamp
    assert aggregate_class_of("user") is User
    assert aggregate_class_of("webhook") is None


def test_a_category_belongs_to_one_class():
    with pytest.raises(RegistrationError, match="'lamp' is declared twice"):
        type("Other", (Aggregate,), {}, category="lamp")

    assert aggregate_class_of("lamp") is Lamp


def test_an_aggregate_handles_only_events_of_its_category():
    with pytest.raises(RegistrationError, match="UserRegistered, which belongs to user"):
        type("Chair", (Aggregate,), {}, category="chair", begins_with=UserRegistered)

    assert aggregate_class_of("chair") is None


def test_an_abstract_base_may_share_handlers():
    @dataclass(kw_only=True)
    class Switchable(Aggregate):
        times_on: int = 0

        @applies(LampSwitchedOn)
        def _on(self, _event: LampSwitchedOn) -> None:
            self.times_on += 1

    @dataclass(kw_only=True)
    class Switched(Switchable):
        pass

    assert Switched(id="x").fold([LampSwitchedOn(lamp_id="x")]).times_on == 1
