"""Holders: transactions that a reader of the log waits for, so that it skips nothing."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, Protocol, runtime_checkable

LOOK_AGAIN_SECONDS: Final = 0.05
"""Pause between two looks whether a holder without an age is still there."""


class Holder(NamedTuple):
    """A transaction that may still write below the head of the log, and so holds its followers.

    Attributes:
        pid: Process id of its backend; None for a prepared (two-phase) transaction.
        virtual_transaction: Its name in the database's list of locks.
        age_seconds: Since it began; None if the role may not see it, which is not to say short.
        state: Of its session, e.g. ``idle in transaction``; None for a prepared one.
        application: Name that its session gave.
        query: Its last statement, or the name of a prepared transaction; None or a placeholder
            where the role may not see it.
    """

    pid: int | None
    virtual_transaction: str
    age_seconds: float | None
    state: str | None
    application: str | None
    query: str | None

    @property
    def who(self) -> str:
        """In a few words, without its statement: that may hold personal values."""
        name = f"prepared transaction {self.query!r}" if self.pid is None else f"pid {self.pid}"
        age = "age not shown without pg_read_all_stats"
        if self.age_seconds is not None:
            age = f"{self.age_seconds:,.1f} s old"
        facts = [
            age,
            *([self.state] if self.state else []),
            *([f"application {self.application!r}"] if self.application else []),
        ]
        return f"{name} ({', '.join(facts)})"


@runtime_checkable
class FeedWatch(Protocol):
    """What a store offers besides whose writers may become visible in another order."""

    def feed_holders(self) -> list[Holder]:
        """The transactions that may still write below the head, the oldest first.

        Those whose age is not known come first of all. Most are about to commit; one that stays
        holds every follower behind it.
        """


def lasting_holders(log: FeedWatch, seconds: float) -> list[Holder]:
    """The holders that have been there for so long, in the order of the log.

    An age that is not shown is found out by looking again, until the transaction has ended, which
    mostly takes milliseconds, or has been there for ``seconds``.
    """
    found = log.feed_holders()
    lasting = {
        one.virtual_transaction
        for one in found
        if one.age_seconds is not None and one.age_seconds >= seconds
    }
    hidden = {one.virtual_transaction for one in found if one.age_seconds is None}
    deadline = time.monotonic() + seconds
    while hidden and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN_SECONDS)
        hidden &= {one.virtual_transaction for one in log.feed_holders()}
    return [one for one in found if one.virtual_transaction in lasting | hidden]
