"""``eventcore verify``: is the log as it was, and if not, which event is the first that is not?"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import answer_no, console, print_json, print_note, progress_bar
from eventcore.cli.sealing import open_only_log
from eventcore.errors import ArchiveDamagedError, ConfigurationError, SchemaMismatchError

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.projections.views import Views
    from eventcore.seals.checks import Checks
    from eventcore.seals.findings import Verdict
    from eventcore.seals.sources import Source

_Seals = typer.Option(
    None, "--seals", metavar="FILE", help="What eventcore seal wrote; a folder is fine."
)
_PublicKey = typer.Option(
    None, "--public-key", metavar="FILE", help="Each seal has to be signed by its private key."
)
_Anchor = typer.Option(
    None, "--anchor", metavar="DIGEST", help="A seal that has to be in the file: you noted it."
)
_Quick = typer.Option(
    False, "--quick", help="Events in order only: not by stream and by id, no tables of the store."
)
_Stream = typer.Option(
    None, "--stream", metavar="NAME", help="One stream alone, e.g. order-536365: takes a moment."
)
_Views = typer.Option(
    False, "--views", help="The rows of read models, too: each is made again and compared."
)


def verify(
    *,
    seals: Path | None = _Seals,
    public_key: Path | None = _PublicKey,
    anchor: str | None = _Anchor,
    quick: bool = _Quick,
    stream: str | None = _Stream,
    views: bool = _Views,
) -> None:
    """Name the first event that was altered, is missing, re-ordered or doubled; else exit with 0.

    Without --seals only what a log says of itself is checked: its order, the versions of its
    streams, its indexes. Nothing is written. --views (or --views URL) looks at read models, too.
    With --archive the archive is verified first, and then the log together with it.
    """
    checks = checks_of(seals, public_key, anchor, indexes=not quick)
    if stream is not None:
        _verify_stream(stream, checks)
        return
    if OPTIONS.settings().archive is not None:
        _verify_archive(checks)
    log = open_only_log()
    try:
        verdict, seconds = watched(log, checks)
    finally:
        log.close()
    report(verdict, seconds, OPTIONS.settings().store)
    if views or OPTIONS.views is not None:
        with OPTIONS.open(create=False) as app:
            report_read_models(app)


def _verify_stream(stream: str, checks: Checks) -> None:
    from eventcore.seals.streams import verify_stream  # noqa: PLC0415 - help verifies nothing

    started = time.monotonic()
    with closing(open_only_log()) as log:
        verdict = verify_stream(log, stream, checks)
    if not verdict.events and verdict.ok:
        answer_no("NotFound", f"{OPTIONS.settings().store} has no stream {stream}")
    report(verdict, time.monotonic() - started, OPTIONS.settings().store, what_of="stream")


def _verify_archive(checks: Checks) -> None:
    from eventcore.cli.verifying_archives import verify_archive  # noqa: PLC0415 - needs an extra
    from eventcore.lake.reading import open_archive  # noqa: PLC0415 - likewise
    from eventcore.stores.trimming import TrimmableLog  # noqa: PLC0415 - help verifies nothing

    started = time.monotonic()
    url = OPTIONS.settings().archive or ""
    try:
        archive = open_archive(url)
    except ArchiveDamagedError as error:
        answer_no("ArchiveAltered", str(error))
    with closing(open_only_log(with_archive=False)) as log:
        trimmed = log.trim_record() if isinstance(log, TrimmableLog) else None
        after = 0 if trimmed is None else trimmed.until
        of_archive = replace(checks, is_backup=True, indexes=False)
        verdict = verify_archive(archive, of_archive, log, after)
    report(verdict, time.monotonic() - started, f"archive {url}", kind="ArchiveAltered")


def checks_of(
    seals: Path | None, public_key: Path | None, anchor: str | None, *, indexes: bool
) -> Checks:
    """What is to be checked.

    Raises:
        ConfigurationError: A key or an anchor without seals.
    """
    from eventcore.seals.checks import Checks  # noqa: PLC0415 - likewise
    from eventcore.seals.files import SealFile  # noqa: PLC0415 - help verifies nothing
    from eventcore.seals.keys import read_checking_key  # noqa: PLC0415 - likewise

    if seals is None and (public_key is not None or anchor is not None):
        raise ConfigurationError(
            message="--public-key and --anchor are about seals: name their file with --seals FILE"
        )
    return Checks(
        seals=None if seals is None else SealFile(seals),
        key=None if public_key is None else read_checking_key(public_key),
        anchor=anchor,
        indexes=indexes,
    )


def watched(source: Source, checks: Checks) -> tuple[Verdict, float]:
    """Verify, with a progress bar for whoever watches; the verdict and how long it took."""
    from eventcore.seals.verifying import verify_log  # noqa: PLC0415 - help verifies nothing

    started = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("verifying", total=None)
        verdict = verify_log(
            source,
            checks,
            on_progress=lambda at, head: progress.update(task, completed=at, total=head),
        )
    return verdict, time.monotonic() - started


def report_read_models(app: App, *, replay_absent: bool = False) -> None:
    """Compare the read models of an application, and print what came of it; 1 if one differs."""
    from eventcore.seals.read_models import verify_read_models  # noqa: PLC0415 - only if asked

    started = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("replaying", total=None)
        verdict = verify_read_models(
            app.log,
            _views_of(app, needed=not replay_absent),
            app.projections,
            now=app.now(),
            registry=app.log.codec.registry,
            replay_absent=replay_absent,
            on_replayed=lambda name, at, end: progress.update(
                task, description=f"replaying {name}", completed=at, total=end
            ),
        )
    seconds = time.monotonic() - started
    finding = verdict.finding
    if OPTIONS.json:
        found = None if finding is None else finding._asdict()
        print_json(verdict._asdict() | {"finding": found, "seconds": round(seconds, 3)})
    elif finding is None:
        console.print(
            f"[green]✓[/green] {verdict.rows:,} rows of {len(verdict.projections)} read models are "
            f"what the log makes [dim]({seconds:.1f} s)[/dim]"
        )
        if verdict.absent:
            how = "not kept here, and replayed" if replay_absent else "not kept here"
            print_note(f"{how}: {', '.join(verdict.absent)}")
    if finding is not None:
        answer_no("ReadModelsAltered", finding.in_words())


def _views_of(app: App, *, needed: bool) -> Views | None:
    try:
        return app.views
    except SchemaMismatchError:
        if needed:
            raise
        return None  # a backup of the log alone


def report(
    verdict: Verdict,
    seconds: float,
    what: str,
    *,
    kind: str = "LogAltered",
    what_of: str = "log",
) -> None:
    """Print a verdict; ends the command with 1 if something was found."""
    finding = verdict.finding
    if OPTIONS.json:
        record = verdict._asdict() | {
            "finding": None if finding is None else finding._asdict(),
            "seconds": round(seconds, 3),
        }
        print_json(record)
    elif finding is None:
        console.print(
            f"[green]✓[/green] {verdict.events:,} events are in order (streams: "
            f"{verdict.streams:,}), {verdict.sealed:,} of them as they were sealed "
            f"[dim]({seconds:.1f} s)[/dim]"
        )
        console.print(f"[dim]digest of the {what_of} {verdict.log}[/dim]", soft_wrap=True)
        if verdict.unsealed:
            print_note(f"{verdict.unsealed:,} events are not sealed: nothing says how they were")
    if finding is not None:
        answer_no(kind, f"{what}: {finding.in_words()} ({finding.kind})")
