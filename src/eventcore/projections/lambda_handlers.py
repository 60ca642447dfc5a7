"""Handlers for AWS Lambda that keep read models: rung by the log's stream, or by a schedule.

::

    app = open_app()  # once a container: EVENTCORE_STORE=dynamodb://shop?region=eu-west-1
    on_stream = doorbell(app.runner)
    on_schedule = catch_up(app.runner)

A record of the stream is a doorbell and nothing more: the records of one transaction may come
apart, and are gone after a day. The projections then read the log from their own checkpoints, so
events are applied in order and once, whatever Lambda repeats, drops or runs twice at a time. A run
every minute by schedule finds what a bell that was never rung would have told. Lambda may end a
function that takes too long at any moment: every page that was written stays.

Give the event source mapping :func:`stream_filter`, or each write to the table starts a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from eventcore.errors import ConfigurationError
from eventcore.projections.runner import ProjectionRunner
from eventcore.settings import PREFIX_DEFAULT

Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]
"""What Lambda calls, with what happened and a context."""

_CELLS: Final = "#l#"
"""In the partition key of every cell of a log, behind the log's name."""


def stream_filter(prefix: str = PREFIX_DEFAULT) -> dict[str, Any]:
    """The pattern of an event source mapping that lets through what a handler listens to.

    Args:
        prefix: Name of the log within its table, as in ``dynamodb://table?prefix=NAME``.
    """
    keys = {"pk": {"S": [{"prefix": f"{prefix}{_CELLS}"}]}}
    return {"eventName": ["INSERT"], "dynamodb": {"Keys": keys}}


def doorbell(make_runner: Callable[[], ProjectionRunner]) -> Handler:
    """A handler for the stream of a log's table.

    It raises what :meth:`ProjectionRunner.run_to_head` raises, so that Lambda shows and repeats it;
    the projections that did not fail are at the head all the same.

    Args:
        make_runner: e.g. ``app.runner``.
    """

    def handle(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        if any(map(_is_commit, _records(event))):
            make_runner().run_to_head()
        # In the form of partial answers: no record is to be sent again.
        return {"batchItemFailures": []}

    return handle


def catch_up(make_runner: Callable[[], ProjectionRunner]) -> Handler:
    """A handler for a schedule (EventBridge), or for a call by hand; it ignores what it is sent.

    Args:
        make_runner: e.g. ``app.runner``.
    """

    def handle(_event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        progress = make_runner().run_to_head()
        return {"events": progress.events, "position": progress.position}

    return handle


def _records(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    records = event.get("Records")
    if not isinstance(records, list) or any("dynamodb" not in one for one in records):
        raise ConfigurationError(
            message="This handler takes batches of a DynamoDB stream (Records with a dynamodb "
            "part): give it to an event source mapping of the log's table"
        )
    return records


def _is_commit(record: Mapping[str, Any]) -> bool:
    """Whether a record tells of a commit; else of bookkeeping, or of an item that expired."""
    keys = record["dynamodb"].get("Keys", {})
    return record.get("eventName") == "INSERT" and _CELLS in keys.get("pk", {}).get("S", "")
