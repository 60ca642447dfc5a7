"""``eventcore db``: the tables of the store, as they are and as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from eventcore.cli.files import StoreFile, store_files
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import EXIT_NO, console, json_text, print_json, printable, safe
from eventcore.cli.readmodels import all_projections, kept_projections
from eventcore.errors import ConfigurationError
from eventcore.settings import Settings, StoreLocation, parse_store_url

if TYPE_CHECKING:
    from eventcore.cli.inspecting import Difference, SchemaObject

program = typer.Typer(help="The tables of the store.")

_PHASES = {"pre": ("pre",), "post": ("post",), "all": ("pre", "post")}
_FORMATS = ("requests", "cloudformation", "terraform")
_FORMAT = typer.Option(
    "requests", "--format", metavar="|".join(_FORMATS), help="DynamoDB: for which tool."
)
_PHASE = typer.Option("all", "--phase", metavar="pre|post|all", help="Postgres: which migrations.")


class Place(Protocol):
    """A file or a schema with tables of the store."""

    title: str

    def planned(self, phases: Any) -> list[tuple[str, str]]:
        """What ``apply`` would run: names and statements."""

    def apply(self, phases: Any) -> list[str]:
        """Run it; gives what was made."""

    def differences(self) -> list[Difference]:
        """Where it is not as this version would make it."""


class FilePlace:
    """An SQLite file."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self.title = str(file.path)

    def planned(self, phases: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - see apply
        """See :class:`Place`."""
        return [
            (one.expected.name, f"{one.expected.sql};")
            for one in self.differences()
            if one.present is None
        ]

    def apply(self, phases: Any) -> list[str]:  # noqa: ARG002 - a file has no migrations
        """See :class:`Place`."""
        from eventcore.cli.inspecting import create_objects  # noqa: PLC0415 - see differences

        missing = [one.expected.name for one in self.differences() if one.present is None]
        with OPTIONS.open() as app:
            for projection in all_projections() if self._file.views else ():
                app.views.ensure(projection)
        # Parts of tables that were there: opening a store looks at tables only.
        parts = [one.expected for one in self.differences() if one.present is None]
        create_objects(self._file.path, parts)
        left = {one.expected.name for one in self.differences()}
        return [name for name in missing if name not in left]

    def differences(self) -> list[Difference]:
        """See :class:`Place`."""
        return file_differences(self._file)


@contextmanager
def _places(settings: Settings) -> Iterator[list[Place]]:
    """Where the tables of a store are: the log's first."""
    location = parse_store_url(settings.store)
    views = location if settings.views is None else parse_store_url(settings.views)
    if not {"postgresql", "dynamodb"} & {location.scheme, views.scheme}:
        yield [FilePlace(file) for file in store_files(settings)]
        return
    if location.scheme != views.scheme:
        raise ConfigurationError(
            message="The log and the read models are kept in different databases: "
            "look at each by itself, with --store and without --views"
        )
    if location.scheme == "dynamodb":
        with _dynamodb_places(location, views) as places:
            yield places
        return
    from eventcore.cli.postgres_schemas import PostgresSchema, connected  # noqa: PLC0415 - the driver

    with connected(location) as connections:
        if location[:1] + views[5:7] == views[:1] + location[5:7]:
            yield [PostgresSchema(connections, log=True, projections=kept_projections())]
            return
        with connected(views) as others:
            yield [
                PostgresSchema(connections, log=True, projections=()),
                PostgresSchema(others, log=False, projections=kept_projections()),
            ]


@contextmanager
def _dynamodb_places(location: StoreLocation, views: StoreLocation) -> Iterator[list[Place]]:
    from eventcore.cli.dynamodb_tables import dynamodb_tables  # noqa: PLC0415 - only what is used

    if location == views:
        with dynamodb_tables(location, log=True, projections=kept_projections()) as place:
            yield [place]
        return
    with (
        dynamodb_tables(location, log=True, projections=()) as log,
        dynamodb_tables(views, log=False, projections=kept_projections()) as others,
    ):
        yield [log, others]


def file_differences(file: StoreFile) -> list[Difference]:
    """Where a file is not as this version of eventcore would make it."""
    from eventcore.cli.inspecting import (  # noqa: PLC0415 - opens SQLite, which most commands do later
        TRIMS_TABLE,
        differences,
        expected_objects,
        present_objects,
    )

    present = present_objects(file.path)
    trimmed = TRIMS_TABLE in present
    expected = expected_objects(log=file.log, views=file.views, trimmed=file.log and trimmed)
    return differences(expected, present)


@program.command(epilog=EPILOG)
def plan(phase: str = _PHASE, form: str = _FORMAT) -> None:
    """Print what `db apply` would run. Changes nothing.

    For DynamoDB, `--format cloudformation` and `--format terraform` print all tables of the store
    for those tools (a template, and a .tf.json file) without asking DynamoDB.
    """
    phases = _phases(phase)
    if form != "requests":
        _print_template(form)
        return
    with _places(OPTIONS.settings()) as places:
        for place in places:
            planned = place.planned(phases)
            if OPTIONS.json:
                for name, text in planned:
                    print_json({"file": place.title, "name": name, "sql": text})
                continue
            console.print(f"-- {safe(place.title)}", style="dim", soft_wrap=True)
            for _, text in planned:
                console.print(_printable_lines(text) + "\n", markup=False, soft_wrap=True)
            if not planned:
                console.print("-- nothing to create", style="dim")
            for one in place.differences() if not planned and phase == "all" else ():
                console.print(f"-- {safe(one.problem)}: see `eventcore db check`", soft_wrap=True)


def _print_template(form: str) -> None:
    if form not in _FORMATS:
        raise ConfigurationError(message=f"--format is one of {', '.join(_FORMATS)}, not {form!r}")
    settings = OPTIONS.settings()
    location = parse_store_url(settings.store)
    views = location if settings.views is None else parse_store_url(settings.views)
    from eventcore.cli import dynamodb_definitions as made  # noqa: PLC0415 - only what is used

    definitions = [made.log_definition(location)] if location.scheme == "dynamodb" else []
    if views.scheme == "dynamodb":
        definitions += made.view_definitions(views, kept_projections())
    if not definitions:
        raise ConfigurationError(message=f"{form} is for stores in DynamoDB: --store dynamodb://…")
    template = made.cloudformation if form == "cloudformation" else made.terraform
    # No wrapping, no colour: it is for a file.
    print(json_text(template(definitions), indented=True))


@program.command(epilog=EPILOG)
def apply(phase: str = _PHASE) -> None:
    """Create what is missing. What exists is changed by migrations only."""
    phases = _phases(phase)
    with _places(OPTIONS.settings()) as places:
        created = [name for place in places for name in place.apply(phases)]
        left = [one for place in places for one in place.differences()] if phase == "all" else []
    for name in created:
        if OPTIONS.json:
            print_json({"created": name})
        else:
            console.print(f"[green]✓[/green] created {safe(name)}")
    if not created and not OPTIONS.json:
        console.print("[green]✓[/green] nothing was missing")
    _refuse_differences(left)


@program.command(epilog=EPILOG)
def check() -> None:
    """Compare the tables with what this version expects; exit 1 if they differ."""
    with _places(OPTIONS.settings()) as places:
        found = [one for place in places for one in place.differences()]
    if not found and not OPTIONS.json:
        console.print("[green]✓[/green] every table, index, trigger and view is as expected")
    _refuse_differences(found)


@program.command(epilog=EPILOG)
def repair() -> None:
    """DynamoDB: make a log whole whose table was restored from a backup. Stop all writers first.

    Exit 1 if events are lost for ever.
    """
    location = parse_store_url(OPTIONS.settings().store)
    if location.scheme != "dynamodb":
        raise ConfigurationError(message="Only a log in DynamoDB is repaired: others need it never")
    from eventcore.cli.dynamodb_repairs import repair_log  # noqa: PLC0415 - only what is used

    repair_log(location)


@program.command(epilog=EPILOG)
def grant(
    role: str = typer.Argument(..., metavar="ROLE", help="A role of the database server."),
    *,
    read_models: bool = typer.Option(False, "--read-models", help="It keeps the read models, too."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the statements only."),
) -> None:
    """Postgres: let a role append and read events, and nothing else to them."""
    settings = OPTIONS.settings()
    location = parse_store_url(settings.store)
    if location.scheme != "postgresql":
        raise ConfigurationError(
            message="Roles are a matter of Postgres: give --store postgresql://…"
        )
    from eventcore.cli.postgres_schemas import connected, grants  # noqa: PLC0415 - the driver

    statements = grants(location.schema, role, kept_projections() if read_models else ())
    if not dry_run:
        with connected(location) as connections, connections.transaction() as connection:
            for statement in statements:
                connection.execute(statement.encode(), prepare=False)
    for statement in statements:
        if OPTIONS.json:
            print_json({"sql": statement})
        else:
            console.print(f"{safe(statement)};", markup=False, soft_wrap=True)


def _phases(phase: str) -> tuple[str, ...]:
    if phase not in _PHASES:
        raise ConfigurationError(message=f"--phase is one of {', '.join(_PHASES)}, not {phase!r}")
    return _PHASES[phase]


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))


def _shown(wanted: SchemaObject) -> str:
    return _printable_lines(wanted.sql)


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
