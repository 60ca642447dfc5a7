"""Whether a projection's rows stay what they are, whatever happens to it while it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final, NoReturn

from eventcore.errors import StoreError
from eventcore.events.event import DomainEvent
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection, handlers_of
from eventcore.projections.views import Views
from eventcore.stores.log import LogFilter
from eventcore.testing import trials
from eventcore.testing.databases import MemoryStore, NamedStore, SQLiteStore, Store
from eventcore.testing.differences import difference
from eventcore.testing.histories import HappenedEvent, example_history, log_of
from eventcore.testing.other_days import another_day
from eventcore.testing.plain_folds import HandlerFailedError, PlainFold, Rows
from eventcore.testing.trials import EventFailedError, Subject, Trial

EXAMPLES_DEFAULT: Final = 10
"""Histories taken from a strategy: each is tried in all ways, on all stores."""

_HINTS: Final[dict[Trial, str]] = {
    trials.in_pages_of_every_size: "What a handler does depends on which events come together: it "
    "keeps something beside its rows, reads elsewhere, or takes a page for a unit of meaning.",
    trials.with_events_that_come_again: "Something is counted beside the rows.",
    trials.by_two_workers: "What one process keeps beside the rows, the other does not know.",
    trials.by_two_workers_in_shares: "A row is changed by work of several shares, or by something "
    'that is kept beside the rows: with share_by = "stream", each row belongs to one stream.',
    trials.with_a_rebuild_in_the_middle: "Something is kept beside the rows, or written outside of "
    "the transaction, which a rebuild does not make anew.",
    trials.with_rows_dropped_in_the_middle: "Something is kept beside the rows, or written outside "
    "of the transaction, and is still there when the rows are made again.",
    trials.through_failed_writes: "Something changed that was not undone with the transaction: an "
    "attribute, a global, another database.",
    trials.through_crashes: "Something was lost with the process, or kept although the transaction "
    "was not: an attribute, a global, another database.",
}


def assert_projection_survives(
    projection: Callable[[], Projection],
    events: Iterable[HappenedEvent] | Any | None = None,
    *,
    stores: Sequence[str] = ("memory", "sqlite"),
    registry: EventRegistry = default_registry,
    examples: int = EXAMPLES_DEFAULT,
) -> None:
    """Try a projection in every way it may be kept, and compare its rows with a plain fold.

    The rows to expect are made by calling the handlers event by event, without engine, pages or
    database. They are made a second time, as on another day in another process; they are stored and
    read back; and then the projection is kept, on each of the stores, in pages of every size, with
    events that come again, by two workers, with rebuilds in the middle, and through a crash behind
    every statement.

    Of a projection that overrides ``apply_page``, the rows to expect are made by calling that with
    one event at a time, on each store.

    Args:
        projection: Its class, or a function without arguments that makes it: every process of a
            trial makes one of its own.
        events: What happened, in this order: payloads, or ``NewEvent`` s. Or a Hypothesis strategy
            for lists of them. By default a short history of the library's own catalogue.
        stores: ``"memory"``, ``"sqlite"`` (in a temporary folder), or URLs of databases in which
            this projection has no rows, see :func:`eventcore.settings.parse_store_url`.
        registry: Knows the classes of the events.
        examples: Histories that are tried, of a strategy.

    Raises:
        AssertionError: Its rows differ; says in which trial, and shows the first rows that do.
        ConfigurationError: A named database holds rows of the projection; or there is no example of
            an event it has handlers for.
    """
    if events is None:
        events = example_history(_handled(projection))
    check = partial(_check, projection, stores=stores, registry=registry)
    if isinstance(events, Iterable):
        check(list(events))
    else:
        _for_examples_of(events, check, examples)


def _for_examples_of(strategy: Any, check: Callable[..., None], examples: int) -> None:
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 - only who gives one has it

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check_example(history: Any) -> None:
        check(list(history))

    check_example()


def _handled(make: Callable[[], Projection]) -> list[type[DomainEvent]]:
    projection = make()
    if projection.takes_pages():
        return list(projection.listens)
    handlers = [handler for _, handler in handlers_of(type(projection))]
    return list(dict.fromkeys(one for handler in handlers for one in handler.event_types))


def _check(
    make: Callable[[], Projection],
    history: Sequence[HappenedEvent],
    *,
    stores: Sequence[str],
    registry: EventRegistry,
) -> None:
    log = log_of(history, registry)
    projection = make()
    half = log_of(history[: len(history) // 2], registry)
    subject = Subject(make, log, half, registry, tuple(projection.tables))
    expected = None if projection.takes_pages() else _expected(subject)
    with ExitStack() as opened:
        for url in stores:
            store = _store(url, projection, opened)
            wanted = expected if expected is not None else _expected_by_page(subject, store)
            for trial in trials.TRIALS:
                _try(subject, store, trial, expected=wanted)


def _store(url: str, projection: Projection, opened: ExitStack) -> Store:
    if url == "memory":
        return MemoryStore()
    if url == "sqlite":
        return SQLiteStore()
    store = NamedStore(url, projection)
    opened.callback(store.close)
    return store


def _try(subject: Subject, store: Store, trial: Trial, *, expected: Rows) -> None:
    try:
        # Closed at once when rows differ: it holds a database.
        with closing(trial(subject, store)) as left:
            for words, rows in left:
                found = difference(subject.tables, expected, rows)
                if found:
                    _fail(subject, f"{words}, on {store.name}", found, hint=_HINTS[trial])
    except EventFailedError as error:
        where = f"in the trial {trial.__name__} on {store.name}"
        _fail(subject, where, f"  {error}", hint=_HINTS[trial], cause=error)


def _expected(subject: Subject) -> Rows:
    """What the handlers make of the history, if that is one thing and can be stored."""
    expected = _folded(subject)
    with another_day(type(subject.make())):
        again = _folded(subject)
    found = difference(subject.tables, expected, again)
    if found:
        _fail(
            subject,
            "when the same events are folded once more, on another day",
            found,
            hint="A handler, or the key of a row, depends on more than the row and the event: a "
            "clock, randomness, hash(), an attribute, a global, or something read elsewhere.",
        )
    found = difference(subject.tables, expected, _stored(subject, expected))
    if found:
        _fail(
            subject,
            "when they are stored and read back",
            found,
            hint="Give the row the value that comes back, e.g. a list instead of a tuple.",
        )
    return expected


def _folded(subject: Subject) -> Rows:
    events = subject.log.read_page(0, max(1, subject.log.head()), LogFilter()).events
    try:
        return PlainFold(subject.make(), subject.registry).apply(events)
    except HandlerFailedError as error:
        _fail(subject, "because a handler failed", f"  {error}", hint="", cause=error.__cause__)


def _stored(subject: Subject, rows: Rows) -> Rows:
    found: Rows = {}
    for table in subject.tables:
        try:
            stored = table.decode(table.encode(list(rows[table.name].values())))
        except StoreError as error:
            _fail(subject, "because a row cannot be stored", f"  {error}", hint="", cause=error)
        found[table.name] = {table.key_of(row): row for row in stored}
    return found


def _expected_by_page(subject: Subject, store: Store) -> Rows:
    """What ``apply_page`` makes of the history if it is given one event at a time."""
    projection = subject.make()
    plan = Plan(projection, subject.registry)
    with store.empty() as database:
        views = database.open()
        views.ensure(projection)
        for event in subject.log.read_page(0, max(1, subject.log.head()), LogFilter()).events:
            if plan.steps_for(event.type):
                _apply_one(subject, projection, views, event=event)
        return subject.rows(views)


def _apply_one(subject: Subject, projection: Projection, views: Views, *, event: Any) -> None:
    try:
        with views.transaction() as transaction:
            projection.apply_page([event], transaction)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        _fail(
            subject,
            "because apply_page failed",
            f"  on event {event.position}, {event.type}: {type(error).__name__}: {error}",
            hint="If it wants SQL, name the stores that have it, e.g. stores=['sqlite'].",
            cause=error,
        )


def _fail(
    subject: Subject, where: str, what: str, *, hint: str, cause: BaseException | None = None
) -> NoReturn:
    name = subject.make().name
    lines = [f"The rows of projection {name} are not what they ought to be {where}:", what, hint]
    raise AssertionError("\n".join(line for line in lines if line)) from cause
