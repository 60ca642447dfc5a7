"""``eventcore projections run``: one process that follows, or several that do so between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from eventcore.cli.logs import LogForm
from eventcore.cli.options import OPTIONS
from eventcore.cli.output import console, errors, print_json
from eventcore.cli.services import Stopping, ends_with_its_input, serve
from eventcore.cli.supervising import TERMINATE_SECONDS, supervise
from eventcore.errors import StoreError

if TYPE_CHECKING:
    from rich.text import Text

    from eventcore.app import App
    from eventcore.projections.following import OnPage
    from eventcore.projections.runner import ProjectionRunner
    from eventcore.projections.workers import WorkerOptions
    from eventcore.stores.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """What a service is to do.

    Attributes:
        names: Which projections; None: all.
        workers: How many processes; None: this one alone keeps all of everything.
        lease_seconds: See :class:`~eventcore.projections.workers.WorkerOptions`.
        shares: Likewise.
        log: In which form to log; None: warnings only.
    """

    names: list[str] | None
    workers: int | None
    lease_seconds: float
    shares: int
    log: LogForm | None


class Pages:
    """Counts what a runner does, for whoever watches; an ``on_page`` of a runner."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.events = 0
        self.position = 0
        self.started = time.monotonic()
        self.watcher: OnPage | None = None

    def __call__(self, applied: int, position: int) -> None:
        """Count a page."""
        self.events += applied
        self.position = position
        if self.watcher is not None:
            self.watcher(applied, position)

    def restart(self) -> None:
        """Count from nothing."""
        self.events = self.position = 0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it counts."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / max(self.seconds, 1e-9)


def follow(options: FollowOptions, *, as_worker: bool) -> None:
    """Follow until told to end; see :func:`eventcore.cli.services.serve`.

    Args:
        options: What to do.
        as_worker: This process is one of a supervisor's: it ends when its standard input does.
    """
    if options.workers is None or options.workers == 1:
        serve(lambda stop: _work(options, stop, as_worker=as_worker))
        return
    codes: list[int] = []
    serve(
        lambda stop: codes.append(supervise(_arguments(options), options.workers or 1, stop)),
        stop_seconds=2 * TERMINATE_SECONDS,
    )
    if codes and codes[0]:
        raise typer.Exit(codes[0])


def _worker_options(options: FollowOptions, app: App) -> WorkerOptions | None:
    from eventcore.projections.workers import WorkerOptions  # noqa: PLC0415 - help follows nothing

    if options.workers is None:
        return None
    return WorkerOptions(now=app.now, lease_seconds=options.lease_seconds, shares=options.shares)


def _arguments(options: FollowOptions) -> list[str]:
    """What a worker's process is called with; the rest is in its environment."""
    arguments = ["projections", "run", "--as-worker", "--workers", "1"]
    arguments += ["--lease", str(options.lease_seconds), "--shares", str(options.shares)]
    arguments += ["--log", options.log.value] if options.log is not None else []
    arguments += ["--json"] if OPTIONS.json else []
    return [*arguments, "--", *(options.names or ())]


def _work(options: FollowOptions, stop: Stopping, *, as_worker: bool) -> None:
    from eventcore.projections.backoff import while_unavailable  # noqa: PLC0415 - see above

    if as_worker:
        ends_with_its_input(stop)

    def open_and_follow() -> None:
        with OPTIONS.open() as app:
            _follow(app, options, stop)

    while_unavailable(open_and_follow, stop)


def _follow(app: App, options: FollowOptions, stop: Stopping) -> None:
    worker = _worker_options(options, app)
    pages = Pages(app.log)
    runner = app.runner(options.names, on_page=pages)
    if OPTIONS.json:
        pages.watcher = _print_page
        runner.follow(stop, worker=worker)
    elif OPTIONS.interactive and options.log is None:
        _follow_live(runner, pages, lambda: runner.follow(stop, worker=worker))
    else:
        runner.follow(stop, worker=worker)


def _print_page(applied: int, position: int) -> None:
    print_json({"events": applied, "position": position})
    console.file.flush()


def _follow_live(runner: ProjectionRunner, pages: Pages, follow: Callable[[], None]) -> None:
    from rich.live import Live  # noqa: PLC0415 - only a person who watches needs it

    pages.position = min((found.position for found in runner.status()), default=0)
    with Live(
        get_renderable=lambda: _status_line(pages),
        console=errors,
        refresh_per_second=4,
        transient=True,
    ):
        follow()


def _status_line(pages: Pages) -> Text:
    from rich.text import Text  # noqa: PLC0415 - see above

    try:
        head = pages.log.head()
    except StoreError:
        return Text.assemble(("● ", "red"), ("waiting for a database", "bold"))
    lag = max(0, head - pages.position)
    return Text.assemble(
        ("● ", "green" if lag == 0 else "yellow"),
        ("following  ", "bold"),
        f"position {pages.position:,}  head {head:,}  ",
        (f"lag {lag:,}", "dim" if lag == 0 else "yellow"),
        f"  applied {pages.events:,}  ",
        ("Ctrl-C ends", "dim"),
    )
