"""``eventcore doctor``: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import EXIT_NO, console, print_json, safe
from eventcore.errors import ConfigurationError, EventCoreError

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.cli.files import StoreFile
    from eventcore.settings import Settings

FEED_TIMEOUT_SECONDS: Final = 5.0
"""How long the feed may take to hand out an event that is stored already."""


class Finding(NamedTuple):
    """What one look found.

    Attributes:
        check: What was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        action: What to do about it; empty if nothing.
    """

    check: str
    ok: bool
    detail: str
    action: str = ""


def doctor() -> None:
    """Look at versions, files, tables, read models and the feed; exit 1 if something is wrong.

    Looks only: a store that is missing is not created.
    """
    healthy = True
    for finding in _findings(OPTIONS.settings()):
        healthy &= finding.ok
        _print(finding)
    if not healthy:
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
    try:
        from eventcore.cli.files import store_files  # noqa: PLC0415 - a broken URL is a finding, too

        files = store_files(settings)
    except ConfigurationError as error:
        yield Finding(
            "store", ok=False, detail=str(error), action="doctor can look at SQLite stores"
        )
        return
    usable = True
    for file in files:
        for finding in _file_findings(file):
            usable &= finding.ok or finding.check == "tables"
            yield finding
    if usable:
        yield from _app_findings()


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
        ("read models", _projections),
        ("feed", _feed),
    )
    try:
        with OPTIONS.open() as app:
            for check, look in looks:
                try:
                    yield from look(app)
                except EventCoreError as error:
                    yield Finding(check, ok=False, detail=str(error), action="see the message")
    except EventCoreError as error:
        yield Finding("store", ok=False, detail=str(error), action="see the message")


def _durability(app: App) -> Iterator[Finding]:
    connections = getattr(app.log, "connections", None)
    if connections is None:
        return
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
