"""How fast a read model is rebuilt beside the live one on SQLite, next to what the database can do.

The limit beside it reads the same pages and writes, one statement a page, the rows that the page
touches, as they are in the end: no event is decoded, nothing is folded, no row is loaded.

    python -m benchmarks.bench_rebuild [--events N] [--repeat N]
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from benchmarks.bench_projections import filled, shop
from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from eventcore.projections import ProjectionRunner
from eventcore.projections.pages import PAGE_EVENTS_MAX
from eventcore.projections.plan import Plan
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.transactions import TableChanges
from eventcore.stores.log import LogFilter
from eventcore.stores.sqlite.log import SQLiteLog

TARGET = 0.6
MEBIBYTE = 1024


class Case:
    """A log, its live read model, and what is timed over them."""

    def __init__(self, log: SQLiteLog, folder: Path) -> None:
        self.log = log
        self.folder = folder
        self.events = log.head()
        self.phases: dict[str, float] = {}
        self.views = SQLiteViews(folder / "views.db")
        self.runner = ProjectionRunner(log, self.views, [Orders()])
        self.runner.run_to_head()
        self.rows = {row.order_id: row for row in self.views.query(ORDERS)}

    def rebuild(self) -> float:
        """Events a second, with the comparison and the swap."""
        begun = time.perf_counter()
        seen: dict[str, float] = {}

        def note(phase: str, _position: int, _end: int) -> None:
            seen.setdefault(phase, time.perf_counter())

        self.runner.rebuild("orders", on_progress=note)
        seconds = time.perf_counter() - begun
        self.phases = {"building": seen["comparing"] - begun}
        self.runner.drop_old("orders")
        return self.events / seconds

    def limit(self) -> float:
        """Events a second of reading pages and writing each page's rows by one statement."""
        views = SQLiteViews(self.folder / f"limit-{time.monotonic_ns()}.db")
        views.ensure(Orders())
        where = LogFilter(types=Plan(Orders()).types() or frozenset())
        begun, position = time.perf_counter(), 0
        with views.catching_up():
            while position < self.events:
                page = self.log.read_page(position, PAGE_EVENTS_MAX, where)
                ids = dict.fromkeys(event.stream.partition("-")[2] for event in page.events)
                rows = [self.rows[one] for one in ids if one in self.rows]
                with views.transaction() as transaction:
                    transaction.write(TableChanges(ORDERS, ORDERS.encode(rows), ()))
                position = page.end
        seconds = time.perf_counter() - begun
        views.close()
        return self.events / seconds


def main() -> None:
    """Time both in turn."""
    options = arguments(__doc__ or "", events=1_000_000, repeat=3)
    with tempfile.TemporaryDirectory() as name:
        log = filled(Path(name) / "orders.db", shop(options.events, {"order": 1}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        case = Case(log, Path(name))
        found = interleaved({"rebuild": case.rebuild, "limit": case.limit}, options.repeat)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures = [
            rate("rebuilt, compared and swapped", found["rebuild"]),
            rate("built, of the last round", [case.events / case.phases["building"]]),
            rate("page read + one upsert a page", found["limit"]),
            ratio("of that limit", found["rebuild"], found["limit"], TARGET),
            Figure("peak memory of the process", round(peak / MEBIBYTE), "MiB"),
            Figure("of it before the first run", round(before / MEBIBYTE), "MiB"),
        ]
        case.views.close()
        log.close()
    report(f"a rebuild of orders on SQLite, {options.events:,} events", figures)


if __name__ == "__main__":
    main()
