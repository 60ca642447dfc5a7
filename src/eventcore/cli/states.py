"""``eventcore state`` and ``query``: what one aggregate is, what the read models say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
import typer

from eventcore.cli.importing import import_own
from eventcore.cli.options import OPTIONS
from eventcore.cli.output import answer_no, print_document, print_records
from eventcore.cli.places import place_of
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.aggregates.aggregate import Aggregate

LIMIT_MAX: Final = 2**62
"""Any larger limit means the same: no table has so many rows, and no database counts as far."""

_Where = typer.Option(
    None, metavar="COLUMN=VALUE", help="Only such rows; may be given again, all must hold."
)


def state(
    kind: str = typer.Argument(metavar="KIND", help="order, user, session, model or your own."),
    id_: str = typer.Argument(metavar="ID", help="The aggregate's id, e.g. 536365."),
    *,
    version: int | None = typer.Option(
        None, min=1, help="As it was at this version of its stream."
    ),
    as_of: str | None = typer.Option(
        None,
        metavar="TIME|POSITION",
        help="As it was at this time, e.g. 2011-12-01T09:00:00Z, or at this position of the log.",
    ),
) -> None:
    """Print what an aggregate is, or was at an earlier version or time, from its events alone."""
    if version is not None and as_of is not None:
        raise ConfigurationError(message="--version and --as-of exclude each other")
    cls = aggregate_of_kind(kind)
    place = None if as_of is None else place_of("--as-of", as_of)
    with OPTIONS.open() as app:
        aggregate = app.get(cls, id_, version=version, as_of=place)
    if not aggregate.exists:
        when = "" if place is None and version is None else " at that point"
        answer_no("NotFound", f"{cls.stream_of(id_)} does not exist{when}")
    print_document({"stream": aggregate.stream, **readable(aggregate)})


def aggregate_of_kind(kind: str) -> type[Aggregate]:
    """The class of aggregates that a person means, one of his own modules' among them.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    import eventcore.aggregates  # noqa: F401, PLC0415 - its import declares the built-in ones
    from eventcore.aggregates.aggregate import (  # noqa: PLC0415 - only these commands
        aggregate_class_of,
        aggregate_classes,
    )

    import_own(OPTIONS.modules)
    cls = aggregate_class_of(kind)
    if cls is None:
        kinds = ", ".join(known.category for known in aggregate_classes())
        raise ConfigurationError(message=f"There is no kind {kind!r} of aggregate, only {kinds}")
    return cls


def readable(aggregate: Aggregate) -> dict[str, Any]:
    """What an aggregate is, in the words of its read models rather than of its fold."""
    from eventcore.aggregates import Order  # noqa: PLC0415 - see state

    fields: dict[str, Any] = orjson.loads(aggregate.to_json())
    if isinstance(aggregate, Order):
        for name in ("lines", "lines_added", "subtotal"):
            del fields[name]
        fields["total_amount"] = aggregate.total_amount
        fields["items"] = [line._asdict() for line in aggregate.items]
    return fields


def query(
    table: str = typer.Argument(metavar="TABLE", help="users, orders, order_items, …"),
    *,
    where: list[str] | None = _Where,
    limit: int | None = typer.Option(None, min=1, help="At most so many rows."),
    fresh: bool = typer.Option(False, "--fresh", help="Bring the read models up to date first."),
) -> None:
    """Print rows of a read model, by key, as it stands."""
    from eventcore.cli.readmodels import find_table  # noqa: PLC0415 - only this command

    if limit is not None:
        limit = min(limit, LIMIT_MAX)
    found = find_table(table)
    conditions = dict(_condition(one) for one in where or ())
    # Before anything is opened: a typing error creates no store.
    found.encode_where(conditions)
    with OPTIONS.open() as app:
        if fresh:
            app.runner().run_to_head()
        rows = app.views.query(found, conditions, limit)
        print_records(found.public_rows(rows), found.public_columns, title=table, limit=limit)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(message=f"--where {text!r} is not of the form COLUMN=VALUE")
    return name, value
