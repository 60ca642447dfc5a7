"""Puts what was measured into the documentation.

    python -m benchmarks.tables

In ``docs/reference/performance.md`` whatever stands between ``<!-- measured: NAME -->`` and
``<!-- end -->`` becomes the table of ``benchmarks/results/NAME.json``, if there is one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "performance.md"
MARKED = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
EXACT_BELOW = 100.0


def row(figure: dict[str, Any]) -> str:
    value = figure["value"]
    shown = f"{value:,.2f}" if value < EXACT_BELOW else f"{value:,.0f}"
    unit = "×" if figure["unit"] == "x" else figure["unit"]  # noqa: RUF001 - the sign meant
    target, verdict = "", ""
    if figure["target"] is not None:
        target = f"{'≥' if figure['at_least'] else '≤'} {figure['target']:,.9g}"
        verdict = "met" if figure["met"] else "**missed**"
    return f"| {figure['name']} | {shown} {unit} | {target} | {verdict} |"


def table(name: str) -> str:
    found = json.loads((RESULTS / f"{name}.json").read_text())
    head = ["| what | figure | target | |", "|---|---:|---|---|"]
    return "\n".join(["", *head, *(row(figure) for figure in found["figures"]), "", ""])


def renewed(mark: re.Match[str]) -> str:
    before, name, end = mark.groups()
    return before + table(name) + end if (RESULTS / f"{name}.json").exists() else mark[0]


def main() -> None:
    """Rewrite every marked table."""
    PAGE.write_text(MARKED.sub(renewed, PAGE.read_text()))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
