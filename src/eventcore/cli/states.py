"""``eventcore state`` and ``query``: what one aggregate is, what the read models say."""

from __future__ import annotations

from datetime import datetime

import orjson
import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import answer_no, print_document, print_records
from eventcore.errors import ConfigurationError

_Where = typer.Option(
    None, metavar="COLUMN=VALUE", help="Only such rows; may be given again, all must hold."
)


def state(
    kind: str = typer.Argument(metavar="KIND", help="order, user, session or model."),
    id_: str = typer.Argument(metavar="ID", help="The aggregate's id, e.g. 536365."),
    *,
    version: int | None = typer.Option(
        None, min=1, help="As it was at this version of its stream."
    ),
    as_of: str | None = typer.Option(
        None, metavar="TIME", help="As it was at this time, e.g. 2011-12-01T09:00:00Z."
    ),
) -> None:
    """Print what an aggregate is, or was at an earlier version or time, from its events alone."""
    import eventcore.aggregates  # noqa: F401, PLC0415 - its import declares the built-in ones
    from eventcore.aggregates.aggregate import (  # noqa: PLC0415 - only this command
        aggregate_class_of,
        aggregate_classes,
    )

    if version is not None and as_of is not None:
        raise ConfigurationError(message="--version and --as-of exclude each other")
    cls = aggregate_class_of(kind)
    if cls is None:
        kinds = ", ".join(known.category for known in aggregate_classes())
        raise ConfigurationError(message=f"There is no kind {kind!r} of aggregate, only {kinds}")
    moment = None if as_of is None else _time(as_of)
    with OPTIONS.open() as app:
        aggregate = app.get(cls, id_, version=version, as_of=moment)
    if not aggregate.exists:
        when = "" if moment is None and version is None else " at that point"
        answer_no("NotFound", f"{cls.stream_of(id_)} does not exist{when}")
    print_document({"stream": aggregate.stream, **orjson.loads(aggregate.to_json())})


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--as-of {text!r} is not a time like 2011-12-01T09:00:00Z"
        raise ConfigurationError(message=message) from error
    if moment.tzinfo is None:
        message = f"--as-of {text!r} needs an offset, such as Z for UTC"
        raise ConfigurationError(message=message)
    return moment


def query(
    table: str = typer.Argument(metavar="TABLE", help="users, orders, order_items, …"),
    *,
    where: list[str] | None = _Where,
    limit: int | None = typer.Option(None, min=1, help="At most so many rows."),
    fresh: bool = typer.Option(False, "--fresh", help="Bring the read models up to date first."),
) -> None:
    """Print rows of a read model, by key, as it stands."""
    from eventcore.cli.readmodels import find_table  # noqa: PLC0415 - only this command

    found = find_table(table)
    conditions = dict(_condition(one) for one in where or ())
    # Before anything is opened: a typing error creates no store.
    found.encode_where(conditions)
    with OPTIONS.open() as app:
        if fresh:
            app.runner().run_to_head()
        rows = app.views.query(found, conditions, limit)
        print_records(map(found.public, rows), found.public_columns, title=table, limit=limit)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(message=f"--where {text!r} is not of the form COLUMN=VALUE")
    return name, value
