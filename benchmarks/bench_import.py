"""How long ``import eventcore`` takes in a fresh interpreter, and what it pulls in."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.measuring import Figure, arguments, report

TARGET_MS = 250


def seconds(statement: str) -> float:
    """Wall-clock seconds of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure, interleaved with an interpreter that imports nothing."""
    options = arguments(__doc__ or "", rounds=15)
    nothing, ours = [], []
    for _ in range(options.rounds):
        nothing.append(seconds("pass"))
        ours.append(seconds("import eventcore"))
    values = [(a - b) * 1000 for a, b in zip(ours, nothing, strict=True)]
    report(
        "import eventcore",
        [
            Figure(
                "import eventcore, over an empty interpreter",
                statistics.median(values),
                "ms",
                TARGET_MS,
                at_least=False,
                low=min(values),
                high=max(values),
            )
        ],
    )


if __name__ == "__main__":
    main()
