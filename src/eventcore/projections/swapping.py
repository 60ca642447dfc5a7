"""Swapping: one generation takes the live one's place, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eventcore.errors import CheckpointMovedError, ConfigurationError
from eventcore.projections.generation_records import (
    GenerationRow,
    forget,
    generations_of,
    note,
)
from eventcore.projections.generations import generation_table
from eventcore.projections.parking import SKIPPED, UNITS, WORK, ParkingLot
from eventcore.projections.shares import count_name, share_name
from eventcore.projections.standings import Standing, standing_of
from eventcore.projections.transactions import Checkpoint, Renaming, Transaction
from eventcore.projections.views import Views


class Prepared(NamedTuple):
    """What is found out before a swap, so that the swap itself is short.

    Attributes:
        projection: Whose generations.
        incoming: The one that becomes live.
        shares: The shares it is kept in; none if it is whole.
        live: The one that is live, and is set aside; None if there is none.
        earlier: Those set aside before, which are dropped.
        is_parked: Whether anything was ever parked in this database.
    """

    projection: str
    incoming: GenerationRow
    shares: tuple[Checkpoint, ...]
    live: GenerationRow | None
    earlier: tuple[GenerationRow, ...]
    is_parked: bool


class Swap(NamedTuple):
    """What is to happen.

    Attributes:
        prepared: With which generations.
        before: The checkpoint of the one that becomes live.
        standing: Where the live one is; None if there is none.
        position_max: It is not replaced if it is beyond; None: it is replaced where it is exactly.
    """

    prepared: Prepared
    before: Checkpoint
    standing: Standing | None
    position_max: int | None


def prepare(views: Views, projection: str, incoming: GenerationRow) -> Prepared:
    """Find out what a swap needs to know and nothing else changes.

    Raises:
        ConfigurationError: Another process has swapped or dropped the incoming one.
    """
    known = generations_of(views, projection)
    if not any(
        (row.generation, row.state) == (incoming.generation, incoming.state) for row in known
    ):
        raise ConfigurationError(message=f"Another process has ended the rebuild of {projection}")
    theirs = standing_of(views, incoming.name)
    return Prepared(
        projection,
        incoming,
        () if theirs is None else theirs.shares,
        _live_row(views, projection, known),
        tuple(row for row in known if row.state == "old" and row != incoming),
        ParkingLot(views, None).is_there(),
    )


def _live_row(
    views: Views, projection: str, known: Sequence[GenerationRow]
) -> GenerationRow | None:
    """The live generation, with the names its tables would have if it were set aside."""
    if views.checkpoint(projection) is None:
        return None
    number = next((row.generation for row in known if row.state == "live"), 1)
    tables = {name: generation_table(name, number) for name in views.tables_of(projection)}
    return GenerationRow(projection, number, "live", tables)


def swap(views: Views, plan: Swap) -> None:
    """Do it.

    Raises:
        CheckpointMovedError: One of the two is not as it was seen. Nothing was changed.
        StoreUnavailableError: A table is in use for too long. Nothing was changed; try again.
        SchemaMismatchError: Something of the application is bound to a live table.
    """
    prepared, standing = plan.prepared, plan.standing
    name, incoming, live = prepared.projection, prepared.incoming, prepared.live
    if (live is None) != (standing is None):
        raise CheckpointMovedError(projection=name, expected=live, found=standing)
    mine = () if standing is None else standing.shares
    limit = plan.position_max
    if limit is not None and any(one.position > limit for one in mine):
        raise CheckpointMovedError(projection=name, expected=limit, found=standing)
    with views.transaction() as transaction:
        transaction.rename(_renamings(plan))
        rows = [incoming._replace(state="live")]
        if live is not None:
            rows.append(live._replace(state="old"))
        rows += [row._replace(state="dropping") for row in prepared.earlier]
        note(transaction, *rows)
        if live is not None and standing is not None:
            _give_shares(transaction, live.name, mine, standing.whole.version)
        version = plan.before.version
        _give_shares(transaction, name, prepared.shares, version, instead_of=mine)
        _give_shares(transaction, incoming.name, (), version, instead_of=prepared.shares)
        if prepared.is_parked:
            _rename_parked(ParkingLot(views, None), transaction, prepared)


def _rename_parked(lot: ParkingLot, transaction: Transaction, plan: Prepared) -> None:
    """What is parked belongs to the rows, and goes with them; what is skipped is so for good."""
    if plan.live is not None:
        lot.rename(transaction, plan.projection, plan.live.name)
    lot.rename(transaction, plan.incoming.name, plan.projection)
    _forget_skips(lot, transaction, plan.incoming.name)


def _forget_skips(lot: ParkingLot, transaction: Transaction, name: str) -> None:
    if skipped := lot.skipped(name):
        transaction.delete(SKIPPED, list(map(SKIPPED.key_of, skipped)))


def _renamings(plan: Swap) -> list[Renaming]:
    renamings = []
    prepared, standing = plan.prepared, plan.standing
    live, incoming = prepared.live, prepared.incoming
    if live is not None and standing is not None:
        before = standing.whole
        # What is parked was read from where it was seen: then it is to be there exactly.
        if plan.position_max is not None and not standing.shares and not prepared.is_parked:
            before = before._replace(position=plan.position_max)
        renamings.append(Renaming(prepared.projection, before, live.name, live.tables))
    back = {kept: name for name, kept in incoming.tables.items()}
    renamings.append(Renaming(incoming.name, plan.before, prepared.projection, back))
    return renamings


def _give_shares(  # noqa: PLR0917 - all of them of one projection
    transaction: Transaction,
    projection: str,
    shares: Sequence[Checkpoint],
    version: int,
    *,
    instead_of: Sequence[Checkpoint] = (),
) -> None:
    """Have a projection in these shares: their checkpoints keep their names for ever.

    Args:
        transaction: In which.
        projection: Whose.
        shares: Where they are; none if it is not to be split.
        version: Of the definition that made the rows.
        instead_of: Those it has, as they were seen: who keeps them is refused from now on.
    """
    if not shares and not instead_of:
        return
    for share in range(max(len(shares), len(instead_of))):
        name = share_name(projection, share)
        known = instead_of[share] if share < len(instead_of) else transaction.begin(name, version)
        to = shares[share] if share < len(shares) else known
        transaction.advance(name, known, to.position, anchor=to.anchor, revise=True)
    count = transaction.begin(count_name(projection), version)
    transaction.advance(count_name(projection), count, len(shares), revise=True)


def drop(views: Views, row: GenerationRow) -> None:
    """Drop a generation that is not live; interrupted, it can be done again."""
    with views.transaction() as transaction:
        note(transaction, row._replace(state="dropping"))
    views.drop(row.name)
    lot = ParkingLot(views, None)
    with views.transaction() as transaction:
        for unit in lot.units(row.name):
            work = lot.work(row.name, unit.unit)
            transaction.delete(WORK, list(map(WORK.key_of, work)))
            transaction.delete(UNITS, [UNITS.key_of(unit)])
        _forget_skips(lot, transaction, row.name)
        forget(transaction, row)


def finish_dropping(views: Views, projection: str) -> None:
    """Drop what an interrupted swap or drop left behind, and write what it left to be written."""
    with views.snapshot() as snapshot:
        snapshot.checkpoint(projection)
    for row in generations_of(views, projection):
        if row.state == "dropping":
            drop(views, row)
        elif row.state == "live":
            # Made by somebody who had not noticed yet that it was live.
            views.drop(row.name)
