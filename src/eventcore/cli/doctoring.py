"""``eventcore doctor``: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from eventcore.cli.findings import Finding
from eventcore.cli.options import OPTIONS
from eventcore.cli.output import EXIT_NO, console, print_json, safe
from eventcore.errors import ConfigurationError, EventCoreError, SchemaMismatchError

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.cli.files import StoreFile
    from eventcore.settings import Settings

FEED_TIMEOUT_SECONDS: Final = 5.0
"""How long the feed may take to hand out an event that is stored already."""


_RACE = typer.Option(
    False,
    "--race",
    help="Instead, hold a race on a Postgres server, in about three seconds and a scratch schema: "
    "which events does a reader lose of a textbook's table, and of eventcore's log?",
)
_URL = typer.Argument(None, metavar="URL", help="--race: where; else the store.")
_TABLE = typer.Option(
    None,
    "--table",
    metavar="SCHEMA.TABLE",
    help="--race: also a table made like this one of yours, which is only looked at.",
)
_POSITION = typer.Option(
    None,
    "--position",
    metavar="COLUMN",
    help="--table: the column that its readers go by; else the one that a sequence fills.",
)
_SECONDS = typer.Option(
    None,
    "--seconds",
    min=0.1,
    max=600.0,
    help="--race: how long the first table is written to; else 0.5. The others get the same.",
)
_WITH_LOCK = typer.Option(
    False,
    "--with-lock",
    help="--race: writers lock the table first, which loses nothing and costs a lot.",
)


def doctor(
    url: str | None = _URL,
    *,
    race: bool = _RACE,
    table: str | None = _TABLE,
    position: str | None = _POSITION,
    seconds: float | None = _SECONDS,
    with_lock: bool = _WITH_LOCK,
) -> None:
    """Look at versions, the store, tables, read models and the feed; exit 1 if something is wrong.

    Looks only: nothing that is missing is created. With --race it writes, in a schema of its
    own that is gone afterwards, and exits 1 if eventcore's log or your table loses events.
    """
    if race:
        if position is not None and table is None:
            raise ConfigurationError(message="--position names a column of --table")
        _race(url, table=table, position=position, seconds=seconds, with_lock=with_lock)
        return
    if url or table or position or seconds or with_lock:
        raise ConfigurationError(
            message="A URL, --table, --position, --seconds and --with-lock belong to --race. "
            "A store to look at is named with --store URL"
        )
    healthy = True
    for finding in _findings(OPTIONS.settings()):
        healthy &= finding.ok
        _print(finding)
    if not healthy:
        raise typer.Exit(EXIT_NO)


def _race(
    url: str | None,
    *,
    table: str | None,
    position: str | None,
    seconds: float | None,
    with_lock: bool,
) -> None:
    from eventcore.cli.racing.holding import hold_race  # noqa: PLC0415 - the driver
    from eventcore.cli.racing.plans import SECONDS_DEFAULT, Plan  # noqa: PLC0415 - likewise
    from eventcore.cli.racing.telling import tell  # noqa: PLC0415 - likewise

    plan = Plan(seconds=seconds or SECONDS_DEFAULT, is_locking=with_lock)
    report = hold_race(url or OPTIONS.settings().store, plan, table=table, position=position)
    tell(report)
    if not report.is_ok:
        raise typer.Exit(EXIT_NO)


def _print(finding: Finding) -> None:
    if OPTIONS.json:
        record = finding._asdict()
        if not finding.action:
            del record["action"]
        print_json(record)
        return
    mark = "[green]✓[/green]" if finding.ok else "[bold red]✗[/bold red]"
    console.print(f"{mark} [bold]{finding.check:<12}[/bold] {safe(finding.detail)}", soft_wrap=True)
    if finding.action:
        console.print(f"               [yellow]→ {safe(finding.action)}[/yellow]", soft_wrap=True)


def _findings(settings: Settings) -> Iterator[Finding]:
    yield _versions()
    usable = True
    try:
        for finding in _place_findings(settings):
            # What is wrong with these does not keep one from looking further.
            usable &= finding.ok or finding.check in {"tables", "durability", "rights", "scratch"}
            yield finding
    except ConfigurationError as error:
        action = "doctor can look at stores on SQLite, Postgres and DynamoDB"
        yield Finding("store", ok=False, detail=str(error), action=action)
        return
    if usable:
        yield from _app_findings()


def _place_findings(settings: Settings) -> Iterator[Finding]:
    """Looks at files and schemas without opening the store."""
    from eventcore.settings import parse_store_url  # noqa: PLC0415 - a broken URL is a finding, too

    log = parse_store_url(settings.store)
    views = log if settings.views is None else parse_store_url(settings.views)
    if not {"postgresql", "dynamodb"} & {log.scheme, views.scheme}:
        from eventcore.cli.files import store_files  # noqa: PLC0415 - likewise

        for file in store_files(settings):
            yield from _file_findings(file)
        return
    from eventcore.cli.files import StoreFile  # noqa: PLC0415 - likewise
    from eventcore.cli.readmodels import all_projections  # noqa: PLC0415 - likewise

    for location in dict.fromkeys((log, views)):
        has_log, has_views = location == log, location == views
        projections = all_projections() if has_views else ()
        if location.scheme == "postgresql":
            from eventcore.cli.postgres_doctoring import (  # noqa: PLC0415 - the driver
                postgres_findings,
            )

            yield from postgres_findings(location, log=has_log, projections=projections)
        elif location.scheme == "dynamodb":
            from eventcore.cli.dynamodb_doctoring import (  # noqa: PLC0415 - likewise
                dynamodb_findings,
            )

            yield from dynamodb_findings(location, log=has_log, projections=projections)
        elif location.scheme == "sqlite":
            yield from _file_findings(StoreFile(Path(location.path), log=has_log, views=has_views))


def _versions() -> Finding:
    import sqlite3  # noqa: PLC0415 - help needs no database

    packages = ("eventcore-es", "eventsourcing", "pydantic")
    named = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    detail = f"{named}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return Finding("versions", ok=True, detail=detail)


def _file_findings(file: StoreFile) -> Iterator[Finding]:
    from eventcore.cli.inspecting import SQL, opened  # noqa: PLC0415 - opens no store

    try:
        with opened(file.path) as connection:
            (mode,) = connection.execute(SQL["select_journal_mode"]).fetchone()
            problems = [row[0] for row in connection.execute(SQL["check_integrity"])]
    except EventCoreError as error:
        action = "any command creates the store: eventcore events read"
        if file.path.exists():
            action = "restore the file from a copy, or name another with --store"
        yield Finding("file", ok=False, detail=str(error), action=action)
        return
    size = file.path.stat().st_size
    yield Finding("file", ok=True, detail=f"{file.path}, {size:,} bytes")
    yield _integrity(problems)
    yield _journal(mode)
    yield from _table_findings(file)


def _integrity(problems: list[str]) -> Finding:
    if problems == ["ok"]:
        return Finding("integrity", ok=True, detail="every page and index entry is sound")
    action = "stop all writers and restore the file; sqlite3 FILE .recover saves what can be read"
    return Finding("integrity", ok=False, detail="; ".join(problems), action=action)


def _journal(mode: str) -> Finding:
    if mode == "wal":
        return Finding("journal", ok=True, detail="WAL: readers never wait for the writer")
    action = "any command that opens the store sets WAL, unless the folder is on a network drive"
    return Finding("journal", ok=False, detail=f"mode {mode}, expected wal", action=action)


def _table_findings(file: StoreFile) -> Iterator[Finding]:
    from eventcore.cli.databases import file_differences  # noqa: PLC0415 - opens no store

    found = file_differences(file)
    if not found:
        yield Finding("tables", ok=True, detail="as this version of eventcore creates them")
    for one in found:
        action = "eventcore db apply"
        if one.present is not None:
            action = (
                "eventcore db check shows both; a read model's table: eventcore projections rebuild"
            )
        yield Finding("tables", ok=False, detail=one.problem, action=action)


def _app_findings() -> Iterator[Finding]:
    looks: tuple[tuple[str, Callable[[App], Iterator[Finding]]], ...] = (
        ("durability", _durability),
        ("held feed", _holders),
        ("read models", _projections),
        ("feed", _feed),
    )
    try:
        with OPTIONS.open(create=False) as app:
            for check, look in looks:
                try:
                    yield from look(app)
                except EventCoreError as error:
                    yield _failed(check, error)
    except EventCoreError as error:
        # Without a log these cannot be looked at; what else is wrong is said once.
        checks = ("read models", "feed") if _is_absent(error) else ("store",)
        for check in checks:
            yield _failed(check, error)


def _failed(check: str, error: EventCoreError) -> Finding:
    if _is_absent(error):
        detail = "not looked at: tables are missing"
        return Finding(check, ok=False, detail=detail, action="eventcore db apply")
    return Finding(check, ok=False, detail=str(error), action="see the message")


def _is_absent(error: EventCoreError) -> bool:
    return isinstance(error, SchemaMismatchError) and error.found in {
        "not been created",
        "no table",
    }


def _durability(app: App) -> Iterator[Finding]:
    from eventcore.stores.log import store_of  # noqa: PLC0415 - help needs none

    connections = getattr(store_of(app.log), "connections", None)
    if connections is None or not hasattr(connections, "reading"):
        return  # a server was asked before
    with connections.reading() as connection:
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
    detail = {
        1: "synchronous=NORMAL: power loss may take the newest appends, never half of one"
    }.get(level, "synchronous=FULL: an acknowledged append survives power loss")
    yield Finding("durability", ok=level >= 1, detail=detail)


def _projections(app: App) -> Iterator[Finding]:
    found = app.runner().status(app.now())
    behind = [one for one in found if one.lag_events]
    if not behind:
        head = found[0].head if found else 0
        yield Finding("read models", ok=True, detail=f"{len(found)} at the head, position {head:,}")
    for one in behind:
        detail = f"{one.projection} is at {one.position:,}, {one.lag_events:,} behind the head"
        if one.lag_seconds is not None:
            detail += f" ({one.lag_seconds:,.0f} s)"
        action = "eventcore projections run --once, or keep `eventcore projections run` running"
        yield Finding("read models", ok=False, detail=detail, action=action)


def _holders(app: App) -> Iterator[Finding]:
    from eventcore.projections.statuses import HELD_SECONDS_MIN  # noqa: PLC0415 - help needs none
    from eventcore.stores.holders import FeedWatch, lasting_holders  # noqa: PLC0415 - likewise
    from eventcore.stores.log import store_of  # noqa: PLC0415 - likewise

    store = store_of(app.log)
    if not isinstance(store, FeedWatch):
        return
    lasting = lasting_holders(store, HELD_SECONDS_MIN)
    if not lasting:
        detail = f"nothing holds it ({len(store.feed_holders())} writers at work just now)"
        yield Finding("held feed", ok=True, detail=detail)
    for one in lasting:
        query = f"; query: {one.query}" if one.query else ""
        action = "let it commit or roll back"
        if one.pid is not None:
            action = f"end it if it is forgotten: SELECT pg_terminate_backend({one.pid})"
        elif one.query:
            action = f"decide it: COMMIT PREPARED '{one.query}' or ROLLBACK PREPARED '{one.query}'"
        if one.age_seconds is None:
            action += "; GRANT pg_read_all_stats to this role, and its age and query are shown"
        detail = f"followers may have to wait for {one.who}{query}"
        yield Finding("held feed", ok=False, detail=detail, action=action)


def _feed(app: App) -> Iterator[Finding]:
    head = app.log.head()
    if not head:
        yield Finding("feed", ok=True, detail="the log is empty")
        return
    with closing(app.log.subscribe(head - 1)) as subscription:
        page = subscription.next_page(FEED_TIMEOUT_SECONDS)
    delivered = bool(page and page.events and page.events[0].position == head)
    detail = f"delivers up to the head, position {head:,}"
    if delivered:
        yield Finding("feed", ok=True, detail=detail)
    else:
        detail = f"the event at position {head:,} did not come in {FEED_TIMEOUT_SECONDS:.0f} s"
        yield Finding(
            "feed", ok=False, detail=detail, action="report this with the output of doctor"
        )
