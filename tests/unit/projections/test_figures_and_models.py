"""Figures by day, type and user, and models by rank: the same answers on every backend."""

from datetime import date

import pytest

from eventcore.events.catalogue import ModelDeployed, ModelRegistered, ModelVersionTrained
from eventcore.projections import MemoryViews, ProjectionRunner, Views
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import AnalyticsByUser, Figures, MLModels, Models
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views, model_views, transport_to
from tests.model_dynamodb_rows import RowTables
from tests.unit.projections.dynamodb_pages import Failing
from tests.unit.projections.histories import moment, order, record


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    record(
        log,
        order("o1", user_id="u1"),
        order("o2", user_id="u2"),
        order("o3", user_id="u1"),
        ModelRegistered(model_id="m1", name="churn", model_type="classifier"),
        ModelRegistered(model_id="m2", name="spam", model_type="classifier"),
        ModelVersionTrained(model_id="m1", model_version="1.9.0", metrics={"auc": 0.7, "f1": 0.6}),
        ModelVersionTrained(model_id="m1", model_version="1.10.0", metrics={"auc": 0.9}),
        ModelVersionTrained(model_id="m2", model_version="1", metrics={"auc": 0.8, "f1": 0.9}),
        ModelDeployed(model_id="m1", model_version="1.10.0"),
    )
    return log


def fill(log, views: Views) -> None:
    ProjectionRunner(log, views, [AnalyticsByUser(), MLModels()]).run_to_head()


def check(views: Views) -> None:
    """What every backend answers."""
    # The first order was made two seconds before midnight.
    first, second = moment(1).date(), moment(2).date()
    days = [first.isoformat(), second.isoformat()]
    figures, models = Figures(views), Models(views)

    counted = {row.metric_type_dimensions: int(row.value) for row in figures.day(second)}
    assert counted["events#userId=u1"] == 1
    assert counted["events#eventType=order.created"] == 2
    assert [row.date for row in figures.of_user("u1")] == days
    assert [row.date for row in figures.of_user("u1", second)] == days[1:]
    assert [row.date for row in figures.of_user("u2")] == days[1:]
    assert list(figures.of_user("u3")) == []
    by_type = figures.of_event_type("order.created", first)
    assert [(row.date, int(row.value)) for row in by_type] == [(days[0], 1), (days[1], 2)]
    assert [row.date for row in figures.of_event_type("order.created", second)] == days[1:]
    assert list(figures.of_event_type("order.created", date(2030, 1, 1))) == []
    assert list(figures.of_event_type("order.lost")) == []

    found = models.get("m1", "1.10.0")
    assert found is not None
    assert found.metrics == {"auc": 0.9}
    assert models.get("m1", "2") is None
    assert [row.version for row in models.live("classifier")] == ["1.10.0"]
    assert [row.version for row in models.best("classifier", "auc")] == ["1.10.0", "1", "1.9.0"]
    assert [row.version for row in models.best("classifier", "f1", limit=1)] == ["1"]
    assert models.best("classifier", "rmse") == models.best("regressor", "auc") == []


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgres", "model of dynamodb"])
def test_figures_and_models_are_found_by_what_the_indexes_know(  # noqa: PLR0917 - fixtures
    log, request, tmp_path, backend
):
    views: Views = MemoryViews()
    match backend:
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "postgres":
            schema = request.getfixturevalue("postgres_schema")
            views = PostgresViews(schema.url, schema=schema.schema)
        case "model of dynamodb":
            # With its clock in March nothing is too old.
            views = model_views(RowTables(), with_ttl=True)
        case _:
            assert backend == "memory"
    fill(log, views)

    check(views)

    views.close()


@pytest.mark.dynamodb
def test_no_figure_and_no_model_is_scanned_for_in_dynamodb(log, dynamodb):
    views = dynamodb_views(dynamodb)
    fill(log, views)
    asked: list[str] = []
    views.calls._transport = Failing(transport_to(dynamodb), before=asked.append)

    check(views)

    assert set(asked) == {"GetItem", "Query"}
    views.close()
