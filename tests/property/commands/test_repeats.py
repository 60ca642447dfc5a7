"""A command with an id happens once, however often it is sent and whatever happens in between."""

import tempfile
import uuid
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventcore import commands as c
from eventcore.app import App, open_app
from eventcore.errors import RuleViolationError
from eventcore.events.catalogue import OrderItem

TEA = (OrderItem(product_id="tea", quantity=2, price=Decimal("2.50")),)
FIVE = Decimal("5.00")
ADDRESSES = st.sampled_from(["a@b.io", "A@b.io", "c@d.io"])

# One small world: few aggregates, so that commands meet, are refused, and race for addresses.
COMMANDS = st.one_of(
    st.builds(
        lambda user, email: (c.RegisterUser, {"user_id": user, "email": email}),
        st.sampled_from(["u1", "u2"]),
        ADDRESSES,
    ),
    st.builds(lambda email: (c.ChangeEmail, {"user_id": "u1", "email": email}), ADDRESSES),
    st.sampled_from(
        [
            (c.UpdateProfile, {"user_id": "u1", "first_name": "Ada"}),
            (c.SuspendUser, {"user_id": "u1"}),
            (c.ReactivateUser, {"user_id": "u1"}),
            (c.CloseUser, {"user_id": "u1"}),
            (c.StartSession, {"session_id": "s"}),
            (c.TrackActivity, {"session_id": "s", "action": "look"}),
            (c.EndSession, {"session_id": "s"}),
            (c.CreateOrder, {"order_id": "o", "items": TEA, "currency": "EUR"}),
            (c.AddItem, {"order_id": "o", "product_id": "x", "quantity": 1, "price": FIVE}),
            (c.RemoveItem, {"order_id": "o", "product_id": "x", "quantity": 1}),
            (c.PayOrder, {"order_id": "o", "amount": FIVE}),
            (c.ShipOrder, {"order_id": "o"}),
            (c.DeliverOrder, {"order_id": "o"}),
            (c.CancelOrder, {"order_id": "o"}),
            (c.RefundOrder, {"order_id": "o", "amount": Decimal("1.00")}),
            (c.RegisterModel, {"model_id": "m", "name": "m", "model_type": "tree"}),
            (c.TrainVersion, {"model_id": "m", "model_version": "1", "metrics": {"auc": 0.9}}),
            (c.DeployVersion, {"model_id": "m", "model_version": "1"}),
            (c.RetireVersion, {"model_id": "m", "model_version": "1"}),
        ]
    ),
)


def execute(app: App, command: c.Command):
    try:
        return app.execute(command)
    except RuleViolationError as error:
        return error.reason


def contents(app: App):
    return [(e.position, e.stream, e.version, e.state) for e in app.log.read()]


def happens_once(app: App, asked) -> None:
    done = []
    for number, (command_class, fields, again) in enumerate(asked, 1):
        command = command_class(**fields, command_id=uuid.UUID(int=number))
        done.append((command, execute(app, command)))
        before = contents(app)
        # Sent again at once, and one of the earlier ones once more, late.
        for earlier, first in (done[-1], done[again % len(done)]):
            if isinstance(first, str):
                continue  # refused: it never happened, and may happen now
            repeated = execute(app, earlier)
            assert repeated.repeated
            assert repeated[:4] == first[:4]
        assert contents(app) == before


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@given(
    asked=st.lists(
        st.tuples(COMMANDS, st.integers(0, 30)).map(lambda x: (*x[0], x[1])), max_size=25
    )
)
def test_the_same_command_twice_writes_nothing(store, asked):
    if store == "memory":
        with open_app("memory://") as app:
            happens_once(app, asked)
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        open_app(f"sqlite:///{Path(folder)}/x.db?synchronous=normal") as app,
    ):
        happens_once(app, asked)
