"""``eventcore copy``: one log into another, event by event, with the same ids, bytes and order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Final

import typer

from eventcore.cli.options import OPTIONS, open_store
from eventcore.cli.output import answer_no, console, print_json, progress_bar
from eventcore.errors import ConcurrencyConflictError, ConfigurationError
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.settings import parse_store_url
from eventcore.stores.log import Log, StreamAppend
from eventcore.stores.refusals import RefusalStore

BATCH_EVENTS: Final = 1_000
"""Events in one append; a copy that is broken off goes on from a whole one."""


class _DifferentError(Exception):
    """The target holds something else than the source at the same place."""

    def __init__(self, ordinal: int, position: int) -> None:
        super().__init__(f"event number {ordinal} of the target (position {position})")


def copy(
    source: str = typer.Argument(metavar="FROM", help="URL of the log to read."),
    target: str = typer.Argument(metavar="TO", help="URL of the log to write."),
) -> None:
    """Copy a log into another store: same ids, same bytes, same order, same versions.

    What rules refused in imports is copied, too: the same import into the copy decides the same.

    Broken off and repeated, it compares what is there and goes on behind it. A target with other
    events at those places is refused and not touched. Nothing else may write to it meanwhile.
    """
    if source == target:
        raise ConfigurationError(message="FROM and TO name the same store")
    if parse_store_url(source).scheme == "memory":
        raise ConfigurationError(
            message="memory:// holds nothing to copy: a log in memory ends with its process"
        )
    started = time.monotonic()
    with ExitStack() as stack:
        log = _open(stack, source, create=False)
        written = _open(stack, target, create=True)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("copying", total=log.head())
        present = copied = refusals = 0
        try:
            events = log.read()
            present = _compare(events, written.read())
            rest = _after(log, present)
            for batch in _batches(rest):
                _append(written, batch)
                copied += len(batch)
                progress.update(task, completed=batch[-1].position)
            refusals = _copy_refusals(log, written)
        except (_DifferentError, ConcurrencyConflictError) as error:
            answer_no(
                "LogsDiffer",
                f"{target} holds other events than {source}: {error}. Nothing was overwritten",
            )
    _report(copied, present, refusals, time.monotonic() - started)


def _open(stack: ExitStack, url: str, *, create: bool) -> Log:
    from eventcore.settings import Settings  # noqa: PLC0415 - see cli.options

    if not create and "create=" not in url:
        # A typing error in FROM must not make an empty store of that name.
        url += ("&" if "?" in url else "?") + "create=no"
    return stack.enter_context(open_store(Settings.load(store=url, views=None))).log


def _compare(source: Iterator[Recorded[Any]], target: Iterable[Recorded[Any]]) -> int:
    """How many events the target has already; refuses one that is not the source's."""
    count = 0
    for count, there in enumerate(target, start=1):
        ours = next(source, None)
        if ours is None or not _same(ours, there):
            raise _DifferentError(count, there.position)
    return count


def _same(one: Recorded[Any], other: Recorded[Any]) -> bool:
    return (one.stream, one.version, one.type, one.state) == (
        other.stream,
        other.version,
        other.type,
        other.state,
    )


def _after(log: Log, count: int) -> Iterator[Recorded[Any]]:
    return islice(log.read(), count, None)


def _batches(events: Iterator[Recorded[Any]]) -> Iterator[list[Recorded[Any]]]:
    while batch := list(islice(events, BATCH_EVENTS)):
        yield batch


def _append(log: Log, batch: Sequence[Recorded[Any]]) -> None:
    before = log.head()
    appends: list[StreamAppend] = []
    for stream, run in groupby(batch, attrgetter("stream")):
        events = list(run)
        encoded = [_encoded(event) for event in events]
        appends.append(StreamAppend(stream, events[0].version - 1, encoded))
    log.append(appends)
    _check_written(log.read_page(before, len(batch)).events, batch)


def _check_written(written: Sequence[Recorded[Any]], batch: Sequence[Recorded[Any]]) -> None:
    for ordinal, (there, ours) in enumerate(zip(written, batch, strict=True), start=1):
        if not _same(ours, there):
            raise _DifferentError(ordinal, there.position)


def _encoded(event: Recorded[Any]) -> EncodedEvent:
    return EncodedEvent(str(event.event_id), event.type, event.timestamp_text, event.state)


def _copy_refusals(log: Log, written: Log) -> int:
    """Remember in the target what the source remembers; gives how many that are."""
    if not isinstance(log, RefusalStore) or not isinstance(written, RefusalStore):
        return 0
    count = 0
    refusals = log.all_refusals()
    while batch := list(islice(refusals, BATCH_EVENTS)):
        written.remember_refusals(batch)
        count += len(batch)
    return count


def _report(copied: int, present: int, refusals: int, seconds: float) -> None:
    report = {
        "copied": copied,
        "present": present,
        "total": copied + present,
        "refusals": refusals,
        "seconds": round(seconds, 3),
    }
    if OPTIONS.json:
        print_json(report)
        return
    already = f", {present:,} were there" if present else ""
    console.print(
        f"[green]✓[/green] {copied:,} events copied{already} [dim]({seconds:.1f} s)[/dim]"
    )
