"""How the benchmarks measure and report: interleaved rounds, medians, ratios, one JSON form."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: Its median.
        unit: e.g. ``events/s``, ``x`` for a ratio, ``ms``.
        target: What it has to be, or None.
        at_least: True if the target is a lower bound, False if an upper one.
        low, high: The extremes over the rounds.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every case once a round, so that a slow minute of the machine hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return found


def rate(name: str, values: list[float], target: float | None = None) -> Figure:
    """A figure in events per second from several rounds."""
    return Figure(
        name, statistics.median(values), "events/s", target, low=min(values), high=max(values)
    )


def ratio(  # noqa: PLR0917 - reads as a sentence
    name: str, ours: list[float], theirs: list[float], target: float | None = None
) -> Figure:
    """How many times ``theirs`` ``ours`` is: the median of the ratios of the same round."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Figure(name, statistics.median(values), "x", target, low=min(values), high=max(values))


def report(title: str, figures: list[Figure]) -> None:
    """Print the figures as a table, or with ``--json`` as one JSON object."""
    if "--json" in sys.argv:
        print(
            json.dumps({"title": title, "figures": [asdict(f) | {"met": f.met} for f in figures]})
        )
        return
    print(f"\n{title}  ({machine()})")
    for figure in figures:
        bound = ""
        if figure.target is not None:
            sign = "≥" if figure.at_least else "≤"
            bound = f"  {sign} {figure.target:,g}  {'ok' if figure.met else 'MISSED'}"
        spread = (
            f"  [{figure.low:,.2f} .. {figure.high:,.2f}]"
            if figure.low is not None and figure.high is not None
            else ""
        )
        print(f"  {figure.name:<58}{figure.value:>14,.2f} {figure.unit:<9}{bound}{spread}")


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}"
    )


def arguments(description: str, **defaults: int) -> Any:
    """Command line of a benchmark: ``--json`` and one option per default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return parser.parse_args()
