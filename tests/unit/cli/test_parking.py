"""projections parked, retry and skip: what an operator sees and does when an event fails."""

import itertools
from pathlib import Path

import pytest

from tests.unit.cli.conftest import USER, Call, write_lines

_numbers = itertools.count(1)

# The names differ from test to test: what is registered once stays so for the process.
MODULE = """
from pathlib import Path
from typing import NamedTuple

from eventcore.events.catalogue import UserRegistered
from eventcore.projections import Projection, Table, on


class NameRow(NamedTuple):
    user_id: str
    email: str


NAMES = Table("{name}", NameRow, key=("user_id",))


class Names(Projection):
    name = "{name}"
    tables = (NAMES,)

    @on(UserRegistered, key=lambda event: event.id)
    def _add(self, row, event):
        if not Path("mended").exists():
            raise KeyError(event.payload.email)
        return NameRow(event.id, event.payload.email)


PROJECTIONS = [Names()]
"""


@pytest.fixture
def broken(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A read model of one user whose event failed."""
    name = f"names{next(_numbers)}"
    (folder / f"{name}.py").write_text(MODULE.format(name=name))
    monkeypatch.setenv("EVENTCORE_IMPORT", name)
    write_lines(folder / "in.jsonl", USER)
    assert call("ingest", "in.jsonl").code == 0
    return name


def test_a_run_parks_what_fails_and_says_so(call: Call, broken: str):
    ran = call("projections", "run", "--once")
    assert ran.code == 0
    assert f"1 keys of {broken} are parked" in " ".join(ran.err.split())

    [report] = call("projections", "run", "--once", "--json").records
    assert report["parked"] == 1
    strict = call("projections", "run", "--once", "--strict", "--json")
    assert (strict.code, strict.error["type"]) == (1, "EventsParked")


def test_what_is_parked_is_shown_without_what_the_event_says(call: Call, broken: str):
    call("projections", "run", "--once")

    [status] = [
        one
        for one in call("projections", "status", "--json").records
        if one["projection"] == broken
    ]
    assert (status["parked"], status["parkedEvents"], status["lagEvents"]) == (1, 1, 0)
    listed = call("projections", "parked", broken, "--json")
    [one] = listed.records
    assert (one["table"], one["eventType"], one["events"], one["attempts"]) == (
        broken, "user.registered", 1, 1
    )  # fmt: skip
    assert (one["error"], one["message"]) == ("KeyError", None)
    assert one["since"] is not None
    printed = call("projections", "parked", broken)
    assert "KeyError" in printed.out
    assert "@" not in listed.out + printed.out


def test_health_mentions_what_is_parked_and_fails_no_probe_for_it(call: Call, broken: str):
    call("projections", "run", "--once")

    told = call("projections", "health", "--json", "--max-lag-seconds", "1e12")
    printed = call("projections", "health", "--max-lag-seconds", "1e12")

    assert (told.code, printed.code) == (0, 0)
    [checks] = [one["checks"] for one in told.records]
    assert checks[0] == {
        "name": "projections",
        "ok": True,
        "problems": [],
        "notes": [f"1 keys of {broken} are parked since an event failed"],
    }
    assert checks[1] == {"name": "feed", "ok": True, "problems": []}
    assert f"1 keys of {broken} are parked" in printed.out


def test_what_is_parked_is_applied_once_the_code_is_mended(call: Call, folder: Path, broken: str):
    call("projections", "run", "--once")
    again = call("projections", "retry", broken)
    assert (again.code, "parked still" in again.err) == (1, True)

    (folder / "mended").touch()
    [one] = call("projections", "parked", broken, "--json").records
    assert one["attempts"] == 2
    [done] = call("projections", "retry", broken, "--key", one["key"], "--json").records
    assert done == {"projection": broken, "events": 1, "skipped": 0, "parked": 0}
    assert call("query", broken, "--json").records[0]["user_id"] == one["key"]
    assert call("projections", "parked", broken, "--json").records == []


def test_an_event_is_skipped_for_a_reason_that_is_kept(call: Call, folder: Path, broken: str):
    call("projections", "run", "--once")
    [one] = call("projections", "parked", broken, "--json").records
    assert call("projections", "skip", broken, "--key", one["key"]).code == 2

    skip = ("projections", "skip", broken, "--key", one["key"], "--reason", "a test", "--by", "me")
    assert call(*skip, "--json").records == [
        {"projection": broken, "events": 0, "skipped": 1, "parked": 0}
    ]
    [skipped] = call("projections", "parked", broken, "--skipped", "--json").records
    assert (skipped["reason"], skipped["by"], skipped["error"]) == ("a test", "me", "KeyError")
    (folder / "mended").touch()
    call("projections", "rebuild", broken)
    assert call("query", broken, "--json").records == []
    assert call(*skip).code == 2
