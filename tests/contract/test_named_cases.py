"""The cases that other libraries' suites have for read models are all here, on every backend.

Names as in the compliance suites of JasperFx.Events (Marten); most are in the modules beside this
one. ``each_event_is_delivered_once`` is to be read as "has its effect once": see there.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventcore.projections import Engine, MemoryViews, ProjectionRunner, Views
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections.histories import order, record
from tests.unit.projections.parkings import HISTORIES, Histories

BACKENDS = {"memory", "sqlite", "postgres", "dynamodb"}
PATIENCE_SECONDS = 60.0
CASES = [
    "events_appended_after_the_daemon_started_still_arrive",
    "the_events_arrive_in_sequence_order",
    "each_event_is_delivered_once",
    "one_event_reaches_every_identity_it_names",
    "a_fanned_out_event_applies_each_child_inside_its_parents_identity",
    "the_async_lifecycle_produces_the_same_aggregate_as_inline",
    "increment_and_decrement_move_the_column_in_both_directions",
    "a_rebuild_reproduces_the_projected_state",
    "a_rebuild_removes_state_the_replay_cannot_produce",
    "rebuilding_twice_is_idempotent",
    "rebuilding_one_projection_leaves_another_alone",
    "rebuilding_a_projection_with_no_events_is_not_an_error",
    "the_shard_survives_a_poison_event_and_keeps_going",
    "the_dead_letter_row_identifies_the_projection_and_the_failure",
    "one_faulting_stream_does_not_stop_another_stream_from_projecting",
]


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def views(request, tmp_path):
    views: Views
    match request.param:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


def happen(log, *orders: str) -> int:
    return record(log, *(order(one) for one in orders))


def test_the_events_arrive_in_sequence_order(views):
    log = MemoryLog()
    happen(log, "a", "b")
    runner = ProjectionRunner(log, views, [Histories()])
    runner.start()
    try:
        for one in "abbab":
            happen(log, one)
        runner.wait_for(log.head(), timeout_seconds=PATIENCE_SECONDS)
    finally:
        runner.stop()

    assert {row.name: row.seen for row in views.query(HISTORIES)} == {"a": "1 3 6", "b": "2 4 5 7"}


def test_each_event_is_delivered_once(views):
    log = MemoryLog()
    happen(log, *"abab")
    first, second = Engine(views, [Histories()]), Engine(views, [Histories()])
    page = log.read_page(0, 3, LogFilter())

    # Twice in a page, again to the same, to another that is late, and in a page that overlaps.
    first.apply(Page([one for event in page.events for one in (event, event)], page.end))
    first.apply(page)
    assert second.apply(page).moved
    second.apply(log.read_page(0, 4, LogFilter()))
    first.apply(log.read_page(1, 4, LogFilter()))

    assert {row.name: row.seen for row in views.query(HISTORIES)} == {"a": "1 3", "b": "2 4"}


@pytest.mark.parametrize("case", CASES)
def test_every_named_case_has_a_test_on_every_backend(case):
    found = [
        module
        for module, test in all_tests()
        if test.name == f"test_{case}"
        and parameters_of(module, {one.arg for one in test.args.args}) >= BACKENDS
    ]

    assert found


def all_tests() -> Iterator[tuple[ast.Module, ast.FunctionDef]]:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = ast.parse(path.read_text())
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield module, node


def parameters_of(module: ast.Module, fixtures: set[str]) -> set[str]:
    """The texts that parametrise the module's fixtures of these names, also by a list's name."""
    lists = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    written = [
        node
        for function in module.body
        if isinstance(function, ast.FunctionDef) and function.name in fixtures
        for decorator in function.decorator_list
        for node in ast.walk(decorator)
    ]
    named = [
        node
        for one in written
        if isinstance(one, ast.Name) and one.id in lists
        for node in ast.walk(lists[one.id])
    ]
    return {
        node.value
        for node in [*written, *named]
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
