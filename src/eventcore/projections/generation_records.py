"""What is known of a projection's generations, in a table beside them."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, NamedTuple

from eventcore.projections.generations import generation_name
from eventcore.projections.projection import Projection
from eventcore.projections.tables import Table
from eventcore.projections.transactions import Transaction
from eventcore.projections.views import Views

State = Literal["building", "live", "old", "dropping"]


class GenerationRow(NamedTuple):
    """One generation of a projection.

    Attributes:
        projection: Whose.
        generation: Its number; the first one, which nobody rebuilt, is 1.
        state: ``building`` beside the live one; ``live``; ``old``: set aside, to go back to;
            ``dropping``: its tables are being dropped.
        tables: Its tables, by the names the projection gives them, to the names they have while it
            is not live.
    """

    projection: str
    generation: int
    state: State
    tables: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its checkpoint while it is not live."""
        return generation_name(self.projection, self.generation)


GENERATIONS: Final = Table(
    "eventcore_generations",
    GenerationRow,
    key=["projection", "generation"],
    group=["projection"],
    internal=True,
)


class Generations(Projection):
    """Owns the table; no event changes it."""

    name = "eventcore_generations"
    tables = (GENERATIONS,)
    fingerprint: ClassVar[str] = "1"


def ensure_records(views: Views) -> None:
    """Have the table.

    Raises:
        ConfigurationError: It is absent, and these views are to create nothing.
    """
    views.ensure(Generations())


def generations_of(views: Views, projection: str) -> list[GenerationRow]:
    """All that are known, by number; none if it was never rebuilt."""
    return list(views.query(GENERATIONS, {"projection": projection}))


def note(transaction: Transaction, *rows: GenerationRow) -> None:
    """Keep rows, in a transaction with what they tell of."""
    transaction.upsert(GENERATIONS, rows)


def forget(transaction: Transaction, row: GenerationRow) -> None:
    """Keep a generation's row no longer."""
    transaction.delete(GENERATIONS, [(row.projection, row.generation)])
