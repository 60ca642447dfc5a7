"""Runs every benchmark, one after the other, and writes what they found to ``benchmarks/results/``.

``python -m benchmarks.run [NAME ...]``; exits 1 if a target is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measuring import machine

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> int:
    """Run the named benchmarks, or all."""
    wanted = sys.argv[1:]
    names = sorted(path.stem for path in HERE.glob("bench_*.py"))
    names = [name for name in names if not wanted or name.removeprefix("bench_") in wanted]
    RESULTS.mkdir(exist_ok=True)
    missed = 0
    for name in names:
        run = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--json"],
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(run.stdout.strip().splitlines()[-1])
        found |= {"machine": machine(), "measured": datetime.now(UTC).isoformat(timespec="seconds")}
        (RESULTS / f"{name.removeprefix('bench_')}.json").write_text(
            json.dumps(found, indent=1) + "\n"
        )
        print(f"\n{found['title']}")
        for figure in found["figures"]:
            sign = "≥" if figure["at_least"] else "≤"
            bound = "" if figure["target"] is None else f"{sign} {figure['target']:,.9g}"
            verdict = {True: "ok", False: "MISSED", None: ""}[figure["met"]]
            value = f"{figure['value']:>14,.2f} {figure['unit']:<9}"
            print(f"  {figure['name']:<58}{value} {bound:<10} {verdict}")
            missed += figure["met"] is False
    print(f"\n{missed} targets missed" if missed else "\nall targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
