"""A world in which writers and followers of a DynamoDB log run one step at a time, as a seed says.

A step is one call to the model of the service. Which of the actors takes the next one, whether its
call is done, done late, done twice, done without an answer or not at all, when an actor dies, and
how fast time goes: all that follows from the seed. Nothing here knows the protocol: at the end the
table and what the actors saw are held against the promises.

Several actors may be threads of one process, which share its log and die together. With small sizes
a segment of the log has three positions and the index of ids five events at a time, so that
what happens at the borders happens all the time.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from math import ceil, inf
from typing import Any, NoReturn
from unittest.mock import patch

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    StoreUnavailableError,
    TrimmedHistoryError,
)
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.stores.dynamodb import (
    ahead,
    appending,
    chain,
    ids,
    layout,
    limits,
    requests,
    tables,
    trimming,
)
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    ConditionFailedError,
    DynamoDBCalls,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, EVERYTHING, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables
from tests.property.stores.dynamodb_promises import (
    Seen,
    Told,
    Violation,
    check_table,
    check_told,
)

TABLE = "log-table"
ARCHIVE = "s3://bucket/lake"
FENCE_SECONDS = 0.5
STEPS_MAX = 20_000
TRIES_MAX = 4
FAULTS = 0.12
CRASHES = 0.01
JUMPS = 0.06

Program = Callable[["Actor"], None]
Mutate = Callable[[DynamoDBLog], None]
Rewrite = Callable[[str, Mapping[str, Any]], list[tuple[str, Mapping[str, Any]]]]


class ActorDiedError(BaseException):
    """The process is gone: nothing in it may handle this."""


SMALL_SIZES = {
    "SEGMENT_POSITIONS": 3,
    "CELL_EVENTS_MAX": 3,
    "STREAM_ITEM_EVENTS_MAX": 2,
    "TAIL_EVENTS_MAX": 5,
    "REWRITTEN_ITEMS_MAX": 4,
}
"""Of what the log is made of, in place of its own."""

_SIZED = (ahead, appending, chain, ids, layout, limits, requests, tables, trimming)


@contextlib.contextmanager
def small_sizes() -> Iterator[None]:
    """Let logs be made of small parts."""
    with contextlib.ExitStack() as stack:
        for module in _SIZED:
            for name, size in SMALL_SIZES.items():
                if hasattr(module, name):
                    stack.enter_context(patch.object(module, name, size))
        yield


class TurnLock:
    """A lock that is waited for by letting others take their turns."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_held = False

    def acquire(self, *, blocking: bool = True) -> bool:
        while self._is_held:
            if not blocking:
                return False
            self._world.current.pause(0.001)
        self._is_held = True
        return True

    def release(self) -> None:
        self._is_held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class TakenTurn:
    """What a thread waits for by letting others take their turns."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def wait(self, seconds: float = -1) -> None:
        until = self._world.now + seconds if seconds >= 0 else inf
        while not self._is_set and self._world.now < until:
            self._world.current.pause(0.001)


class Process:
    """What threads of one process share.

    Attributes:
        log: Opened by the first of them.
        is_dead: It was killed: none of its threads does anything any more.
        offered: Events that one of its threads is storing; another may try to, elsewhere.
    """

    def __init__(self) -> None:
        self.log: DynamoDBLog | None = None
        self.is_dead = False
        self.offered: list[EncodedEvent] = []


class SerialThreads:
    """In place of the threads that read several streams, or ahead: the scheduler knows them not."""

    map = staticmethod(map)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*arguments))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done

    def shutdown(self, **_options: bool) -> None:
        pass


class Actor:
    """A thread that runs only when the world lets it; of a process of its own if none is given."""

    def __init__(
        self, world: World, program: Callable[[Actor], None], process: Process | None = None
    ) -> None:
        self.world = world
        self.process = process or Process()
        self.wakes_at = 0.0
        self.is_done = False
        self.error: BaseException | None = None
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(program,), daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Let it go on to its next step."""
        self._turn.release()
        self._back.acquire()

    def pause(self, seconds: float = 0.0) -> None:
        """Wait for the world; called by the actor itself."""
        self.wakes_at = self.world.now + seconds
        self._back.release()
        self._turn.acquire()
        if self.process.is_dead:
            raise ActorDiedError

    def die(self) -> NoReturn:
        """End the process, with all its threads."""
        self.process.is_dead = True
        raise ActorDiedError

    def open_log(self) -> DynamoDBLog:
        """A log of its own, as a process that begins has one."""
        world = self.world
        calls = DynamoDBCalls(
            FaultyTransport(world),
            clock=lambda: world.now,
            sleep=lambda seconds: world.current.pause(seconds),  # noqa: PLW0108 - of each moment
            retry_seconds=self.world.chance.choice((0.0, 0.05, 1.0)),
        )
        log = DynamoDBLog(calls, TABLE, fence_seconds=FENCE_SECONDS)
        log._streams.__dict__["_threads"] = SerialThreads()
        log._chain._ahead.__dict__["_threads"] = SerialThreads()
        log._ids._index_lock = TurnLock(world)  # type: ignore[assignment]
        log._writing._sends_max = self.world.chance.choice((1, 2, 6))
        if self.world.mutate is not None:
            self.world.mutate(log)
        return log

    def _run(self, program: Callable[[Actor], None]) -> None:
        self._turn.acquire()
        try:
            program(self)
        except ActorDiedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the world
            self.error = error
        self.is_done = True
        self._back.release()


