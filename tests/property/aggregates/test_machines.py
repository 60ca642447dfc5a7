"""Each aggregate against a model of plain values: both refuse the same, and agree on the state.

At every step the stored events are also folded anew, in two parts with a snapshot in between.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from eventcore.aggregates import Model, Order, Session, User
from eventcore.errors import RuleViolationError
from eventcore.events import DomainEvent
from eventcore.events.catalogue import OrderItem

SPLITS = st.floats(0, 1)


class Machine(RuleBasedStateMachine):
    """An aggregate, everything it recorded, and how a model of it judges."""

    aggregate: Any

    def __init__(self) -> None:
        super().__init__()
        self.history: list[DomainEvent] = []

    def attempt(self, expected: str | None, act: Any) -> bool:
        """Act; the aggregate must refuse with exactly this code, or accept."""
        before = self.aggregate.copy()
        if expected is not None:
            with pytest.raises(RuleViolationError) as refused:
                act()
            assert refused.value.reason == expected
            assert self.aggregate == before
            assert not self.aggregate.pending
            return False
        act()
        assert len(self.aggregate.pending) == 1
        self.history += self.aggregate.pending
        self.aggregate.pending.clear()
        return True

    @rule(split=SPLITS)
    def folds_the_same_whole_split_and_through_a_snapshot(self, split: float) -> None:
        cls, id_ = type(self.aggregate), self.aggregate.id
        cut = round(split * len(self.history))

        whole = cls(id=id_).fold(self.history)
        first = cls(id=id_).fold(self.history[:cut])
        restored = cls.from_json(first.to_json())

        assert whole == self.aggregate
        assert first.copy().fold(self.history[cut:]) == whole
        assert restored == first
        assert restored.fold(self.history[cut:]) == whole

    @invariant()
    def version_counts_the_events(self) -> None:
        assert self.aggregate.version == len(self.history)


class UserMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.aggregate = User(id="u")
        self.model: dict[str, Any] = {"status": None, "email": None, "first": None, "last": None}

    def expected(self, *, begins: bool = False) -> str | None:
        status = self.model["status"]
        if begins:
            return "already-exists" if status else None
        if status is None:
            return "not-found"
        return "user-closed" if status == "closed" else None

    emails = st.sampled_from(["a@example.com", "B@example.com", "broken", "x@", "c@d.test"])
    names = st.none() | st.sampled_from(["Ada", "Grace"])

    @rule(email=emails, first=names)
    def register(self, email: str, first: str | None) -> None:
        expected = self.expected(begins=True)
        if expected is None and ("@" not in email or email.endswith("@")):
            expected = "invalid-email"
        if self.attempt(expected, lambda: self.aggregate.register(email=email, first_name=first)):
            self.model.update(status="active", email=email, first=first)

    @rule(email=emails)
    def change_email(self, email: str) -> None:
        expected = self.expected()
        if expected is None and ("@" not in email or email.endswith("@")):
            expected = "invalid-email"
        if self.attempt(expected, lambda: self.aggregate.change_email(email=email)):
            self.model["email"] = email

    @rule(first=names, last=st.sampled_from(["L", "M"]))
    def update_profile(self, first: str | None, last: str) -> None:
        if self.attempt(
            self.expected(),
            lambda: self.aggregate.update_profile(first_name=first, last_name=last),
        ):
            self.model.update(first=first or self.model["first"], last=last)

    @rule(verb=st.sampled_from(["suspend", "reactivate", "close"]))
    def change_status(self, verb: str) -> None:
        needed = {"suspend": "active", "reactivate": "suspended"}.get(verb)
        expected = self.expected()
        if expected is None and needed and self.model["status"] != needed:
            expected = "invalid-transition"
        if self.attempt(expected, getattr(self.aggregate, verb)):
            after = {"suspend": "suspended", "reactivate": "active", "close": "closed"}
            self.model["status"] = after[verb]

    @invariant()
    def agrees(self) -> None:
        user = self.aggregate
        assert (user.status, user.email, user.first_name, user.last_name) == tuple(
            self.model.values()
        )
        held = {claim.value for claim in user.claims()}
        open_ = self.model["status"] in {"active", "suspended"}
        assert held == ({self.model["email"].lower()} if open_ else set())


class SessionMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.aggregate = Session(id="s")
        self.status: str | None = None
        self.user_id: str | None = None
        self.count = 0

    def expected(self) -> str | None:
        if self.status is None:
            return "not-found"
        return "session-ended" if self.status == "ended" else None

    @rule(user_id=st.none() | st.just("u-1"))
    def start(self, user_id: str | None) -> None:
        expected = "already-exists" if self.status else None
        if self.attempt(expected, lambda: self.aggregate.start(user_id=user_id)):
            self.status, self.user_id = "started", user_id

    @rule()
    def track(self) -> None:
        if self.attempt(self.expected(), lambda: self.aggregate.track(action="view")):
            self.count += 1

    @rule()
    def end(self) -> None:
        if self.attempt(self.expected(), self.aggregate.end):
            self.status = "ended"

    @invariant()
    def agrees(self) -> None:
        session = self.aggregate
        assert (session.status, session.user_id, session.activities) == (
            self.status,
            self.user_id,
            self.count,
        )


class ModelMachine(Machine):
    versions = st.sampled_from(["1", "2"])

    def __init__(self) -> None:
        super().__init__()
        self.aggregate = Model(id="m")
        self.registered = False
        self.statuses: dict[str, str] = {}

    @rule()
    def register(self) -> None:
        expected = "already-exists" if self.registered else None
        self.registered |= self.attempt(
            expected, lambda: self.aggregate.register(name="n", model_type="t")
        )

    @rule(verb=st.sampled_from(["train", "deploy", "retire"]), name=versions)
    def change(self, verb: str, name: str) -> None:
        status = self.statuses.get(name)
        allowed = {
            "train": status is None,
            "deploy": status in {"trained", "deployed"},
            "retire": status in {"trained", "deployed"},
        }[verb]
        expected = None if allowed else "invalid-transition"
        if not self.registered:
            expected = "not-found"
        more = {"metrics": {"auc": 0.5}} if verb == "train" else {}
        method = getattr(self.aggregate, f"{verb}_version")
        if self.attempt(expected, lambda: method(model_version=name, **more)):
            after = {"train": "trained", "deploy": "deployed", "retire": "retired"}
            self.statuses[name] = after[verb]

    @invariant()
    def agrees(self) -> None:
        found = {name: str(version.status) for name, version in self.aggregate.versions.items()}
        assert found == self.statuses


class OrderMachine(Machine):
    prices = st.sampled_from([Decimal(p) for p in ("0", "0.005", "1.10", "3", "-1")])
    quantities = st.integers(-1, 3)
    products = st.sampled_from(["a", "b"])

    def __init__(self) -> None:
        super().__init__()
        self.aggregate = Order(id="o")
        self.status: str | None = None
        self.lines: list[list[Any]] = []
        self.paid = self.refunded = Decimal(0)

    @property
    def total(self) -> Decimal:
        exact = sum((line[1] * line[2] for line in self.lines), Decimal(0))
        return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)

    @staticmethod
    def item_problem(quantity: int, price: Decimal) -> str | None:
        if quantity <= 0:
            return "invalid-quantity"
        return "invalid-price" if price < 0 else None

    def when(self, *statuses: str) -> str | None:
        if self.status is None:
            return "not-found"
        return None if self.status in statuses else "invalid-transition"

    @rule(
        items=st.lists(st.tuples(products, quantities, prices), max_size=3),
        off=st.sampled_from([0, 0, 0, 1]),
    )
    def create(self, items: list[tuple[str, int, Decimal]], off: int) -> None:
        before, self.lines = self.lines, [list(item) for item in items]
        total = self.total
        expected = next((p for _, q, price in items if (p := self.item_problem(q, price))), None)
        if expected is None:
            if not items:
                expected = "invalid-quantity"
            elif off:
                expected = "total-mismatch"
            elif total <= 0:
                expected = "amount-not-positive"
        if self.status is not None:
            expected = "already-exists"
        payload = [OrderItem(product_id=a, quantity=q, price=p) for a, q, p in items]
        if self.attempt(
            expected,
            lambda: self.aggregate.create(items=payload, currency="GBP", total_amount=total + off),
        ):
            self.status = "created"
        else:
            self.lines = before

    @rule(product=products, quantity=quantities, price=prices)
    def add(self, product: str, quantity: int, price: Decimal) -> None:
        expected = self.when("created") or self.item_problem(quantity, price)
        if self.attempt(
            expected,
            lambda: self.aggregate.add_item(product_id=product, quantity=quantity, price=price),
        ):
            self.lines.append([product, quantity, price])

    @rule(product=products, quantity=quantities)
    def remove(self, product: str, quantity: int) -> None:
        before = [list(line) for line in self.lines]
        there = sum(line[1] for line in self.lines if line[0] == product)
        all_of_it = quantity == sum(line[1] for line in self.lines)
        expected = self.when("created")
        if expected is None and (quantity <= 0 or quantity > there or all_of_it):
            expected = "invalid-quantity"
        left = quantity
        for line in reversed(self.lines):
            if line[0] == product and left > 0:
                taken = min(left, line[1])
                line[1] -= taken
                left -= taken
        self.lines = [line for line in self.lines if line[1]]
        if expected is None and self.total <= 0:
            expected = "amount-not-positive"
        if not self.attempt(
            expected, lambda: self.aggregate.remove_item(product_id=product, quantity=quantity)
        ):
            self.lines = before

    @rule(off=st.sampled_from([0, 0, Decimal("0.01")]))
    def pay(self, off: Decimal) -> None:
        amount = self.total + off
        expected = self.when("created") or ("amount-mismatch" if off else None)
        if self.attempt(expected, lambda: self.aggregate.pay(amount=amount)):
            self.status, self.paid = "paid", amount

    @rule(verb=st.sampled_from(["ship", "deliver", "cancel"]))
    def move(self, verb: str) -> None:
        needed = {"ship": ("paid",), "deliver": ("shipped",), "cancel": ("created", "paid")}
        after = {"ship": "shipped", "deliver": "delivered", "cancel": "cancelled"}
        if self.attempt(self.when(*needed[verb]), getattr(self.aggregate, verb)):
            self.status = after[verb]

    @rule(share=st.sampled_from(["all", "half", "zero", "too much"]))
    def refund(self, share: str) -> None:
        left = self.paid - self.refunded
        amount = {
            "all": left,
            "half": (left / 2).quantize(Decimal("0.01"), ROUND_HALF_UP),
            "zero": Decimal(0),
            "too much": left + 1,
        }[share]
        expected = self.when("paid", "shipped", "delivered", "cancelled")
        if expected is None and not self.paid:
            expected = "invalid-transition"
        if expected is None and amount <= 0:
            expected = "amount-not-positive"
        if expected is None and amount > left:
            expected = "refund-exceeds-payment"
        if self.attempt(expected, lambda: self.aggregate.refund(amount=amount)):
            self.refunded += amount
            if self.refunded == self.paid:
                self.status = "refunded"

    @invariant()
    def agrees(self) -> None:
        order = self.aggregate
        assert [[line.product_id, line.quantity, line.price] for line in order.items] == self.lines
        assert (order.status, order.total_amount) == (self.status, self.total)
        assert (order.paid_amount, order.refunded_amount) == (self.paid, self.refunded)


STEPS = settings(stateful_step_count=40)


class TestUser(UserMachine.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    settings = STEPS


class TestSession(SessionMachine.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    settings = STEPS


class TestModel(ModelMachine.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    settings = STEPS


class TestOrder(OrderMachine.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    settings = STEPS
