"""Read models in an SQLite file that others use too, that is older, or not to be changed."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventcore.app import open_app
from eventcore.errors import (
    ConfigurationError,
    SchemaMismatchError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.projections import Projection, Table
from eventcore.projections.read_models import USERS
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.transactions import Checkpoint, TableChanges
from eventcore.settings import Settings
from tests.contract.test_views_contract import AT, THING, THINGS, PartRow, Things, put


def tables_of(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}


FOREIGN = "CREATE TABLE {name} (thing_id TEXT PRIMARY KEY, password TEXT, at TEXT)"


@pytest.fixture
def beside(tmp_path):
    """Views in a file in which an application keeps a table of its own, named like one of ours."""
    file = tmp_path / "views.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(FOREIGN.format(name="things"))
        connection.execute("INSERT INTO things VALUES ('ada', 'secret', '0001-01-01')")
    views = SQLiteViews(file)
    yield views
    views.close()


def foreign_rows(views: SQLiteViews) -> list[Any]:
    with views.connections.reading() as connection:
        return connection.execute("SELECT * FROM things").fetchall()


def test_no_step_touches_a_table_of_the_application_that_has_our_name(beside):
    for step in (
        lambda: beside.ensure(Things()),
        lambda: beside.reset(Things()),
        lambda: beside.expire(Things(), AT),
        lambda: list(beside.query(THINGS)),
    ):
        with pytest.raises(SchemaMismatchError, match="Table things in SQLite file") as caught:
            step()
        assert "the columns thing_id, password, at" in str(caught.value)

    assert foreign_rows(beside) == [("ada", "secret", "0001-01-01")]
    assert beside.checkpoint("things") is None


def test_a_table_that_took_the_place_of_ours_is_left_alone(tmp_path):
    views = SQLiteViews(tmp_path / "views.db")
    views.ensure(Things())
    with views.connections.writing() as connection:
        connection.execute("DROP TABLE things")
        connection.execute(FOREIGN.format(name="things"))
        connection.execute("INSERT INTO things VALUES ('ada', 'secret', '0001-01-01')")

    for step in (views.ensure, views.reset, lambda projection: views.expire(projection, AT)):
        with pytest.raises(SchemaMismatchError, match="It was not made for projection things"):
            step(Things())

    assert foreign_rows(views) == [("ada", "secret", "0001-01-01")]
    views.close()


def test_a_table_made_for_a_projection_that_changed_says_to_rebuild_it(tmp_path):
    class Before(Projection):
        name = "things"
        tables = (Table("things", PartRow, key=["label"]),)

    views = SQLiteViews(tmp_path / "views.db")
    views.ensure(Before())

    with pytest.raises(SchemaMismatchError, match="eventcore projections rebuild things"):
        views.ensure(Things())
    assert views.reset(Things()).position == 0
    views.close()


CHECKPOINTS_WITHOUT_ANCHORS = """
CREATE TABLE eventcore_checkpoints (
    projection TEXT PRIMARY KEY, position INTEGER NOT NULL CHECK (position >= 0),
    version INTEGER NOT NULL CHECK (version > 0), revision INTEGER NOT NULL CHECK (revision > 0)
) STRICT, WITHOUT ROWID
"""


def test_read_models_of_a_file_without_anchors_go_on(tmp_path):
    file = tmp_path / "views.db"
    views = SQLiteViews(file)
    views.ensure(Things())
    put(views, THINGS, THING)
    with views.connections.writing() as connection:
        connection.execute("DROP TABLE eventcore_checkpoints")
        connection.execute(CHECKPOINTS_WITHOUT_ANCHORS)
        connection.execute("INSERT INTO eventcore_checkpoints VALUES ('things', 7, 1, 1)")
    views.close()

    views = SQLiteViews(file)
    assert views.ensure(Things()) == Checkpoint(7, 1, 1)
    assert list(views.query(THINGS)) == [THING]
    assert views.reset(Things()) == Checkpoint(0, 1, 2)
    views.close()


def test_nothing_is_created_where_nothing_is_to_be_created(tmp_path):
    absent = tmp_path / "absent.db"
    with pytest.raises(StoreUnavailableError):
        SQLiteViews(absent, create=False)
    assert not absent.exists()

    empty = tmp_path / "empty.db"
    with closing(sqlite3.connect(empty)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(SchemaMismatchError, match=r"eventcore_checkpoints .* not been created"):
        SQLiteViews(empty, create=False)
    assert tables_of(empty) == {"mine"}

    file = tmp_path / "views.db"
    SQLiteViews(file).close()
    views = SQLiteViews(file, create=False)
    for step in (views.ensure, views.reset):
        with pytest.raises(ConfigurationError, match=r"things is not kept in .* and create=no"):
            step(Things())
    assert tables_of(file) == {"eventcore_checkpoints"}
    views.close()


def test_read_models_that_are_there_are_kept_up_without_creating_anything(tmp_path):
    first = SQLiteViews(tmp_path / "views.db")
    first.ensure(Things())
    first.close()

    views = SQLiteViews(tmp_path / "views.db", create=False)
    assert views.ensure(Things()) == Checkpoint(0, 1, 1)
    put(views, THINGS, THING)
    assert views.reset(Things()) == Checkpoint(0, 1, 2)
    views.close()


def test_a_log_opened_without_creating_gets_no_read_models(tmp_path):
    file = tmp_path / "shop.db"
    open_app(f"sqlite:///{file}").close()
    before = tables_of(file)

    with (
        open_app(f"sqlite:///{file}?create=no") as app,
        pytest.raises(SchemaMismatchError, match="eventcore_checkpoints"),
    ):
        app.query(USERS)
    assert tables_of(file) == before


def test_the_url_of_the_views_says_whether_they_are_created_and_how_durably(tmp_path):
    log, file = f"sqlite:///{tmp_path}/shop.db", tmp_path / "views.db"
    refused = Settings(store=log, views=f"sqlite:///{file}?create=no")
    with open_app(settings=refused) as app, pytest.raises(StoreUnavailableError):
        app.query(USERS)
    assert not file.exists()

    found = []
    for level in ("normal", "full"):
        settings = Settings(store=log, views=f"sqlite:///{file}?synchronous={level}")
        with open_app(settings=settings) as app:
            views = app.views
            assert isinstance(views, SQLiteViews)
            with views.connections.writing() as connection:
                found.append(connection.execute("PRAGMA synchronous").fetchone()[0])
    assert found == [1, 2]


def test_a_rebuild_never_drops_a_table_of_the_application(tmp_path):
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, password TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 'secret')")

    with open_app(f"sqlite:///{file}") as app:
        with pytest.raises(SchemaMismatchError) as caught:
            app.runner().run_to_head()
        assert "projections rebuild" not in str(caught.value)
        with pytest.raises(SchemaMismatchError):
            app.runner().rebuild("users")

    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == [(1, "secret")]


def test_more_rows_than_one_statement_takes_are_all_written_or_none(tmp_path):
    views = SQLiteViews(tmp_path / "views.db")
    views.ensure(Things())
    at_once = views.statements(THINGS).rows_at_once
    things = [THING._replace(thing_id=f"t{n:05}") for n in range(2 * at_once + 3)]
    twice = [*things, THING._replace(thing_id="t00000", status="it's old")]
    place = [column.name for column in THINGS.columns].index("status")
    stored = THINGS.encode(things)
    wrong = (*stored[0][:place], "no such word", *stored[0][place + 1 :])
    changes = TableChanges(THINGS, [*stored[:-3], wrong, *stored[-3:]], ())

    def write() -> None:
        with views.transaction() as transaction:
            transaction.write(changes)

    with pytest.raises(StoreError, match="CHECK"):
        write()
    assert views.count(THINGS) == 0
    with views.transaction() as transaction:
        transaction.upsert(THINGS, twice)

    assert list(views.query(THINGS)) == [twice[-1], *things[1:]]
    views.close()
