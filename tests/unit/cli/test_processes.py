"""``eventcore processes`` over a small store."""

import pytest

from tests.unit.cli.conftest import ORDER, PAID, write_lines

OLD = {**ORDER, "timestamp": "2024-01-01T10:01:00Z"}


@pytest.fixture
def shop(folder, call):
    write_lines(folder / "shop.jsonl", OLD)
    assert call("ingest", "shop.jsonl").code == 0
    return call


def test_run_once_cancels_what_was_not_paid(shop):
    done = shop("processes", "run", "payment_not_received", "--once", "--json")
    state = shop("state", "order", "o1", "--json")

    assert done.records == [{"events": 3, "commands": 1, "refused": 0, "timedOut": 1, "waiting": 0}]
    assert state.records[0]["status"] == "cancelled"
    assert shop("processes", "run", "payment_not_received", "--once").out.startswith("✓ 0 events")


def test_what_was_paid_is_left_alone(folder, shop):
    write_lines(folder / "paid.jsonl", PAID)
    shop("ingest", "paid.jsonl")

    shop("processes", "run", "payment_not_received", "--once")

    assert shop("state", "order", "o1", "--json").records[0]["status"] == "paid"


def test_within_changes_how_long_is_waited(shop):
    within = ("--within", "payment_not_received=999999d")

    done = shop("processes", "run", "payment_not_received", *within, "--once", "--json")
    [status] = [r for r in shop("processes", "status", "--json").records if r["timers"]]

    assert done.records[0]["timedOut"] == 0
    assert (status["process"], status["instances"], status["outbox"]) == (
        *("payment_not_received", 1, 0),
    )
    assert status["nextDue"].startswith("4761-")


def test_a_built_in_one_is_run_only_when_it_is_named(shop):
    answer = shop("processes", "run", "--once", "--json")

    assert answer.code == 2
    assert answer.error["message"].startswith("Name the process managers to run: payment_not_rec")


@pytest.mark.parametrize("within", ["payment_not_received", "payment_not_received=2w", "chase=2d"])
def test_a_wrong_time_is_refused(shop, within):
    answer = shop("processes", "run", "payment_not_received", "--within", within, "--json")

    assert answer.code == 2
    assert "--within" in answer.error["message"]


def test_an_unknown_name_is_refused(shop):
    answer = shop("processes", "refused", "nobody", "--json")

    assert answer.code == 2
    assert answer.error["message"].startswith("There is no process manager 'nobody', only")


def test_those_of_a_module_of_ones_own_run_without_being_named(folder, shop):
    (folder / "mine.py").write_text(
        "from tests.processing import Chase\nPROCESSES = [Chase()]\n", encoding="utf-8"
    )

    done = shop("processes", "run", "--once", "--import", "mine", "--json")
    refused = shop("processes", "refused", "chase", "--import", "mine", "--json")
    rebuilt = shop("processes", "rebuild", "chase", "--import", "mine", "--json")

    assert done.records[0]["timedOut"] == 2
    assert [r["reason"] for r in refused.records] == ["not-found", "not-found"]
    assert rebuilt.records == [{"process": "chase", "events": 4}]


def test_a_module_that_lists_something_else_is_refused(folder, shop):
    (folder / "other.py").write_text("PROCESSES = [1]\n", encoding="utf-8")

    answer = shop("processes", "status", "--import", "other", "--json")

    assert answer.code == 2
    assert "is a list of process managers" in answer.error["message"]


POISON = """
from eventcore.events.catalogue import OrderCreated
from eventcore.processes import ProcessManager, reacts
from eventcore.projections import Table
from tests.processing import ChaseRow

class Broken(ProcessManager):
    name = "broken"
    table = Table("broken", ChaseRow, key=["order_id"])

    @reacts(OrderCreated, key=lambda event: event.id)
    def fail(self, row, event):
        raise ZeroDivisionError

PROCESSES = [Broken()]
"""


def test_what_is_parked_is_shown_retried_and_skipped(folder, shop):
    (folder / "poison.py").write_text(POISON, encoding="utf-8")
    own = ("--import", "poison", "--json")
    shop("processes", "run", "--once", *own)

    [parked] = shop("processes", "parked", "broken", *own).records
    retried = shop("processes", "retry", "broken", "--key", "o1", *own)
    skipped = shop("processes", "skip", "broken", "--key", "o1", "--reason", "a test", *own)
    after = shop("processes", "parked", "broken", *own)

    assert (parked["key"], parked["error"]) == ("o1", "ZeroDivisionError")
    assert (retried.code, retried.records[0]["events"]) == (1, 0)
    assert (skipped.code, skipped.records[0]["skipped"]) == (0, 1)
    assert after.records == []
