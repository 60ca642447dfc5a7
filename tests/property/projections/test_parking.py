"""Whatever fails, is mended, retried or skipped: a row is what its first events made of it.

The model is a plain dict: of each unit, the positions of the events that touch it and were not
skipped. At any time the events that a row shows, and those that are parked for it, are together
exactly these, in order.
"""

import tempfile
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from eventcore.events.catalogue import OrderCancelled, OrderPaid
from eventcore.projections import Engine, MemoryViews, ProjectionRunner, Views
from eventcore.projections.parking import UNITS, WORK
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.units import Unit, unit_of_text
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import order, record
from tests.unit.projections.parkings import BUYERS, HISTORIES, NOTES, PoisonError, Shop

ORDERS = st.integers(0, 2).map("o{}".format)
PRODUCTS = st.lists(st.integers(0, 1).map("p{}".format), min_size=1, max_size=2, unique=True)
WORKS = st.sampled_from(["key", "p0", "p1", "touches", "append"])


class _StoppedError(Exception):
    """The process ended just before the transaction was kept."""


class ParkingMachine(RuleBasedStateMachine):
    """Two engines keep a projection; what they do is compared with what the log says."""

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryLog()
        self.poison: set[tuple[int, str]] = set()
        self.wanted: dict[Unit, list[int]] = {}
        self.patch = mock.patch("eventcore.projections.retrying.RETRIED_AT_ONCE", 2)
        self.patch.start()

    def open_views(self) -> Views:
        return MemoryViews()

    @initialize()
    def begin(self) -> None:
        self.views = self.open_views()
        self.projection = Shop(self.trouble)
        self.runner = ProjectionRunner(self.log, self.views, [self.projection])
        self.engines = [self.engine(), self.engine()]

    def engine(self) -> Engine:
        return Engine(self.views, [self.projection])

    def trouble(self, event: Any, work: str) -> None:
        if (event.position, work) in self.poison:
            raise PoisonError

    def note(self, position: int, *units: Unit) -> None:
        for unit in units:
            self.wanted.setdefault(unit, []).append(position)

    @rule(name=ORDERS, products=PRODUCTS)
    def create(self, name: str, products: list[str]) -> None:
        position = record(self.log, order(name, *((one, 1, "1") for one in products)))
        self.note(position, Unit("histories", (name,)))
        self.note(position, *(Unit("buyers", (one,)) for one in products))

    @rule(name=ORDERS)
    def pay(self, name: str) -> None:
        position = record(self.log, OrderPaid(order_id=name, amount=Decimal(1)))
        self.note(position, Unit("histories", (name,)), Unit("order_notes", (f"order-{name}",)))

    @rule(name=ORDERS)
    def cancel(self, name: str) -> None:
        position = record(self.log, OrderCancelled(order_id=name))
        self.note(position, Unit("histories", (name,)), Unit("buyers", ("cancelled",)))

    @rule(back=st.integers(0, 5), work=WORKS)
    def break_an_event(self, back: int, work: str) -> None:
        self.poison.add((self.log.head() - back, work))

    @precondition(lambda self: self.poison)
    @rule(data=st.data())
    def mend_an_event(self, data: st.DataObject) -> None:
        self.poison.discard(data.draw(st.sampled_from(sorted(self.poison))))

    @rule(number=st.integers(0, 1), size=st.integers(1, 8))
    def apply_a_page(self, number: int, size: int) -> None:
        engine = self.engines[number]
        engine.apply(self.log.read_page(engine.position, size, LogFilter()))

    @rule(number=st.integers(0, 1))
    def start_an_engine_anew(self, number: int) -> None:
        self.engines[number] = self.engine()

    @rule(number=st.integers(0, 1), size=st.integers(1, 8))
    def crash_within_a_page(self, number: int, size: int) -> None:
        engine = self.engines[number]
        stop = mock.patch("eventcore.projections.engine.Engine._write", side_effect=_StoppedError)
        with stop, suppress(_StoppedError):
            engine.apply(self.log.read_page(engine.position, size, LogFilter()))

    def parked_units(self) -> list[Unit]:
        return [one.unit for one in self.runner.parked("shop")]

    @precondition(lambda self: self.parked_units())
    @rule(data=st.data())
    def retry_one(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.parked_units()))
        self.runner.retry("shop", unit.key, table=unit.table)

    @rule()
    def retry_all(self) -> None:
        self.runner.retry("shop")

    @precondition(lambda self: self.parked_units())
    @rule(data=st.data())
    def skip_one(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.parked_units()))
        before = {(one.unit_text, one.position) for one in self.skips()}
        self.runner.skip("shop", unit.key, table=unit.table, reason="a test")
        for one in self.skips():
            if (one.unit_text, one.position) not in before:
                self.wanted[Unit(one.table, one.key)].remove(one.position)

    def skips(self) -> list[Any]:
        found = self.runner.skipped("shop")
        return [_Skip(one.table, one.key, one.position) for one in found]

    @rule()
    def rebuild(self) -> None:
        # What an event meets here changes without the definition: that is a difference to accept.
        self.runner.rebuild("shop", accept_differences=True)

    @invariant()
    def rows_show_the_first_events_and_the_rest_is_parked(self) -> None:
        if not hasattr(self, "views"):
            return
        checkpoint = self.views.checkpoint("shop")
        assert checkpoint is not None
        position = checkpoint.position
        shown = {
            Unit(table.name, (row.name,)): list(map(int, row.seen.split()))
            for table in (HISTORIES, BUYERS)
            for row in self.views.query(table)
        }
        for row in self.views.query(NOTES):
            [event] = self.log.read_page(int(row.name) - 1, 1).events
            shown.setdefault(Unit("order_notes", (event.stream,)), []).append(event.position)
        # What a generation that was set aside had parked is kept with it, under its name.
        names = {row.unit: row for row in self.views.query(UNITS, {"projection": "shop"})}
        parked: dict[Unit, list[int]] = {}
        for work in self.views.query(WORK, {"projection": "shop"}):
            parked.setdefault(unit_of_text(names[work.unit].text), []).append(work.position)
        wanted = {
            unit: [at for at in positions if at <= position]
            for unit, positions in self.wanted.items()
        }

        assert {
            unit: sorted(shown.get(unit, [])) + parked.get(unit, [])
            for unit in shown.keys() | parked.keys()
        } == {unit: positions for unit, positions in wanted.items() if positions}
        assert {unit_of_text(row.text): row.events for row in names.values()} == {
            unit: len(positions) for unit, positions in parked.items()
        }
        assert all(row.position <= parked[unit_of_text(row.text)][0] for row in names.values())

    @override
    def teardown(self) -> None:
        self.patch.stop()
        if not hasattr(self, "views"):
            return
        self.poison.clear()
        self.runner.retry("shop")
        self.runner.run_to_head()
        self.rows_show_the_first_events_and_the_rest_is_parked()
        assert self.parked_units() == []
        self.views.close()


class _Skip:
    def __init__(self, table: str, key: tuple[Any, ...], position: int) -> None:
        self.table, self.key, self.position = table, key, position
        self.unit_text = f"{table} {key}"


class SQLiteParkingMachine(ParkingMachine):
    @override
    def open_views(self) -> Views:
        self.folder = tempfile.TemporaryDirectory()
        return SQLiteViews(Path(self.folder.name) / "views.db")

    @override
    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestInMemory = ParkingMachine.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=50)
TestInSQLite = SQLiteParkingMachine.TestCase
TestInSQLite.settings = settings(max_examples=10, stateful_step_count=30)
