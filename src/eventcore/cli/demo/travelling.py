"""The fourth act: one order's history, and what it was earlier."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.columns import Columns
from rich.panel import Panel
from rich.table import Table

from eventcore.aggregates import Order
from eventcore.app import App
from eventcore.cli.demo.failures import must
from eventcore.cli.demo.narrator import Narrator
from eventcore.cli.output import cell
from eventcore.events.recorded import Recorded

_STYLES = {
    "created": "white",
    "paid": "yellow",
    "shipped": "cyan",
    "delivered": "green",
    "cancelled": "red",
    "refunded": "magenta",
}


def travel(narrator: Narrator, app: App, stream: str) -> str:
    """Show an order's history, and its state at a version, at a time and now; gives its id.

    Raises:
        DemoFailedError: A state is not that of its events.
    """
    history = list(app.log.read_stream(stream))
    order_id = history[0].id
    narrator.act(
        "Time travel", f"The history of order {order_id}, and what it was at any point of it."
    )
    states = [app.get(Order, order_id, version=event.version) for event in history]
    narrator.show(_history(history, states))
    earlier = history[len(history) // 2].timestamp
    then = app.get(Order, order_id, as_of=earlier)
    first, now = states[0], app.get(Order, order_id)
    _check(history, states, then, now, history[len(history) // 2])
    time = earlier.strftime("%H:%M:%S.%f")[:-3]
    panels = [
        _panel(first, "at version 1"),
        _panel(then, f"as of {time}"),
        _panel(now, "now"),
    ]
    narrator.gap()
    narrator.show(Columns(panels, padding=(0, 1)))
    narrator.gap()
    narrator.fact(
        "time-travel",
        f"at version 1 it was {_status(first)}, as of {time} {_status(then)}, now {_status(now)}",
        order=order_id,
        version=now.version,
        then=str(then.status),
        now=str(now.status),
    )
    return order_id


def _check(
    history: list[Recorded[Any]], states: list[Order], then: Order, now: Order, event: Recorded[Any]
) -> None:
    must(
        now.version == len(history), f"{now.stream} is at version {now.version}, not {len(history)}"
    )
    expected = max(e.version for e in history if e.timestamp <= event.timestamp)
    must(
        then.version == expected, f"as of {event.timestamp}: version {then.version}, not {expected}"
    )
    must(then.to_json() == states[expected - 1].to_json(), "as of a time and at a version differ")
    must(now.to_json() == states[-1].to_json(), "the order now and at its last version differ")


def _status(order: Order) -> str:
    status = str(order.status)
    return f"[{_STYLES[status]}]{status}[/{_STYLES[status]}]"


def _history(history: list[Recorded[Any]], states: list[Order]) -> Table:
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("v", justify="right")
    table.add_column("when", no_wrap=True)
    table.add_column("event")
    table.add_column("afterwards")
    table.add_column("paid", justify="right")
    table.add_column("refunded", justify="right")
    for event, order in zip(history, states, strict=True):
        table.add_row(
            str(event.version),
            f"[dim]{event.timestamp_text[11:26]}[/dim]",
            cell(event.type),
            _status(order),
            _amount(order.paid_amount),
            _amount(order.refunded_amount),
        )
    return table


def _amount(amount: Decimal) -> str:
    return f"{amount:,.2f}" if amount else ""


def _panel(order: Order, title: str) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right")
    grid.add_row("status", _status(order))
    grid.add_row("version", str(order.version))
    grid.add_row("items", str(len(order.items)))
    grid.add_row("total", f"{order.total_amount:,.2f} {order.currency}")
    return Panel(grid, title=f"[bold]{title}[/bold]", border_style="blue", width=24, padding=(0, 1))
