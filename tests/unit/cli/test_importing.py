"""--import: events, aggregates and read models of one's own are known to the commands."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.conftest import USER, Call, write_lines

_numbers = itertools.count(1)

# The names differ from test to test: what is registered once stays so for the process.
MODULE = """
from dataclasses import dataclass
from typing import NamedTuple

from eventcore.aggregates import Aggregate, applies
from eventcore.events import DomainEvent
from eventcore.projections import Projection, Table, on


class Opened(DomainEvent, type="{kind}.opened", category="{kind}", key="shelf_id"):
    shelf_id: str
    label: str


@dataclass(kw_only=True)
class Shelf(Aggregate, category="{kind}", begins_with=Opened):
    label: str = ""

    @applies(Opened)
    def _opened(self, event: Opened) -> None:
        self.label = event.label


class ShelfRow(NamedTuple):
    shelf_id: str
    label: str


SHELVES = Table("{kind}_shelves", ShelfRow, key=("shelf_id",))


class Shelves(Projection):
    name = "{kind}_shelves"
    tables = (SHELVES,)

    @on(Opened, key=lambda event: event.payload.shelf_id)
    def _add(self, row, event):
        return ShelfRow(event.payload.shelf_id, event.payload.label)


PROJECTIONS = [Shelves()]
"""


@pytest.fixture
def own(folder: Path) -> Iterator[str]:
    """Name of a module in the current directory, and of the kind of aggregate it declares."""
    kind = f"shelf{next(_numbers)}"
    (folder / f"{kind}.py").write_text(MODULE.replace("{kind}", kind))
    event = USER | {"eventType": f"{kind}.opened"}
    write_lines(
        folder / "in.jsonl", {**event, "data": {"payload": {"shelfId": "7", "label": "new"}}}
    )
    yield kind
    sys.modules.pop(kind, None)


def test_events_and_aggregates_of_an_imported_module_are_known(call: Call, own: str):
    [report] = call("ingest", "in.jsonl", "--import", own).records

    assert report["accepted"] == 1
    [state] = call("--import", own, "state", own, "7", "--json").records
    assert state == {"stream": f"{own}-7", "id": "7", "version": 1, "label": "new"}
    [document] = call("schema", "export", "--json", f"--import={own}").records
    assert {f"{own}.opened", "order.created"} <= document["events"].keys()


def test_its_read_models_are_kept_besides_the_built_in_ones(
    call: Call, own: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVENTCORE_IMPORT", f" {own}, json")
    call("ingest", "in.jsonl")

    assert call("projections", "run", "--once").code == 0

    assert call("query", f"{own}_shelves", "--json").records == [{"shelf_id": "7", "label": "new"}]
    names = [one["projection"] for one in call("projections", "status", "--json").records]
    assert (len(names), names[-1]) == (9, f"{own}_shelves")
    assert call("db", "check").code == 0
    assert call("doctor").code == 0
    [rebuilt] = call("projections", "rebuild", f"{own}_shelves", "--json").records
    assert rebuilt["rows"] == {f"{own}_shelves": 1}


def test_status_shows_the_generations_of_a_read_model(
    call: Call, own: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVENTCORE_IMPORT", own)
    name = f"{own}_shelves"
    call("ingest", "in.jsonl")

    def generations() -> object:
        found = call("projections", "status", "--json").records
        [one] = [record for record in found if record["projection"] == name]
        return one["generation"], [tuple(part.values()) for part in one["generations"]]

    never = generations()
    call("projections", "run", "--once")
    kept = generations()
    call("projections", "rebuild", name)
    rebuilt = generations()
    printed = call("projections", "status")
    call("projections", "drop-old", name)

    assert never == (None, [])
    assert kept == (1, [(1, "live", 1)])
    assert rebuilt == (2, [(1, "old", 1), (2, "live", 1)])
    told = " ".join(printed.err.split())
    assert f"Generation 1 of {name}, at position 1, is kept: `projections rollback`" in told
    assert generations() == (2, [(2, "live", 1)])


def test_without_the_option_they_are_unknown(call: Call, own: str):
    assert call("query", f"{own}_shelves").code == 2
    assert call("state", own, "7").code == 2


def test_projections_that_are_none_are_refused(call: Call, folder: Path, own: str):
    with (folder / f"{own}.py").open("a") as module:
        module.write("PROJECTIONS = [Shelves]\n")

    answer = call("projections", "status", "--import", own, "--json")

    assert answer.code == 2
    assert f"PROJECTIONS of {own} is a list of projections" in answer.error["message"]


def test_help_and_version_import_nothing(call: Call, own: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTCORE_IMPORT", "no_such_module")

    assert (call("--help").code, call("version").code) == (0, 0)
    assert call("events", "read").code == 2
