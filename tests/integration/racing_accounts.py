"""The read models of the race of projections, and the same rows folded by plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from eventcore.events.event import DomainEvent
from eventcore.projections import Projection, Table, on
from eventcore.stores.log import Log, LogFilter

POISON = "poison"
"""The account whose events fail until the handler is mended."""

PAGE_EVENTS = 1_000


class Moved(DomainEvent, type="race.moved", category="raceorder", key="order_id"):
    """An order moved an amount on an account."""

    order_id: str
    account: str
    amount: int


class AccountRow(NamedTuple):
    """What came to an account; ``digest`` is over its events' ids, in order."""

    account: str
    events: int
    total: int
    digest: str


class OrderRow(NamedTuple):
    order_id: str
    events: int
    digest: str


ACCOUNTS = Table("race_accounts", AccountRow, key=["account"])
ORDERS = Table("race_orders", OrderRow, key=["order_id"])
ECHOES = Table("race_echoes", OrderRow, key=["order_id"])
TABLES: tuple[Table[Any], ...] = (ACCOUNTS, ORDERS, ECHOES)


def chained(digest: str, event_id: str) -> str:
    return blake2b(f"{digest}{event_id}".encode(), digest_size=8).hexdigest()


class RaceAccounts(Projection):
    """By key, over many streams.

    Args:
        mended: A file; as long as it is not there, events of the account :data:`POISON` fail.
    """

    name = "race_accounts"
    fingerprint = "1"
    tables = (ACCOUNTS,)

    def __init__(self, mended: Path) -> None:
        self._mended = mended

    @on(Moved, key=lambda event: event.payload.account)
    def add(self, row: AccountRow | None, event: Any) -> AccountRow:
        moved = event.payload
        if moved.account == POISON and not self._mended.exists():
            msg = "poison"
            raise ArithmeticError(msg)
        before = row or AccountRow(moved.account, 0, 0, "")
        return AccountRow(
            moved.account,
            before.events + 1,
            before.total + moved.amount,
            chained(before.digest, event.event_id),
        )


class RaceOrders(Projection):
    """By stream, into two tables that always agree."""

    name = "race_orders"
    fingerprint = "1"
    tables = (ORDERS, ECHOES)
    share_by = "stream"

    @on(Moved, key=lambda event: event.id, table=ORDERS)
    def order(self, row: OrderRow | None, event: Any) -> OrderRow:
        return _counted(row, event)

    @on(Moved, key=lambda event: event.id, table=ECHOES)
    def echo(self, row: OrderRow | None, event: Any) -> OrderRow:
        return _counted(row, event)


def _counted(row: OrderRow | None, event: Any) -> OrderRow:
    before = row or OrderRow(event.id, 0, "")
    return OrderRow(event.id, before.events + 1, chained(before.digest, event.event_id))


def projections(folder: Path) -> list[Projection]:
    """Those of the race whose notes are in a folder."""
    return [RaceAccounts(folder / "mended"), RaceOrders()]


def stored_facts(log: Log) -> Iterator[tuple[str, str, str, int]]:
    """Id, order, account and amount of every event, from the stored bytes."""
    after = 0
    while events := log.read_page(after, PAGE_EVENTS, LogFilter()).events:
        for event in events:
            stored = json.loads(event.state)
            data = stored["data"]
            yield stored["id"], data["orderId"], data["account"], data["amount"]
        after = events[-1].position


def in_one_pass(log: Log) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The rows there ought to be, by table and key: plain loops and dictionaries."""
    accounts: dict[str, tuple[Any, ...]] = {}
    orders: dict[str, tuple[Any, ...]] = {}
    for event_id, order_id, account, amount in stored_facts(log):
        _, events, total, digest = accounts.get(account, (account, 0, 0, ""))
        accounts[account] = (account, events + 1, total + amount, chained(digest, event_id))
        _, events, digest = orders.get(order_id, (order_id, 0, ""))
        orders[order_id] = (order_id, events + 1, chained(digest, event_id))
    return {"race_accounts": accounts, "race_orders": orders, "race_echoes": dict(orders)}
