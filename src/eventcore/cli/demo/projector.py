"""The demo's projector, a process: keeps every read model up to date until its parent ends it."""

from __future__ import annotations

import sys

from eventcore.cli.demo.reporting import report, stop_with_parent
from eventcore.cli.demo.shop import open_shop


def main(url: str) -> None:
    """Follow the log of a shop."""
    stop = stop_with_parent()
    applied = 0

    def on_page(events: int, position: int) -> None:
        nonlocal applied
        applied += events
        report(applied=applied, position=position)

    with open_shop(url) as app:
        runner = app.runner(on_page=on_page)
        begins = {found.projection: found.position for found in runner.status()}
        report(begins=begins, applied=0)
        runner.follow(stop)


if __name__ == "__main__":
    main(sys.argv[1])
