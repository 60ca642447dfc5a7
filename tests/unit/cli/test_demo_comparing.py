"""The demo's comparison can fail: one changed row is found, and named."""

import sqlite3
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.cli.demo.comparing import TableDigest, compare, digest_tables
from eventcore.cli.demo.proving import check_equal
from eventcore.commands import RegisterUser, StartSession
from eventcore.errors import DemoFailedError
from eventcore.projections.memory import MemoryViews
from eventcore.projections.runner import ProjectionRunner


def differences(path: Path, *statements: str) -> list[str]:
    """Problems found after changing the kept rows behind the library's back."""
    with open_app(f"sqlite:///{path}") as app:
        app.execute(RegisterUser(user_id="u1", email="ada@example.com"))
        app.execute(RegisterUser(user_id="u2", email="alan@example.com"))
        app.execute(StartSession(session_id="s1", user_id="u1"))
        app.runner().run_to_head()
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        fresh = MemoryViews()
        ProjectionRunner(app.log, fresh, app.projections).run_to_head()
        tables = [table for one in app.projections for table in one.tables]
        comparisons = compare(digest_tables(fresh, tables), digest_tables(app.views, tables))
    if not statements:
        check_equal(comparisons)
    else:
        with pytest.raises(DemoFailedError):
            check_equal(comparisons)
    return [one.problem for one in comparisons if not one.equal]


def test_untouched_read_models_are_equal_to_a_fold_from_scratch(tmp_path: Path):
    assert differences(tmp_path / "shop.db") == []


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "UPDATE users SET first_name = 'Eve' WHERE user_id = 'u2'",
            'table users differs at ["u2"]',
        ),
        ("DELETE FROM users WHERE user_id = 'u1'", 'table users differs at ["u1"]'),
        (
            "INSERT INTO user_sessions VALUES ('s9', NULL, '2024-01-01T00:00:00.000000Z', NULL)",
            'table user_sessions differs at ["s9"]',
        ),
    ],
)
def test_a_row_that_was_changed_lost_or_added_is_named(
    tmp_path: Path, statement: str, problem: str
):
    assert differences(tmp_path / "shop.db", statement) == [problem]


def test_many_differing_rows_are_counted_and_some_are_named():
    before = TableDigest("users", "a", {f'["u{number}"]': "x" for number in range(5)})

    [found] = compare({"users": before}, {"users": TableDigest("users", "b", {})})

    assert found.problem == 'table users differs at ["u0"], ["u1"], ["u2"] and 2 more'


def test_rows_that_agree_do_not_excuse_digests_that_differ():
    one, other = TableDigest("users", "a", {}), TableDigest("users", "b", {})

    [found] = compare({"users": one}, {"users": other})

    assert not found.equal
