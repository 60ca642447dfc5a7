"""``eventcore processes``: run process managers, look at them, make their rows anew."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

from eventcore.cli.importing import PROCESSES, processes_with
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import EXIT_NO, console, errors, print_json, print_records
from eventcore.cli.services import Stopping, serve
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.processes.process import ProcessManager
    from eventcore.processes.runner import Handled
    from eventcore.projections.retrying import Retried

program = typer.Typer(help="Run process managers: events in, commands out.")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")

_Names = typer.Argument(None, metavar="[NAME]...", help="Which; those of --import by default.")
_Name = typer.Argument(metavar="NAME", help="Which; see `processes status`.")
_Within = typer.Option(
    None,
    "--within",
    metavar="NAME=TIME",
    help="How long a built-in one waits: payment_not_received=48h (s, m, h, d). May be repeated.",
)
_Once = typer.Option(False, "--once", help="Until nothing is left to do now, then end.")
_Limit = typer.Option(None, "--limit", metavar="N", help="At most so many.")

_Key = typer.Option(None, "--key", metavar="K", help="Of which instance; all by default.")
_SkipKey = typer.Option(..., "--key", metavar="K", help="Of which instance.")
_Reason = typer.Option(..., "--reason", metavar="TEXT", help="Why; kept.")

_PARKED: Final = (*("key", "position", "eventType", "events", "attempts", "error", "message"),)
_STATUS: Final = (
    *("process", "position", "head", "instances", "outbox", "timers"),
    *("nextDue", "refused", "parked"),
)
_REFUSALS: Final = ("position", "number", "command", "stream", "reason", "notedAt")


@program.command(epilog=EPILOG)
def run(
    names: list[str] | None = _Names,
    *,
    once: bool = _Once,
    within: list[str] | None = _Within,
) -> None:
    """Fold events, send commands, record what comes due, for ever."""
    chosen = _chosen(names, within)
    if once:
        with OPTIONS.open() as app:
            _print_handled(app.process_runner(chosen).run_to_rest())
        return

    def work(stop: Stopping) -> None:
        with OPTIONS.open() as app:
            app.process_runner(chosen).follow(stop)

    serve(work)


def _print_handled(handled: Handled) -> None:
    if OPTIONS.json:
        print_json(
            {
                "events": handled.events,
                "commands": handled.commands,
                "refused": handled.refused,
                "timedOut": handled.timed_out,
                "waiting": handled.waiting,
            }
        )
        return
    console.print(
        f"[green]✓[/green] {handled.events:,} events, {handled.commands:,} commands sent, "
        f"{handled.refused:,} refused, {handled.timed_out:,} timers came due"
    )
    if handled.waiting:
        errors.print(f"[yellow]The commands of {handled.waiting:,} events wait[/yellow]")


@program.command(epilog=EPILOG)
def status() -> None:
    """Print how each process manager is: the built-in ones and those of --import."""
    with OPTIONS.open() as app:
        records = [
            {
                "process": found.process,
                "position": found.position,
                "head": found.head,
                "instances": found.instances,
                "outbox": found.outbox,
                "timers": found.timers,
                "nextDue": found.next_due,
                "refused": found.refused,
                "parked": found.parked,
            }
            for found in app.process_runner(_known().values()).status()
        ]
    print_records(records, _STATUS, title="processes", limit=len(records))


@program.command(epilog=EPILOG)
def refused(name: str = _Name, *, limit: int | None = _Limit) -> None:
    """Print the commands of a process manager that were refused, and why."""
    with OPTIONS.open() as app:
        rows = app.process_runner([_named(name)]).refusals(name, limit)
    records: list[dict[str, Any]] = [
        {
            "position": row.position,
            "number": row.number,
            "command": row.command,
            "stream": row.stream,
            "reason": row.reason,
            "notedAt": row.noted_at,
        }
        for row in rows
    ]
    print_records(records, _REFUSALS, title=f"refused commands of {name}", limit=limit)


@program.command(epilog=EPILOG)
def parked(name: str = _Name) -> None:
    """Print the instances whose events wait since a handler failed, and why."""
    with OPTIONS.open() as app:
        found = app.process_runner([_named(name)]).parked(name)
    records: list[dict[str, Any]] = [
        {
            "key": one.key_text,
            "position": one.position,
            "eventType": one.event_type,
            "events": one.events,
            "attempts": one.attempts,
            "error": one.error,
            "message": one.message,
        }
        for one in found
    ]
    print_records(records, _PARKED, title=f"parked instances of {name}", limit=len(records))


@program.command(epilog=EPILOG)
def retry(name: str = _Name, *, key: str | None = _Key) -> None:
    """Handle what is parked, in order, as far as that can be done now; exit 1 if some stays."""
    with OPTIONS.open() as app:
        done = app.process_runner([_named(name)]).retry(name, key)
    _print_retried(name, done)


@program.command(epilog=EPILOG)
def skip(name: str = _Name, *, key: str = _SkipKey, reason: str = _Reason) -> None:
    """Decide that the first event parked for an instance is not handled; retry what follows."""
    with OPTIONS.open() as app:
        done = app.process_runner([_named(name)]).skip(name, key, reason=reason)
    _print_retried(name, done)


def _print_retried(name: str, done: Retried) -> None:
    if OPTIONS.json:
        print_json({"process": name, **done._asdict()})
    else:
        console.print(
            f"{name}: {done.events:,} events handled, {done.skipped:,} skipped, "
            f"{done.parked:,} keys wait still"
        )
    if done.parked:
        raise typer.Exit(EXIT_NO)


@program.command(epilog=EPILOG)
def rebuild(name: str = _Name, *, within: list[str] | None = _Within) -> None:
    """Make the rows of a process manager again from the log. No command is sent again."""
    chosen = _chosen([name], within)
    with OPTIONS.open() as app:
        handled = app.process_runner(chosen).rebuild(name)
    if OPTIONS.json:
        print_json({"process": name, "events": handled.events})
    else:
        console.print(f"[green]✓[/green] {name}: {handled.events:,} events, nothing sent")


def _known(within: dict[str, timedelta] | None = None) -> dict[str, ProcessManager]:
    """The built-in process managers and those of ``--import``, by name."""
    from eventcore.processes.carts import CartAbandoned  # noqa: PLC0415 - help needs none
    from eventcore.processes.payments import PaymentNotReceived  # noqa: PLC0415 - likewise

    times = within or {}
    built_in = [
        cls(times[cls.name]) if cls.name in times else cls()
        for cls in (PaymentNotReceived, CartAbandoned)
    ]
    if unknown := sorted(times.keys() - {one.name for one in built_in}):
        names = ", ".join(one.name for one in built_in)
        raise ConfigurationError(message=f"--within {unknown[0]}: only for {names}")
    found: dict[str, ProcessManager] = {one.name: one for one in built_in}
    return found | {one.name: one for one in processes_with(OPTIONS.modules)}


def _chosen(names: list[str] | None, within: list[str] | None) -> list[ProcessManager]:
    known = _known(dict(map(_waiting_time, within or ())))
    if names:
        return [_pick(known, name) for name in dict.fromkeys(names)]
    imported = [one.name for one in processes_with(OPTIONS.modules)]
    if not imported:
        # A built-in one sends commands: nobody gets that without asking.
        raise ConfigurationError(
            message=f"Name the process managers to run: {', '.join(known)}; "
            f"or --import a module that lists its own in {PROCESSES}"
        )
    return [known[name] for name in imported]


def _named(name: str) -> ProcessManager:
    return _pick(_known(), name)


def _pick(known: dict[str, ProcessManager], name: str) -> ProcessManager:
    if name not in known:
        raise ConfigurationError(
            message=f"There is no process manager {name!r}, only {', '.join(known)}"
        )
    return known[name]


def _waiting_time(option: str) -> tuple[str, timedelta]:
    name, _, text = option.partition("=")
    found = _DURATION.fullmatch(text)
    if not found:
        raise ConfigurationError(
            message=f"--within is NAME=TIME, such as payment_not_received=48h, not {option!r}"
        )
    return name, timedelta(**{_UNITS[found[2]]: int(found[1])})