class FaultyTransport:
    """A process's way to the service, on which calls get lost, late or doubled."""

    def __init__(self, world: World) -> None:
        self._world = world

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        world = self._world
        answer: dict[str, Any] = {}
        for step in world.rewrite(operation, parameters):
            world.current.pause()
            answer = self._call(*step)
        return answer

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        world, chance = self._world, self._world.chance
        if chance.random() < world.crashes:
            if chance.random() < 0.5:
                world.deliver_later(operation, parameters)
            world.current.die()
        if chance.random() >= world.faults:
            return world.tables.call(operation, parameters)
        fate = chance.choice(("lost", "dropped", "late", "twice", "busy"))
        if fate == "busy":
            raise CallFailedError("ThrottlingException", "injected", kind="throttled")
        if fate == "twice":
            world.deliver_later(operation, parameters)
            return world.tables.call(operation, parameters)
        if fate == "lost":
            world.deliver(operation, parameters)
        if fate == "late":
            world.deliver_later(operation, parameters)
        raise CallFailedError("ReadTimeoutError", "injected", kind="unknown")

    def close(self) -> None:
        pass


class World:
    """Runs actors step by step.

    Args:
        seed: Decides everything.
        mutate: Plants a bug in each log that is opened.
        rewrite: Plants one in what is sent.
    """

    def __init__(
        self,
        seed: int,
        *,
        mutate: Mutate | None = None,
        rewrite: Rewrite | None = None,
        faults: float = FAULTS,
        crashes: float = CRASHES,
    ) -> None:
        random.seed(seed)  # the pauses of the code under test
        self.chance = random.Random(seed)
        # Ten minutes after it was sent, a transaction's token no longer keeps it from being done.
        self.tables = ModelTables(are_tokens_kept=seed % 2 == 0, stale=self.chance)
        self.current: Actor
        self.now = 0.0
        self.mutate = mutate
        self.rewrite: Rewrite = rewrite or (lambda operation, given: [(operation, given)])
        self.faults = 0.0
        self.crashes = 0.0
        self.told = Told()
        self.followed: list[list[Seen]] = []
        self.archive: dict[int, Recorded[Any]] = {}
        self.trimmed = 0
        self.are_writing = 0
        self._late: list[tuple[str, Mapping[str, Any]]] = []
        self._actors: list[Actor] = []
        # The table is made before anything goes wrong.
        self.run([(lambda actor: actor.open_log().close(), None)])
        self.faults, self.crashes = faults, crashes

    def run(self, programs: Sequence[tuple[Program, Process | None]]) -> None:
        """Run these, each in its process, until all have ended."""
        self._actors = [Actor(self, program, process) for program, process in programs]
        with contextlib.ExitStack() as stack:
            for module in (appending, requests):
                stack.enter_context(patch.object(module, "Turn", lambda: TakenTurn(self)))
            self._run_actors()

    def _run_actors(self) -> None:
        for _ in range(STEPS_MAX):
            living = [actor for actor in self._actors if not actor.is_done]
            if not living:
                return
            self._step(living)
        raise Violation("I9: it does not come to an end")

    def _step(self, living: Sequence[Actor]) -> None:
        if self._late and self.chance.random() < 0.05:
            self.deliver(*self._late.pop(self.chance.randrange(len(self._late))))
        if self.chance.random() < JUMPS:
            self.now += self.chance.choice((0.1, FENCE_SECONDS, 4 * FENCE_SECONDS))
        ready = [actor for actor in living if actor.wakes_at <= self.now]
        if not ready:
            self.now = min(actor.wakes_at for actor in living)
            return
        actor = self.current = self.chance.choice(ready)
        actor.resume()
        if actor.error is not None:
            raise Violation(f"an actor failed: {actor.error!r}") from actor.error

    def deliver(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """Do what was asked for, with nobody there to hear the answer."""
        with contextlib.suppress(ConditionFailedError, TransactionCanceledError, CallFailedError):
            self.tables.call(operation, parameters)

    def deliver_later(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """Do it some time, or never."""
        if operation not in {"Query", "GetItem", "BatchGetItem", "DescribeTable"}:
            self._late.append((operation, parameters))

    def deliver_the_rest(self) -> None:
        """What was on its way arrives, now that nobody expects it."""
        self.chance.shuffle(self._late)
        while self._late:
            self.deliver(*self._late.pop())

    def contents(self) -> list[Seen]:
        """The log as a new reader sees it when nothing goes wrong."""
        self.faults = self.crashes = 0.0
        seen: list[Seen] = []

        def read(actor: Actor) -> None:
            log = actor.open_log()
            while events := self.page(log, seen[-1][0] if seen else 0, 7):
                seen.extend(_seen(event) for event in events)

        self.run([(read, None)])
        return seen

    def page(
        self, log: DynamoDBLog, after: int, limit: int, *, waits: bool = True
    ) -> list[Recorded[Any]]:
        """What comes behind a position, from the archive if it was trimmed from the log."""
        try:
            return log._page(after, limit, EVERYTHING, waits=waits).events
        except TrimmedHistoryError as error:
            record = log.trim_record()
            if record is None or record.until <= after or record.archive != ARCHIVE:
                raise Violation("I11: trimmed, and not said how far and where to") from error
            archived = range(after + 1, record.until + 1)
            return [self.archive[position] for position in archived if position in self.archive]

    def places(self, log: DynamoDBLog, event_ids: Sequence[str]) -> dict[str, int]:
        """Where events are or were, by their ids."""
        try:
            return {id_: event.position for id_, event in log.locate(event_ids).items()}
        except TrimmedHistoryError:
            places = dict(log.trimmed_positions(event_ids))
            left = [id_ for id_ in event_ids if id_ not in places]
            return {**places, **(self.places(log, left) if places else {})}

    def located(self) -> dict[str, int]:
        """Where a new process finds the acknowledged events by their ids."""
        ids = [
            event.event_id
            for appends in (*(one for one, _ in self.told.acknowledged), *self.told.judged)
            for append in appends
            for event in append.events
        ]
        found: dict[str, int] = {}

        def locate(actor: Actor) -> None:
            found.update(self.places(actor.open_log(), ids))

        self.run([(locate, None)])
        return found


def writer(series: int, appends: int) -> Callable[[Actor], None]:
    """A process that appends in several ways, repeats what it does not know the outcome of, and is
    at times mistaken about where a stream is."""

    def program(actor: Actor) -> None:
        world, make = actor.world, EventMaker(series)
        world.are_writing += 1
        try:
            log = _opened(actor)
            for _ in range(appends):
                with contextlib.suppress(StoreUnavailableError):  # at a look at a stream
                    if world.chance.random() < 0.2:
                        _locate(world, log)
                    _append(world, log, make, f"own-{series}")
        finally:
            world.are_writing -= 1

    return program


def _opened(actor: Actor) -> DynamoDBLog:
    process = actor.process
    while process.log is None:
        with contextlib.suppress(StoreUnavailableError):
            log = actor.open_log()
            # Another thread may have been faster while this one waited.
            process.log = process.log or log  # type: ignore[redundant-expr]
    return process.log


def _locate(world: World, log: DynamoDBLog) -> None:
    """What was acknowledged, to whomever, before it is asked for is found."""
    places = {
        id_: position
        for appends, positions in world.told.acknowledged[-3:]
        for id_, position in zip(_ids_of(appends), positions, strict=True)
    }
    found = world.places(log, list(places))
    if found != places:
        raise Violation("I10: an acknowledged event is not found by its id")


def _ids_of(appends: Sequence[StreamAppend]) -> list[str]:
    return [event.event_id for append in appends for event in append.events]


def _append(  # noqa: PLR0917 - who appends what, and where
    world: World, log: DynamoDBLog, make: EventMaker, own: str
) -> None:
    chance = world.chance
    events: list[EncodedEvent] = make.many(chance.randint(1, 3))
    kinds = ("own", "shared", "guessed", "any", "several", "judged", "reused")
    kind = chance.choice(kinds)
    if kind == "reused":
        _append_reused(world, log, events[:1], own)
        return
    if kind == "any":
        appends = [StreamAppend("any-1", ANY_VERSION, events)]
    elif kind in {"own", "several"}:
        appends = [StreamAppend(own, log.stream_version(own), events)]
        if kind == "several":
            appends.append(StreamAppend("any-1", ANY_VERSION, make.many(1)))
    else:
        version = log.stream_version("shared-1")
        if kind == "guessed":
            version = max(0, version + chance.choice((-2, -1, 0, 1)))
        appends = [StreamAppend("shared-1", version, events)]
    world.told.attempted.append(appends)
    if kind == "judged":
        _append_judged(world, log, appends)
    else:
        _append_repeatedly(world, log, appends)


def _append_repeatedly(world: World, log: DynamoDBLog, appends: Sequence[StreamAppend]) -> None:
    for _ in range(TRIES_MAX):
        try:
            positions = _positions(world, log, appends)
        except ConcurrencyConflictError:
            # After an unknown outcome it could only be a repeat that was not recognised.
            world.told.refused.append(appends)
        except EventIdReusedError as error:
            raise Violation("a repeated append was taken for another one") from error
        except StoreUnavailableError:
            continue
        else:
            world.told.acknowledged.append((appends, positions))
        return


def _positions(world: World, log: DynamoDBLog, appends: Sequence[StreamAppend]) -> tuple[int, ...]:
    """Append; a repeat of what was trimmed meanwhile is known by its ids."""
    try:
        return log.append(appends).positions
    except TrimmedHistoryError:
        places = world.places(log, _ids_of(appends))
        return tuple(places.get(id_, 0) for id_ in _ids_of(appends))


def _append_reused(  # noqa: PLR0917 - who appends what, and where
    world: World, log: DynamoDBLog, events: list[EncodedEvent], own: str
) -> None:
    """An event that another thread of the process may be storing in another stream just now."""
    process = world.current.process
    is_second = bool(process.offered)
    if is_second:
        events = [process.offered.pop()]
    else:
        process.offered = list(events)
    stream = f"second{own}" if is_second else f"first{own}"
    version = world.chance.choice((ANY_VERSION, log.stream_version(stream)))
    appends = [StreamAppend(stream, version, events)]
    world.told.attempted.append(appends)
    try:
        result = log.append(appends)
    except (ConcurrencyConflictError, EventIdReusedError, TrimmedHistoryError):
        return  # a retry of the other one may be stored, which is why nothing is noted as refused
    except StoreUnavailableError:
        world.told.unknown.add(events[0].event_id)
        return
    if is_second and events[0].event_id in world.told.once:
        raise Violation("I5: an event id is stored in two streams by one process")
    if events[0].event_id not in world.told.unknown:
        world.told.once.add(events[0].event_id)
    world.told.acknowledged.append((appends, result.positions))


def _append_judged(world: World, log: DynamoDBLog, appends: Sequence[StreamAppend]) -> None:
    """Not repeated: that would be a conflict with itself."""
    with contextlib.suppress(StoreUnavailableError):
        try:
            log.append_judged(appends, [], {"other-1": 0})
        except ConcurrencyConflictError:
            world.told.refused.append(appends)
        except TrimmedHistoryError:
            pass  # an attempt of its own was done, and trimmed, before it could be seen
        else:
            world.told.judged.append(appends)


def follower(actor: Actor) -> None:
    """A process that follows the log, now and then with nothing but its checkpoint."""
    world = actor.world
    seen: list[Seen] = []
    world.followed.append(seen)
    log: DynamoDBLog | None = None
    idle = 0
    while idle < 2:
        is_over = not world.are_writing
        with contextlib.suppress(StoreUnavailableError):
            if log is None or world.chance.random() < 0.1:
                log = actor.open_log()
            after = seen[-1][0] if seen else 0
            waits = world.chance.random() < 0.5
            events = world.page(log, after, world.chance.randint(1, 5), waits=waits)
            seen.extend(_seen(event) for event in events)
            idle = idle + 1 if is_over and not events else 0
        actor.pause(0.02)


def trimmer(actor: Actor) -> None:
    """A process that archives the log and trims it, again and again, however often it fails."""
    world = actor.world
    log: DynamoDBLog | None = None
    is_over = False
    while not is_over:
        is_over = not world.are_writing
        with contextlib.suppress(StoreUnavailableError):
            if log is None or world.chance.random() < 0.1:
                log = actor.open_log()
            after = max(world.archive, default=0)
            for event in world.page(log, after, 100, waits=world.chance.random() < 0.5):
                world.archive[event.position] = event
            chosen = _chosen(world, log)
            removed = log.trim(chosen, archive=ARCHIVE)
            world.trimmed += removed
            if not log.trimmed_among(chosen) == {str(event.event_id) for event in chosen}:
                raise Violation("I11: what was trimmed is still there")
        actor.pause(0.02)


def _chosen(world: World, log: DynamoDBLog) -> list[Recorded[Any]]:
    """Of each stream the oldest ones, up to some version below its last."""
    until = world.chance.choice((1, 2, 3, 100))
    archived = [world.archive[position] for position in sorted(world.archive)]
    newest = log.stream_versions(sorted({event.stream for event in archived}))
    return [event for event in archived if event.version <= min(until, newest[event.stream] - 1)]


def _seen(event: Any) -> Seen:
    return (event.position, event.stream, event.version, event.state)


def _check(world: World) -> None:
    contents = world.contents()
    world.deliver_the_rest()
    # What was reserved last, by a writer that died, may still be written: nothing is above it.
    before, contents = contents, world.contents()
    if contents[: len(before)] != before:
        raise Violation("I2: a late delivery changed what had been read")
    if any(seen != contents[: len(seen)] for seen in world.followed):
        raise Violation("I2: a follower saw something else than the log")
    check_table(world.tables.tables[TABLE].values(), contents)
    check_told(world.told, contents)
    found = world.located()
    if any(
        found.get(id_) != position
        for appends, positions in world.told.acknowledged
        for id_, position in zip(_ids_of(appends), positions, strict=True)
    ):
        raise Violation("I10: an acknowledged event is not found by its id")


def simulate(
    seed: int,
    *,
    writers: int = 3,
    threads: int = 1,
    appends: int = 4,
    trimmers: int = 0,
    is_small: bool = False,
    **options: Any,
) -> World:
    """Run a world to its end and check it.

    Args:
        seed: Decides everything.
        writers: Writing threads.
        threads: How many of them share a process.
        appends: Of each of them.
        trimmers: Processes that archive and trim the log meanwhile.
        is_small: Let the log be made of small parts, see :data:`SMALL_SIZES`.
        options: Of :class:`World`.

    Raises:
        Violation: A promise is broken.
    """
    with small_sizes() if is_small else contextlib.nullcontext():
        world = World(seed, **options)
        processes = [Process() for _ in range(ceil(writers / threads))]
        programs: list[tuple[Program, Process | None]] = [
            (writer(number + 1, appends), processes[number // threads]) for number in range(writers)
        ]
        others: list[tuple[Program, Process | None]] = [(trimmer, None)] * trimmers
        world.run([*programs, (follower, None), (follower, None), *others])
        _check(world)
    return world
