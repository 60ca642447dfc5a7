"""What the reference pages list must be what the code has, no more and no less."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

import eventcore.events.catalogue
from eventcore import errors, settings
from eventcore.cli.program import program
from eventcore.errors import EventCoreError
from eventcore.events import default_registry
from eventcore.projections.read_models import built_in_projections
from tests.backends import REPOSITORY

REFERENCE = REPOSITORY / "docs" / "reference"


def rows(page: str) -> list[list[str]]:
    """Cells of all table rows of a page, without the backticks."""
    text = (REFERENCE / page).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_page_of_events_lists_every_built_in_type_as_it_is():
    package = eventcore.events.catalogue.__name__
    expected = {}
    for event_class in default_registry:
        if not event_class.__module__.startswith(package):
            continue
        declared, fields = event_class.__event__, event_class.model_fields
        payload = ", ".join(
            f"`{info.alias}`" + ("" if info.is_required() else "?") for info in fields.values()
        )
        stream = f"`{declared.category}-{{{fields[declared.key].alias}}}`"
        expected[f"`{declared.type}`"] = [declared.group, stream, payload]

    written = {cells[0]: cells[1:] for cells in rows("events.md") if len(cells) == 4}
    del written["type"]

    assert written == expected


def test_the_page_of_limits_shows_the_values_that_are_in_the_code():
    checked = 0
    for cells in rows("limits.md"):
        named = re.fullmatch(r"`(eventcore[\w.]*)\.([A-Z_]+)`", cells[-1])
        if named is None:
            continue
        value = getattr(importlib.import_module(named[1]), named[2])
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        if isinstance(value, tuple):
            shown = ".".join(map(str, value))
        assert cells[1].replace(",", "") == shown, named[2]
        checked += 1

    assert checked > 15


def test_the_page_of_errors_lists_the_whole_tree():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EventCoreError)
    }

    written = {name for cells in rows("errors.md") for name in re.findall(r"`(\w+)`", cells[0])}

    assert written == defined


def test_the_page_of_read_models_lists_every_table_with_its_columns():
    expected = {
        table.name: list(table.public_columns)
        for projection in built_in_projections()
        for table in projection.tables
    }

    text = (REFERENCE / "read-models.md").read_text("utf-8")
    sections = re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    row = re.compile(r"^\| `(.*?)` \|", re.MULTILINE)
    written = {
        name: row.findall(section.split("| `metric_type#dimensions` | `value`")[0])
        for name, section in sections
    }

    assert written == expected


def test_the_page_of_commands_lists_every_command_with_its_options():
    text = (REFERENCE / "commands.md").read_text("utf-8")
    listed = {cells[0].strip("`").split()[0] for cells in rows("commands.md")}

    for path, command in commands_of(typer.main.get_command(program)):
        assert re.search(rf"^\| `{path}[ `]", text, re.MULTILINE), path
        for option in command.params:
            long_names = [name for name in option.opts if name.startswith("--")]
            if long_names and long_names != ["--help"]:
                assert long_names[0] in text, f"{path} {long_names[0]}"

    assert {"--store", "--views", "--json"} <= listed


def test_the_page_of_settings_lists_every_variable():
    read = set(re.findall(r"EVENTCORE_[A-Z_]+", inspect.getsource(settings)))

    assert {cells[0].strip("`") for cells in rows("settings.md") if "EVENTCORE" in cells[0]} == read


def test_the_page_of_reason_codes_lists_those_that_the_code_gives():
    given = set()
    for path in (REPOSITORY / "src").rglob("*.py"):
        source = path.read_text("utf-8")
        given.update(
            re.findall(r'(?:refuse\(\s*|reason=|reason": |field": )"([a-z]+-[a-z-]+)"', source)
        )

    written = {cells[0].strip("`") for cells in rows("reason-codes.md")} - {"reason"}

    assert given - written == set()
    everything = "".join(path.read_text("utf-8") for path in (REPOSITORY / "src").rglob("*.py"))
    assert [code for code in sorted(written) if f'"{code}"' not in everything] == []


def test_every_test_that_a_guarantee_cites_exists():
    cited = re.findall(r"`(tests/[\w/]+\.py|src/[\w/]+\.py)::(\w+)`", guarantees())

    assert len(cited) > 20
    for path, name in cited:
        tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{path}::{name}"


def commands_of(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command under one, with what is typed to call it."""
    for name, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, f"{path}{name} ")
    if not hasattr(command, "commands"):
        yield path.strip(), command


def guarantees() -> str:
    return (REFERENCE / "guarantees.md").read_text("utf-8")
