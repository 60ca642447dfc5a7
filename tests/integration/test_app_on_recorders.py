"""The wired application on recorders of ``eventsourcing``: an open log instead of a URL."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from eventsourcing.persistence import InfrastructureFactory

from eventcore import Order, RuleViolationError, Settings, User, open_app
from eventcore.aggregates import OrderStatus
from eventcore.commands import CreateOrder, PayOrder, RegisterUser
from eventcore.errors import AggregateNotFoundError, ConfigurationError
from eventcore.events import Codec
from eventcore.events.catalogue import OrderItem
from eventcore.ingestion.dead_letters import DeadLetter
from eventcore.ingestion.lines import Line
from eventcore.ingestion.pipeline import Ingestion
from eventcore.projections.read_models import ORDERS, USERS
from eventcore.stores.recorders import RecorderLog
from eventcore.testing import SequentialIds

ITEM = OrderItem(product_id="book", quantity=2, price=Decimal("9.99"))


class KeptLetters(list[DeadLetter]):
    def write(self, letters) -> None:
        self.extend(letters)


@pytest.fixture(
    params=[
        "eventsourcing.popo",
        "eventsourcing.sqlite",
        "eventcore.stores.memory",
        "eventcore.stores.sqlite",
    ]
)
def log(request, tmp_path):
    env = {
        "PERSISTENCE_MODULE": request.param,
        "SQLITE_DBNAME": str(tmp_path / "recorder.db"),
        "ORIGINATOR_ID_TYPE": "text",
    }
    with InfrastructureFactory.construct(env) as factory:
        opened = RecorderLog(factory.application_recorder())
        yield opened
        opened.close()
        factory.close()


@pytest.mark.parametrize("views", ["memory", "sqlite"])
def test_commands_and_read_models_work_on_a_recorder(log, views, tmp_path):
    url = "memory://" if views == "memory" else f"sqlite:///{tmp_path / 'views.db'}"
    pay = PayOrder(
        command_id=SequentialIds()(), order_id="o-1", amount=Decimal("19.98"), payment_method="card"
    )
    with open_app(log=log, settings=Settings(views=url)) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        with pytest.raises(RuleViolationError):
            app.execute(RegisterUser(user_id="u-2", email="ada@example.com"))
        app.execute(CreateOrder(order_id="o-1", user_id="u-1", items=(ITEM,), currency="GBP"))
        first, second = app.execute(pay), app.execute(pay)
        app.runner().run_to_head()

        assert (first.repeated, second.repeated) == (False, True)
        assert (first.version, first.position) == (second.version, second.position)
        assert app.get(Order, "o-1").status is OrderStatus.PAID
        assert app.get(Order, "o-1", version=1).status is OrderStatus.CREATED
        assert [row.status for row in app.query(ORDERS)] == ["paid"]
        assert [row.user_id for row in app.query(USERS)] == ["u-1"]

    # The application closed what it opened; the log goes on, and so does another application.
    with open_app(log=log) as app:
        assert app.get(User, "u-1").version == 1


def test_an_import_into_a_recorder_is_idempotent(log):
    def line(number: int, event_type: str, payload: dict[str, object]) -> Line:
        event = {
            "eventId": f"0190a5b0-0000-7000-8000-{number:012d}",
            "eventType": event_type,
            "timestamp": "2026-03-01T09:00:00Z",
            "data": {"payload": payload},
        }
        return Line(number, orjson.dumps(event))

    lines = [
        line(1, "user.registered", {"userId": "u-1", "email": "ada@example.org"}),
        line(2, "session.started", {"sessionId": "s-1", "userId": "u-1"}),
        line(3, "order.paid", {"orderId": "o-1", "amount": "25.00"}),
    ]

    def ingest() -> tuple[int, int, int, list[tuple[int, str]]]:
        letters = KeptLetters()
        ingestion = Ingestion(
            log, Codec(allow_unknown=True), clock=lambda: datetime(2026, 11, 22, tzinfo=UTC)
        )
        report = ingestion.run(lines, letters)
        return (
            report.accepted,
            report.duplicate,
            report.rejected,
            [(letter.line.number, letter.reason) for letter in letters],
        )

    assert ingest() == (2, 0, 1, [(3, "not-found")])
    head = log.head()
    assert ingest() == (0, 2, 1, [(3, "not-found")])
    assert log.head() == head


def test_snapshots_are_refused_where_there_is_no_place_for_them(log):
    with pytest.raises(ConfigurationError, match="must keep snapshots"):
        open_app(log=log, snapshots={Order: 1})


def test_without_a_url_of_their_own_there_is_no_place_for_read_models(log):
    with open_app(log=log) as app, pytest.raises(ConfigurationError, match="RecorderLog holds no"):
        app.runner()


def test_a_message_does_not_name_a_store_that_is_not_open(log):
    with open_app(log=log) as app, pytest.raises(AggregateNotFoundError, match="the RecorderLog"):
        app.get(User, "u-1")


def test_an_open_log_is_given_alone(log):
    with pytest.raises(ConfigurationError, match="give it alone"):
        open_app("memory://", log=log)
    with pytest.raises(ConfigurationError, match="give it alone"):
        open_app(log=log, codec=Codec())
