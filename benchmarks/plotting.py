"""Draws what ``bench_postgres_growth`` found, as an SVG for the documentation.

    python -m benchmarks.plotting

Reads ``benchmarks/results/postgres_growth.json``, writes ``docs/reference/postgres-growth.svg``.
The logarithmic axis is the size of the log; bars reach from the slowest to the fastest round.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

RESULT = Path(__file__).parent / "results" / "postgres_growth.json"
PLOT = Path(__file__).parent.parent / "docs" / "reference" / "postgres-growth.svg"

PANEL_WIDTH, PANEL_HEIGHT = 250, 180
LEFT, TOP, GAP, BOTTOM, RIGHT = 60, 58, 74, 52, 20
BASE = TOP + PANEL_HEIGHT
PANELS = {
    "appends": ("single appends a second, one thread", "#2563a8"),
    "page reads near the head": ("events a second, newest pages", "#b4540a"),
    "page reads from anywhere": ("events a second, pages anywhere", "#3f7d3a"),
}
"""Kind of figure, and the title and colour of its panel."""

TICKS = 4
HEADROOM = 1.15
LEVEL = 0.8


Measured = dict[str, float | str]


class Point(NamedTuple):
    """The figure at one size, with its extremes over the rounds."""

    events: int
    value: float
    low: float
    high: float


def points_of(figures: list[Measured], kind: str) -> list[Point]:
    found = []
    for figure in figures:
        if match := re.fullmatch(rf"{kind} at ([\d,]+) events", str(figure["name"])):
            size = int(match.group(1).replace(",", ""))
            value, low, high = (float(figure[key]) for key in ("value", "low", "high"))
            found.append(Point(size, value, low, high))
    return sorted(found)


def short(number: float) -> str:
    """``5 M``, ``100 k`` or ``850``."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def step_of(top: float) -> float:
    """A round distance of ticks: 1, 2, 2.5 or 5 times a power of ten."""
    raw = top / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)


def text(x: float, y: float, content: str, *, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{content}</text>'


class Axes(NamedTuple):
    """Where a panel's values are drawn."""

    left: float
    begin: float
    end: float
    top: float

    def x(self, events: float) -> float:
        share = (math.log10(events) - self.begin) / (self.end - self.begin)
        return self.left + 20 + (PANEL_WIDTH - 40) * share

    def y(self, value: float) -> float:
        return BASE - PANEL_HEIGHT * value / self.top


def frame(axes: Axes, title: str, points: list[Point]) -> list[str]:
    left, right = axes.left, axes.left + PANEL_WIDTH
    fastest = max(point.value for point in points)
    band, end = axes.y(fastest), axes.y(LEVEL * fastest)
    parts = [
        text(left, TOP - 12, title, style="title"),
        f'<rect x="{left}" y="{band:.1f}" width="{PANEL_WIDTH}" height="{end - band:.1f}" '
        'fill="#888" opacity="0.15"/>',
        f'<rect x="{left + 8}" y="{BASE - 21}" width="12" height="10" fill="#888" opacity="0.3"/>',
        text(left + 26, BASE - 12, "within 20 % of the fastest", style="band"),
    ]
    step = step_of(axes.top)
    for number in range(int(axes.top / step) + 1):
        height = axes.y(number * step)
        style = "grid" if number else "axis"
        label = short(number * step) if number else "0"
        parts.append(f'<path d="M{left} {height:.1f}h{PANEL_WIDTH}" class="{style}"/>')
        parts.append(text(left - 8, height + 4, label, style="tick-y"))
    parts += [
        text(axes.x(one.events), BASE + 18, short(one.events), style="tick-x") for one in points
    ]
    parts.append(text((left + right) / 2, BASE + 38, "events in the log", style="tick-x"))
    return parts


def line(axes: Axes, points: list[Point], colour: str) -> list[str]:
    path = " ".join(f"{axes.x(one.events):.1f},{axes.y(one.value):.1f}" for one in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for one in points:
        x = f"{axes.x(one.events):.1f}"
        parts.append(
            f'<path d="M{x} {axes.y(one.low):.1f}V{axes.y(one.high):.1f}" stroke="{colour}" '
            'stroke-width="1.2" opacity="0.5"/>'
        )
        parts.append(f'<circle cx="{x}" cy="{axes.y(one.value):.1f}" r="4" fill="{colour}"/>')
    return parts


def panel(points: list[Point], title: str, *, colour: str, left: float) -> list[str]:
    begin, end = (math.log10(points[place].events) for place in (0, -1))
    axes = Axes(left, begin, end, HEADROOM * max(point.high for point in points))
    return frame(axes, title, points) + line(axes, points, colour)


def draw(figures: list[Measured], title: str) -> str:
    width = LEFT + len(PANELS) * PANEL_WIDTH + (len(PANELS) - 1) * GAP + RIGHT
    height = TOP + PANEL_HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{title}</title>",
        "<style>text{font-family:system-ui,'DejaVu Sans',sans-serif;fill:#333}"
        ".head{font-size:15px;font-weight:600}.title{font-size:13px}"
        ".tick-x{font-size:12px;text-anchor:middle}.tick-y{font-size:12px;text-anchor:end}"
        ".band{font-size:11px;fill:#666}"
        ".grid{stroke:#ddd}.axis{stroke:#666}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text(LEFT, 24, title, style="head"),
    ]
    for number, (kind, (label, colour)) in enumerate(PANELS.items()):
        left = LEFT + number * (PANEL_WIDTH + GAP)
        parts += panel(points_of(figures, kind), label, colour=colour, left=left)
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Draw the last result."""
    found = json.loads(RESULT.read_text())
    PLOT.write_text(draw(found["figures"], found["title"]))
    print(f"wrote {PLOT}")


if __name__ == "__main__":
    main()
