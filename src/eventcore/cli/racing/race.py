"""One table's race: writers and readers at once, then the truth."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

from eventcore.cli.racing.entries import Entry
from eventcore.cli.racing.finish import Finish
from eventcore.cli.racing.judging import Verdict, judge
from eventcore.cli.racing.plans import Plan
from eventcore.cli.racing.reading import follow, poll
from eventcore.cli.racing.writing import Tally, Writer
from eventcore.stores.postgres.connections import PostgresConnections


class Result(NamedTuple):
    """What became of a table.

    Attributes:
        entry: The table.
        committed: Events in it.
        seconds: How long the writers took.
        tallies: How the transactions ended, by writer.
        polled: What a poller saw of it.
        followed: What a subscription saw of it, if it is our log.
    """

    entry: Entry
    committed: int
    seconds: float
    tallies: tuple[Tally, ...]
    polled: Verdict
    followed: Verdict | None

    @property
    def steps_each(self) -> tuple[int, ...]:
        """How many transactions each writer made."""
        return tuple(map(sum, self.tallies))

    @property
    def is_lossless(self) -> bool:
        """Whether whoever reads the table as it is meant to be read saw everything."""
        if self.followed is not None:
            return self.followed.is_exact
        return self.polled.is_exact


def race(entry: Entry, connections: PostgresConnections, plan: Plan) -> Result:
    """Write to a table by many connections, read it meanwhile, and compare.

    Whatever interrupts it, every thread has ended and every connection is closed afterwards.

    Raises:
        psycopg.Error: The server refused what it should not, or went away.
        EventCoreError: The same, of the log.
    """
    finish = Finish()
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(connections.connect())) for _ in range(plan.writers + 1)
        ]
        threads = stack.enter_context(ThreadPoolExecutor(plan.writers + 2))
        stack.callback(finish.abort)  # runs first when the block ends, in whatever way

        def start(act: Any, *arguments: Any) -> Future[Any]:
            future = threads.submit(act, *arguments)
            future.add_done_callback(lambda done: finish.abort() if done.exception() else None)
            return future

        polling = start(poll, entry, opened[-1], finish)
        following = None if entry.log is None else start(follow, entry.log, finish)
        writing = [
            start(Writer(entry, plan, number, connection).run, finish)
            for number, connection in enumerate(opened[:-1])
        ]
        began = time.monotonic()
        wait(writing, return_when=FIRST_EXCEPTION)
        seconds = time.monotonic() - began
        tallies = tuple(future.result() for future in writing)
        finish.reach(0 if entry.log is None else entry.log.head())
        polled, followed = polling.result(), None if following is None else following.result()
        rows = opened[-1].execute(entry.statement("poll_first")).fetchall()
        return Result(
            entry,
            committed=len(rows),
            seconds=seconds,
            tallies=tallies,
            polled=judge(polled, [place for place, _ in rows]),
            followed=None if followed is None else judge(followed, [row[1] for row in rows]),
        )
