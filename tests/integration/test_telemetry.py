"""Spans and metrics, read from OpenTelemetry's SDK in memory: no collector is needed."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eventcore.app import App, open_app
from eventcore.commands import CreateOrder, PayOrder
from eventcore.errors import ConfigurationError, MissingExtraError, RuleViolationError
from eventcore.events.catalogue.orders import OrderItem
from eventcore.projections.read_models import OrderItems, Orders, Users
from eventcore.settings import Settings
from eventcore.telemetry import Telemetry
from tests.processing import Chase, Clock


class Collected:
    """What a telemetry of a test's own was told."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.telemetry = Telemetry(
            tracer_provider=tracers, meter_provider=MeterProvider([self.reader])
        )

    def names(self) -> list[str]:
        return [span.name for span in self.spans.get_finished_spans()]

    def span(self, name: str) -> Any:
        [found] = [span for span in self.spans.get_finished_spans() if span.name == name]
        return found

    def points(self, name: str) -> dict[str, Any]:
        """The points of a metric by the value of their first attribute."""
        data: Any = self.reader.get_metrics_data()
        return {
            str(next(iter(point.attributes.values()))): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name: str) -> dict[str, float]:
        return {key: point.value for key, point in self.points(name).items()}


@pytest.fixture
def collected():
    return Collected()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def app(  # noqa: PLR0917 - what pytest calls by name
    request, tmp_path, collected, clock
) -> Iterator[App]:
    match str(request.param):
        case "memory":
            url = "memory://"
        case "sqlite":
            url = f"sqlite:///{tmp_path}/shop.db"
        case "postgres":
            url = request.getfixturevalue("postgres_schema").store_url
        case _:
            place = request.getfixturevalue("dynamodb")
            url = place.url_of(place.table, ttl="no")
    with open_app(
        url,
        clock=clock,
        projections=[Orders(), OrderItems(), Users()],
        telemetry=collected.telemetry,
    ) as app:
        yield app


def order(app: App, order_id: str) -> None:
    item = OrderItem(product_id="p", quantity=1, price=Decimal(5))
    app.execute(CreateOrder(order_id=order_id, items=(item, item), currency="GBP"))


def test_a_command_and_its_append_are_spans_of_one_trace(app, collected):
    order(app, "o-1")

    command, append = collected.span("eventcore.command"), collected.span("eventcore.append")
    assert append.parent.span_id == command.context.span_id
    assert dict(command.attributes) == {
        "eventcore.command": "CreateOrder",
        "eventcore.aggregate": "order",
        "eventcore.events": 1,
        "eventcore.repeated": False,
    }
    assert dict(append.attributes) == {
        "eventcore.events": 1,
        "eventcore.streams": 1,
        "eventcore.position": 1,
        "eventcore.repeated": False,
    }
    assert collected.values("eventcore.event.append") == {"order.created": 1}


def test_a_refused_command_is_told_by_its_kind_of_error(app, collected):
    with pytest.raises(RuleViolationError):
        app.execute(PayOrder(order_id="o-1", amount=Decimal(5)))

    span = collected.span("eventcore.command")
    assert span.attributes["error.type"] == "RuleViolationError"
    assert not span.status.is_ok
    [point] = collected.points("eventcore.command.duration").values()
    assert dict(point.attributes) == {
        "eventcore.command": "PayOrder",
        "eventcore.outcome": "failed",
    }


def test_a_page_has_spans_of_each_projection(app, collected):
    order(app, "o-1")
    order(app, "o-2")
    app.runner().run_to_head()
    collected.spans.clear()
    order(app, "o-3")
    app.execute(PayOrder(order_id="o-1", amount=Decimal(10)))

    app.runner().run_to_head()

    page = collected.span("eventcore.page")
    within = [s for s in collected.spans.get_finished_spans() if s.parent == page.context]
    names = {span.name for span in within}
    assert {"eventcore.orders.loading", "eventcore.order_items.loading"} <= names
    for projection in ("orders", "order_items", "users"):
        assert {f"eventcore.{projection}.writing", f"eventcore.{projection}.execution"} <= names
    execution = collected.span("eventcore.orders.execution")
    assert dict(execution.attributes) == {"eventcore.events": 2, "eventcore.position": 4}
    assert collected.span("eventcore.users.execution").attributes["eventcore.events"] == 0
    assert page.start_time <= execution.start_time <= execution.end_time <= page.end_time


