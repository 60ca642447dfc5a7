"""``eventcore archive``: the log into Parquet files, and, if asked for, out of the store."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

from eventcore.cli.importing import import_own
from eventcore.cli.options import OPTIONS, open_store
from eventcore.cli.output import console, print_json, progress_bar
from eventcore.errors import ConfigurationError
from eventcore.settings import without_creating

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.lake.archiving import ArchiveReport
    from eventcore.lake.reading import Archive
    from eventcore.lake.retention import TrimReport

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_AGE: Final = re.compile(r"([0-9]{1,6})([dhms])")


def archive(
    *,
    to: str | None = typer.Option(
        None, metavar="FOLDER|s3://…", help="Where the archive is; else --archive."
    ),
    shards: int | None = typer.Option(
        None, min=1, help="Parts that can be replayed at the same time; the first run decides."
    ),
    min_events: int = typer.Option(
        1,
        min=1,
        help="Leave fewer than that for a later run: against many small files.",
    ),
    verify: bool = typer.Option(
        False, "--verify", help="Check the SHA-256 of every file of the archive."
    ),
    then_trim: bool = typer.Option(
        False, "--then-trim", help="Then remove from the log what is covered; see --older-than."
    ),
    older_than: str | None = typer.Option(
        None, metavar="AGE", help="With --then-trim: only what happened so long ago, e.g. 90d."
    ),
    save_states: bool = typer.Option(
        False,
        "--save-states",
        help="With --then-trim: save the state of each aggregate whose old events could go then.",
    ),
) -> None:
    """Archive what the log has and the archive has not, as Parquet; then perhaps trim the log.

    Killed at any moment and repeated, it goes on. What is trimmed is in files whose SHA-256 was
    just checked, and is behind a saved state of its aggregate, or in a stream that has none.
    """
    if then_trim != (older_than is not None):
        raise ConfigurationError(message="--then-trim and --older-than AGE belong together")
    if save_states and not then_trim:
        raise ConfigurationError(message="--save-states is for --then-trim")
    age = None if older_than is None else _age(older_than)
    place = to or OPTIONS.settings().archive
    if place is None:
        raise ConfigurationError(message="Say where the archive is: --to FOLDER or --to s3://…")
    started = time.monotonic()
    # Families are theirs to say, and which streams are aggregates decides what may go.
    import_own(OPTIONS.modules)
    # The log itself: an archive is never made from what it holds already.
    settings = OPTIONS.settings()
    settings = replace(settings, store=without_creating(settings.store), archive=None)
    with open_store(settings) as app:
        found, report = _archive(app, place, shards, min_events)
        verified = found.verify() if verify else None
        before = None if age is None else _before(app.now(), age)
        trimmed = None if before is None else _trim(app, found, before, save_states)
    seconds = time.monotonic() - started
    _print(report, trimmed, verified, seconds, is_saving=save_states)


def _archive(
    app: App, place: str, shards: int | None, min_events: int
) -> tuple[Archive, ArchiveReport]:
    from eventcore.lake.archiving import Archiver, SegmentLimits  # noqa: PLC0415 - only this command
    from eventcore.lake.reading import open_archive  # noqa: PLC0415 - likewise

    found = open_archive(place)
    archiver = Archiver(found, shards=shards, limits=SegmentLimits(events_min=min_events))
    with progress_bar() as progress:
        task = progress.add_task("archiving", total=app.log.head(), completed=found.until)
        report = archiver.run(
            app.log, on_segment=lambda made: progress.update(task, completed=made.until)
        )
    return found, report


def _trim(app: App, found: Archive, before: datetime, save_states: bool) -> TrimReport:
    from eventcore.lake.retention import Retention  # noqa: PLC0415 - only with --then-trim

    with progress_bar() as progress:
        task = progress.add_task("trimming", total=found.until)
        save = app.save_snapshot if save_states else None
        return Retention(found, app.log, save=save).trim(
            before=before, on_batch=lambda position: progress.update(task, completed=position)
        )


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise ConfigurationError(message=f"--older-than {text!r} is no age such as 90d, 12h or 0s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _before(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError as error:
        raise ConfigurationError(message="--older-than reaches before year 1") from error


def _print(
    report: ArchiveReport,
    trimmed: TrimReport | None,
    verified: int | None,
    seconds: float,
    *,
    is_saving: bool,
) -> None:
    record: dict[str, Any] = {**report._asdict(), "seconds": round(seconds, 3)}
    if verified is not None:
        record["verified"] = verified
    if trimmed is not None:
        record |= {"trimmed": trimmed.trimmed, "kept": trimmed.kept}
    if OPTIONS.json:
        print_json(record)
        return
    size = f", {report.bytes / report.events:,.0f} bytes each" if report.events else ""
    console.print(
        f"[green]✓[/green] {report.events:,} events archived in {report.files:,} files{size}; "
        f"up to position {report.until:,} [dim]({seconds:.1f} s)[/dim]"
    )
    if verified is not None:
        console.print(f"[green]✓[/green] {verified:,} events are as their manifests say")
    if trimmed is not None:
        kept = ", ".join(f"{count:,} {reason}" for reason, count in sorted(trimmed.kept.items()))
        console.print(
            f"[green]✓[/green] {trimmed.trimmed:,} events left the log; kept: {kept or 'none'}"
        )
        if trimmed.kept.get("no-snapshot") and not is_saving:
            console.print(
                "  no-snapshot: aggregates without a saved state; --save-states saves one"
            )
