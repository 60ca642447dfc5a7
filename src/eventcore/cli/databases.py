"""``eventcore db``: the tables of the store, as they are and as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from eventcore.cli.files import StoreFile, store_files
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import EXIT_NO, console, print_json, printable, safe
from eventcore.cli.readmodels import all_projections

if TYPE_CHECKING:
    from eventcore.cli.inspecting import Difference, SchemaObject

program = typer.Typer(help="The tables of the store.")


def file_differences(file: StoreFile) -> list[Difference]:
    """Where a file is not as this version of eventcore would make it."""
    from eventcore.cli.inspecting import (  # noqa: PLC0415 - opens SQLite, which most commands do later
        differences,
        expected_objects,
        present_objects,
    )

    expected = expected_objects(log=file.log, views=file.views)
    return differences(expected, present_objects(file.path))


@program.command(epilog=EPILOG)
def plan() -> None:
    """Print the SQL that `db apply` would run. Changes nothing."""
    for file in store_files(OPTIONS.settings()):
        found = file_differences(file)
        missing = [one for one in found if one.present is None]
        if OPTIONS.json:
            for one in missing:
                print_json(
                    {"file": str(file.path), "name": one.expected.name, "sql": one.expected.sql}
                )
            continue
        console.print(f"-- {safe(str(file.path))}", style="dim", soft_wrap=True)
        for one in missing:
            console.print(_shown(one.expected) + ";\n", markup=False, soft_wrap=True)
        if not missing:
            console.print("-- nothing to create", style="dim")
        for one in found:
            if one.present is not None:
                console.print(f"-- {safe(one.problem)}: see `eventcore db check`", soft_wrap=True)


@program.command(epilog=EPILOG)
def apply() -> None:
    """Create what is missing. What exists is never changed."""
    from eventcore.cli.inspecting import create_objects  # noqa: PLC0415 - see file_differences

    files = store_files(OPTIONS.settings())
    missing = [one for file in files for one in file_differences(file) if one.present is None]
    with OPTIONS.open() as app:
        for projection in all_projections():
            app.views.ensure(projection)
    for file in files:
        # Parts of tables that were there: opening a store looks at tables only.
        parts = [one.expected for one in file_differences(file) if one.present is None]
        create_objects(file.path, parts)
    left = [one for file in files for one in file_differences(file)]
    created = [one for one in missing if one.expected.name not in {x.expected.name for x in left}]
    for one in created:
        if OPTIONS.json:
            print_json({"created": one.expected.name, "kind": one.expected.kind})
        else:
            console.print(f"[green]✓[/green] created {one.expected.kind} {safe(one.expected.name)}")
    if not created and not OPTIONS.json:
        console.print("[green]✓[/green] nothing was missing")
    _refuse_differences(left)


@program.command(epilog=EPILOG)
def check() -> None:
    """Compare the tables with what this version expects; exit 1 if they differ."""
    files = store_files(OPTIONS.settings())
    found = [one for file in files for one in file_differences(file)]
    if not found and not OPTIONS.json:
        console.print("[green]✓[/green] every table, index, trigger and view is as expected")
    _refuse_differences(found)


def _shown(wanted: SchemaObject) -> str:
    return "\n".join(map(printable, wanted.sql.splitlines()))


def _refuse_differences(found: list[Difference]) -> None:
    for one in found:
        if OPTIONS.json:
            print_json(
                {
                    "name": one.expected.name,
                    "kind": one.expected.kind,
                    "problem": "missing" if one.present is None else "different",
                    "expected": one.expected.sql,
                    "found": one.present.sql if one.present else None,
                }
            )
        else:
            console.print(f"[red]✗[/red] {safe(one.problem)}")
            if one.present is not None:
                console.print(f"  found     {_shown(one.present)}", markup=False, soft_wrap=True)
                console.print(f"  expected  {_shown(one.expected)}", markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(EXIT_NO)
