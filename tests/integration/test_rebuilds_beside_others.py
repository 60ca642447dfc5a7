"""What an application has added to a read model's tables, through a rebuild beside them."""

import pytest

from eventcore.errors import SchemaMismatchError
from eventcore.projections import ProjectionRunner
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import order, record


@pytest.fixture
def log():
    log = MemoryLog()
    record(log, order("o1", ("apple", 1, "1")))
    return log


def test_a_view_on_sqlite_shows_the_rebuilt_rows(log, tmp_path):
    views = SQLiteViews(tmp_path / "views.db")
    runner = ProjectionRunner(log, views, [Orders()])
    runner.run_to_head()
    with views.connections.writing() as connection:
        connection.execute("CREATE VIEW mine AS SELECT order_id FROM orders")
    runner.rebuild("orders")
    runner.drop_old("orders")
    record(log, order("o2", ("apple", 1, "1")))
    runner.run_to_head()

    with views.connections.reading() as connection:
        found = connection.execute("SELECT order_id FROM mine ORDER BY 1").fetchall()
    assert found == [("o1",), ("o2",)]
    views.close()


@pytest.fixture
def views(postgres_schema):
    views = PostgresViews(postgres_schema.url, schema=postgres_schema.schema)
    yield views
    views.close()


def test_grants_and_indexes_on_postgres_are_those_of_the_name(log, views, postgres_schema):
    runner = ProjectionRunner(log, views, [Orders()])
    runner.run_to_head()
    schema = postgres_schema.schema
    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND tablename = 'orders'"
    granted = (
        "SELECT privilege_type FROM information_schema.role_table_grants "
        "WHERE table_schema = %s AND table_name = 'orders' AND grantee = 'PUBLIC'"
    )
    with postgres_schema.connect() as connection:
        connection.execute(f'GRANT SELECT ON "{schema}".orders TO PUBLIC')
        before = sorted(connection.execute(indexes, (schema,)).fetchall())
        runner.rebuild("orders")
        runner.rebuild("orders")

        assert sorted(connection.execute(indexes, (schema,)).fetchall()) == before
        assert connection.execute(granted, (schema,)).fetchall() == [("SELECT",)]
    assert views.count(ORDERS) == 1


def test_a_view_on_postgres_is_named_and_nothing_is_replaced(log, views, postgres_schema):
    runner = ProjectionRunner(log, views, [Orders()])
    runner.run_to_head()
    schema = postgres_schema.schema
    with postgres_schema.connect() as connection:
        connection.execute(f'CREATE VIEW "{schema}".mine AS SELECT order_id FROM "{schema}".orders')
        with pytest.raises(SchemaMismatchError, match=r"view .*mine"):
            runner.rebuild("orders")
        assert views.count(ORDERS) == 1
        connection.execute(f'DROP VIEW "{schema}".mine')

    assert runner.rebuild("orders").resumed