def test_processed_counts_each_event_once(app, collected):
    for number in range(3):
        order(app, str(number))
    app.runner().run_to_head()
    app.execute(PayOrder(order_id="0", amount=Decimal(10)))
    app.runner().run_to_head()
    app.runner().run_to_head()

    assert collected.values("eventcore.projection.processed") == {
        "orders": 4,
        "order_items": 3,
        "users": 0,
    }
    assert collected.points("eventcore.projection.duration")["orders"].count == 2


def test_the_gap_is_shown_while_a_runner_follows(app, collected, clock):
    order(app, "o-1")
    runner = app.runner()
    runner.run_to_head()
    order(app, "o-2")
    clock.forward(seconds=90)

    assert collected.values("eventcore.projection.gap.events") == {}
    with collected.telemetry.observing(runner._measure):
        assert collected.values("eventcore.projection.gap.events") == {
            "orders": 1,
            "order_items": 1,
            "users": 1,
        }
        assert collected.values("eventcore.projection.gap.seconds")["orders"] == 90
        assert collected.values("eventcore.projection.held")["orders"] == 0
    assert collected.values("eventcore.projection.gap.events") == {}


def test_following_observes_by_itself(app, collected):
    runner = app.runner()
    runner.start()
    try:
        order(app, "o-1")
        app.wait_for(1, timeout_seconds=60)
        shown = collected.values("eventcore.projection.gap.events")
    finally:
        runner.stop()

    assert set(shown) == {"orders", "order_items", "users"}
    assert collected.values("eventcore.projection.gap.events") == {}


def test_a_process_manager_is_told_like_a_projection(app, collected, clock):
    runner = app.process_runner([Chase()])
    order(app, "o-1")
    runner.run_to_rest()

    page = next(s for s in collected.spans.get_finished_spans() if s.name == "eventcore.page")
    within = [s for s in collected.spans.get_finished_spans() if s.parent == page.context]
    names = {span.name for span in within}
    assert {f"eventcore.chase.{what}" for what in ("loading", "writing", "execution")} <= names
    assert collected.values("eventcore.projection.processed") == {"chase": 1}
    order(app, "o-2")
    clock.forward(seconds=90)
    with collected.telemetry.observing(runner._measure):
        assert set(collected.values("eventcore.projection.gap.events")) == {"chase"}
        assert collected.values("eventcore.projection.gap.seconds") == {"chase": 90}
        assert collected.values("eventcore.projection.parked") == {"chase": 0}


def test_a_process_runner_that_follows_observes_by_itself(app, collected):
    runner = app.process_runner([Chase()])
    runner.start()
    try:
        order(app, "o-1")
        runner.wait_for(1, timeout_seconds=60)
        shown = collected.values("eventcore.projection.gap.events")
    finally:
        runner.stop()

    assert set(shown) == {"chase"}
    assert collected.values("eventcore.projection.gap.events") == {}


def test_no_attribute_holds_a_value_of_the_payload(app, collected):
    order(app, "o-secret")
    app.runner().run_to_head()

    told = [
        str(value)
        for span in collected.spans.get_finished_spans()
        for value in span.attributes.values()
    ]
    assert told != []
    assert [text for text in told if "secret" in text] == []


def test_a_log_that_is_away_leaves_the_gauges_out(collected, clock):
    app = open_app("memory://", clock=clock, telemetry=collected.telemetry)
    runner = app.runner()
    app.close()

    with collected.telemetry.observing(runner._measure):
        assert collected.values("eventcore.projection.gap.events") == {}


def test_the_setting_asks_for_telemetry_and_its_absence_for_none():
    with open_app(settings=Settings(store="memory://", telemetry=True)) as app:
        assert isinstance(app.telemetry, Telemetry)
    with open_app("memory://") as app:
        assert app.telemetry is None

    assert Settings.load(environ={"EVENTCORE_TELEMETRY": "yes"}).telemetry
    with pytest.raises(ConfigurationError, match="EVENTCORE_TELEMETRY is yes or no, not 'maybe'"):
        Settings.load(environ={"EVENTCORE_TELEMETRY": "maybe"})


def test_without_the_extra_telemetry_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(MissingExtraError, match=r"eventcore-es\[otel\]"):
        Telemetry()


def failing_within(telemetry: Telemetry) -> None:
    with telemetry.span("eventcore.page", {}):
        msg = "a personal value"
        raise ValueError(msg)


def test_a_span_that_fails_does_not_repeat_the_message_of_others(collected):
    with pytest.raises(ValueError, match="personal"):
        failing_within(collected.telemetry)

    span = collected.span("eventcore.page")
    assert (span.status.description, span.events) == ("ValueError", ())
