"""The parts of the race that need no server: its plan, its judge, what is said of it."""

from itertools import islice

import pytest
from psycopg import sql

from eventcore.cli.racing.columns import Column, choose_position
from eventcore.cli.racing.entries import Entry
from eventcore.cli.racing.judging import Verdict, judge
from eventcore.cli.racing.plans import PAUSE_SECONDS_MAX, Kind, Plan
from eventcore.cli.racing.race import Result
from eventcore.cli.racing.telling import Report
from eventcore.cli.racing.writing import Tally
from eventcore.errors import ConfigurationError
from tests.unit.cli.conftest import Call

EXACT = Verdict(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ("abcd", EXACT),
        ("acd", Verdict(1, 0, 0, 0)),
        ("", Verdict(4, 0, 0, 0)),
        ("abbcd", Verdict(0, 1, 0, 0)),
        ("acbd", Verdict(0, 0, 1, 0)),
        ("abxcd", Verdict(0, 0, 0, 1)),
        ("dxdc", Verdict(2, 1, 1, 1)),
    ],
)
def test_a_reader_is_judged_by_what_it_missed_doubled_and_mixed_up(seen: str, verdict: Verdict):
    assert judge(seen, "abcd") == verdict
    assert verdict.is_exact is (verdict == EXACT)


def test_every_table_gets_the_same_steps():
    steps = list(islice(Plan().steps(3), 500))

    assert list(islice(Plan(seconds=9, is_locking=True).steps(3), 500)) == steps
    assert list(Plan(steps_each=(0, 1, 2, 7)).steps(3)) == steps[:7]
    assert list(islice(Plan().steps(4), 500)) != steps
    assert {step.kind for step in steps} == set(Kind)
    assert all(0 <= pause < PAUSE_SECONDS_MAX for step in steps for pause in step.pauses_seconds)


def column(name: str, category: str = "N", **facts: object) -> Column:
    plain = Column(name, "bigint", category, True, False, None, False, None, None, None)
    return plain._replace(**facts)  # type: ignore[arg-type]  # what a test says of it


SERIAL = column("serial", increment=1, cache=1, default="nextval('s'::regclass)")
OTHER = column("other", increment=1, cache=1, default="nextval('o'::regclass)")
KEY = column("key", is_key=True)
TEXT = column("text", "S")
CREATED = column("created", "D", default="now()", is_default_harmless=True)
ARRIVED = column("arrived", "D", type="timestamptz")
COMPUTED = column("computed", default="next_id()")
DOWN = column("down", increment=-1, cache=1)


@pytest.mark.parametrize(
    ("columns", "wanted", "chosen", "value"),
    [
        ([TEXT, SERIAL, CREATED], None, "serial", None),
        ([SERIAL, OTHER._replace(is_key=True)], None, "other", None),
        ([TEXT, KEY], None, "key", None),
        ([SERIAL, KEY], "key", "key", None),
        ([SERIAL, CREATED], "created", "created", "now()"),
        ([SERIAL, ARRIVED], "arrived", "arrived", "clock_timestamp()::timestamptz"),
    ],
)
def test_readers_go_by_what_a_sequence_fills_or_by_what_is_named(
    columns: list[Column], wanted: str | None, chosen: str, *, value: str | None
):
    position = choose_position("shop.events", columns, wanted)

    assert (position.column.name, position.value) == (chosen, value)
    # What is filled in another way than in the original is said.
    assert bool(position.remark) is (chosen in {"key", "arrived"})


@pytest.mark.parametrize(
    ("columns", "wanted", "named"),
    [
        ([SERIAL, OTHER], None, "--position: serial, other"),
        ([KEY, TEXT._replace(is_key=True)], None, "--position: key"),
        ([TEXT], None, "None of them is a number or a time"),
        ([SERIAL], "number", "no column 'number'"),
        ([TEXT], "text", "text of shop.events is a bigint"),
        ([COMPUTED], "computed", "next_id(), which may do more than compute"),
        ([DOWN], None, "counts downwards"),
    ],
)
def test_a_position_that_cannot_be_filled_is_refused_with_the_reason(
    columns: list[Column], wanted: str | None, named: str
):
    with pytest.raises(ConfigurationError) as caught:
        choose_position("shop.events", columns, wanted)

    assert named in str(caught.value)


def result(polled: Verdict, followed: Verdict | None = None, *, is_users: bool = False) -> Result:
    entry = Entry(
        title="a table",
        table=sql.Identifier("t"),
        position="id",
        insert=b"",
        is_users=is_users,
    )
    return Result(
        entry, committed=200, seconds=1.0, tallies=(Tally(9),), polled=polled, followed=followed
    )


LOSSY = Verdict(50, 0, 0, 0)


@pytest.mark.parametrize(
    ("one", "ok", "said"),
    [
        (result(LOSSY), True, 'a poller of "id > last" missed 50 of 200 (25.0 %)'),
        (result(EXACT), True, "none of 200 lost this time; a longer race may show more"),
        (result(LOSSY, EXACT), True, "a subscription saw all 200, once and in order"),
        (result(LOSSY, Verdict(1, 2, 3, 4)), False, "1 missed, 2 twice, 3 out of order, 4 never"),
        (result(EXACT, Verdict(0, 0, 1, 0)), False, "0 missed, 0 twice, 1 out of order, 0 never"),
        (result(LOSSY, is_users=True), False, "missed 50 of 200 (25.0 %)"),
        (result(EXACT, is_users=True), True, "none of 200 lost"),
    ],
    ids=[
        *("the textbook loses", "the textbook loses nothing", "our log loses nothing"),
        *("our log is wrong in every way", "our log mixes up"),
        *("the user's loses", "the user's loses nothing"),
    ],
)
def test_a_loss_of_our_log_or_of_the_users_table_is_a_failure(one: Result, *, ok: bool, said: str):
    report = Report("a server", Plan(), [one])

    assert report.is_ok is ok
    assert said in report.findings[0].detail
    assert bool(report.findings[0].action) is not ok


def test_a_lock_that_does_not_help_is_explained():
    report = Report("a server", Plan(is_locking=True), [result(LOSSY, is_users=True)])

    assert "CACHE 1" in report.findings[0].action


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--race"], "the store is sqlite://. Name one: eventcore doctor --race postgresql://"),
        (["--race", "memory://"], "the store is memory://"),
        (["--race", "--position", "id"], "--table"),
        (["--race", "--seconds", "0"], "--seconds"),
        (["--table", "shop.events"], "belong to --race"),
        (["--with-lock"], "belong to --race"),
        (["postgresql://127.0.0.1/shop"], "--store URL"),
        (["--race", "postgresql://ada:s3cret@127.0.0.1:1/shop?nonsense=1"], "not understood"),
    ],
)
def test_a_race_that_is_called_wrongly_says_how(call: Call, arguments: list[str], named: str):
    answer = call("doctor", *arguments, "--json")

    assert (answer.code, answer.out) == (2, "")
    assert named in answer.error["message"]
    assert "s3cret" not in answer.err
