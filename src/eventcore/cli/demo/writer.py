"""One of the demo's writers, a process: executes commands until its parent ends it."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from eventcore.app import App
from eventcore.cli.demo.reporting import report, stop_with_parent
from eventcore.cli.demo.shop import CountingLog, Shop, open_shop
from eventcore.settings import parse_store_url

REPORT_SECONDS: Final = 0.1
"""Between two reports."""


def main(url: str, number: int) -> None:
    """Keep a shop busy."""
    stop = stop_with_parent()
    with open_shop(url) as outer:
        log = CountingLog(parse_store_url(url).path, outer.log.codec)
        with App(outer.settings, log, clock=outer.now) as app:
            _work(Shop(app, number), log, stop)


def _work(shop: Shop, log: CountingLog, stop: threading.Event) -> None:
    reported = time.monotonic()
    while not stop.is_set():
        shop.step()
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            report(**shop.counts, conflicts=log.conflicts)
    report(**shop.counts, conflicts=log.conflicts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
