"""What every views backend promises; the same sentences for each."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import psycopg
import pytest

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    RegistrationError,
    SchemaMismatchError,
    StoreClosedError,
    StoreError,
)
from eventcore.projections import Index, MemoryViews, Projection, Table, TimeText
from eventcore.projections.anchors import Anchor
from eventcore.projections.columns import AtLeast, Digits
from eventcore.projections.dynamodb import DynamoDBViews
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from tests.dynamodb_views import dynamodb_views, model_views
from tests.model_dynamodb_rows import RowTables


class ThingRow(NamedTuple):
    thing_id: str
    number: int
    amount: Decimal
    at: datetime
    seen: TimeText | None = None
    flag: bool = False
    status: Literal["new", "it's old"] = "new"
    details: dict[str, Any] | None = None
    parts: list[Any] | None = None
    secret: int | None = None


THINGS = Table(
    "things",
    ThingRow,
    key=["thing_id"],
    indexes=[Index.on("status", "at"), Index.on("seen", present=True)],
    ttl_days=10,
    ttl_column="at",
    columns={"number": "number#of", "secret": "_secret"},
)


class PartRow(NamedTuple):
    owner: str
    place: int
    label: str


PARTS = Table("parts", PartRow, key=["owner", "place"], group=["owner"])


class Things(Projection):
    name = "things"
    tables = (THINGS, PARTS)


class BoundedRow(NamedTuple):
    name: str
    number: Annotated[int, AtLeast(1)]
    total: Annotated[Decimal, Digits(3, 2), AtLeast(0)] | None = None


BOUNDED = Table("bounded", BoundedRow, key=["name"])


class Bounded(Projection):
    name = "bounded"
    tables = (BOUNDED,)


class Others(Projection):
    name = "others"
    tables = (Table("others", PartRow, key=["label"], group=["owner"]),)


AT = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
THING = ThingRow("a", 1, Decimal("1.5"), AT)
FULL = ThingRow(
    "b",
    -(2**63),
    Decimal("-0.0001"),
    AT,
    "2026-03-01T12:00:00.000005Z",
    flag=True,
    status="it's old",
    details={"z": 1, "a": ["é", None]},
    parts=[1, "two"],
    secret=7,
)


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb", "model of dynamodb"])
def views(request, tmp_path):
    views: MemoryViews | SQLiteViews | PostgresViews | DynamoDBViews
    match request.param:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case "model of dynamodb":
            # So that it cannot drift from what it is a model of.
            views = model_views(RowTables(), with_ttl=True)
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


@pytest.fixture
def kept(views):
    views.ensure(Things())
    return views


def put(views: Views, table: Table[Any], *rows: Any) -> None:
    with views.transaction() as transaction:
        transaction.upsert(table, list(rows))


def test_every_backend_is_a_views(views):
    assert isinstance(views, Views)


def test_rows_come_back_as_they_were(kept):
    put(kept, THINGS, FULL, THING)

    assert list(kept.query(THINGS)) == [THING, FULL]
    assert [type(row) for row in kept.query(THINGS)] == [ThingRow, ThingRow]
    assert kept.load_rows(THINGS, ["b", "absent"]) == [FULL]


def test_a_row_with_a_known_key_is_replaced(kept):
    put(kept, THINGS, THING, FULL)
    put(kept, THINGS, THING._replace(amount=Decimal(9), details={"n": 1}))

    assert list(kept.query(THINGS)) == [THING._replace(amount=Decimal(9), details={"n": 1}), FULL]


def test_the_last_of_two_rows_with_one_key_stays(kept):
    put(kept, THINGS, THING, THING._replace(number=2))

    assert list(kept.query(THINGS)) == [THING._replace(number=2)]


def test_rows_are_deleted_by_key_and_absent_ones_are_no_error(kept):
    put(kept, PARTS, PartRow("a", 1, "x"), PartRow("a", 2, "y"))

    with kept.transaction() as transaction:
        transaction.delete(PARTS, [("a", 1), ("b", 9)])

    assert list(kept.query(PARTS)) == [PartRow("a", 2, "y")]


def test_groups_are_loaded_whole_and_by_key(kept):
    put(
        kept,
        PARTS,
        PartRow("b", 1, "z"),
        PartRow("a", 10, "y"),
        PartRow("a", 2, "x"),
        PartRow("c", 1, ""),
    )

    assert kept.load_groups(PARTS, ["a", "b", "absent"]) == [
        PartRow("a", 2, "x"),
        PartRow("a", 10, "y"),
        PartRow("b", 1, "z"),
    ]


def test_a_row_that_leaves_its_group_is_found_in_the_new_one(views):
    [table] = Others.tables
    views.ensure(Others())
    put(views, table, PartRow("a", 1, "x"))
    put(views, table, PartRow("b", 1, "x"))

    assert views.load_groups(table, ["a"]) == []
    assert views.load_groups(table, ["b"]) == [PartRow("b", 1, "x")]


def test_many_keys_are_loaded_at_once(kept):
    rows = [PartRow(f"o{number}", number, "x") for number in range(2_500)]
    put(kept, PARTS, *rows)

    assert sorted(kept.load_rows(PARTS, [row[:2] for row in rows])) == sorted(rows)


def test_a_transaction_that_raises_changes_nothing(kept):
    put(kept, THINGS, THING)
    before = kept.checkpoint("things")

    def stop_in_the_middle() -> None:
        with kept.transaction() as transaction:
            transaction.advance("things", before, 5)
            transaction.upsert(THINGS, [FULL, THING._replace(number=3)])
            transaction.delete(THINGS, ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_in_the_middle()

    assert list(kept.query(THINGS)) == [THING]
    assert kept.checkpoint("things") == before


def test_a_checkpoint_keeps_the_event_it_stands_on(kept):
    anchor = Anchor(4, "some event")
    with kept.transaction() as transaction:
        transaction.advance("things", kept.checkpoint("things"), 5, anchor=anchor)
    assert kept.checkpoint("things") == Checkpoint(5, 1, 1, anchor)

    with kept.transaction() as transaction:
        transaction.advance("things", kept.checkpoint("things"), 6, anchor=Anchor(6, "another"))
    assert kept.checkpoint("things") == Checkpoint(6, 1, 1, Anchor(6, "another"))

    assert kept.reset(Things()) == Checkpoint(0, 1, 2)


def test_a_checkpoint_that_is_revised_refuses_who_built_on_the_one_before(kept):
    before, anchor = kept.checkpoint("things"), Anchor(4, "some event")
    with kept.transaction() as transaction:
        transaction.advance("things", before, 4, anchor=anchor, revise=True)
        transaction.upsert(THINGS, [THING])
    assert kept.checkpoint("things") == Checkpoint(4, 1, 2, anchor)

    with kept.transaction() as transaction:
        transaction.advance("things", kept.checkpoint("things"), 4, revise=True)
    assert kept.checkpoint("things") == Checkpoint(4, 1, 3)

    with pytest.raises(CheckpointMovedError), kept.transaction() as transaction:
        transaction.advance("things", Checkpoint(4, 1, 2, anchor), 4, revise=True)
    assert kept.checkpoint("things") == Checkpoint(4, 1, 3)


def test_a_checkpoint_is_revised_with_many_rows_as_well(kept):
    rows = [PartRow("a", place, "x") for place in range(250)]
    for position, anchor in ((1, Anchor(1, "some event")), (1, None)):
        with kept.transaction() as transaction:
            before = kept.checkpoint("things")
            transaction.upsert(PARTS, rows)
            transaction.advance("things", before, position, anchor=anchor, revise=True)

    assert kept.checkpoint("things") == Checkpoint(1, 1, 3)
    assert kept.count(PARTS) == 250


class Ledger(Projection):
    name = "eventcore_ledger"
    tables = (Table("eventcore_ledger", PartRow, key=["owner", "place"], internal=True),)


def test_the_library_keeps_tables_of_its_own_beside(kept):
    [ledger] = Ledger.tables
    kept.ensure(Ledger())
    with kept.transaction() as transaction:
        transaction.upsert(ledger, [PartRow("a", 1, "x")])
        transaction.upsert(PARTS, [PartRow("a", 1, "y")])
        transaction.advance("things", kept.checkpoint("things"), 1)

    assert list(kept.query(ledger)) == [PartRow("a", 1, "x")]
    assert list(kept.query(PARTS)) == [PartRow("a", 1, "y")]
    assert kept.checkpoint("eventcore_ledger") == Checkpoint(0, 1, 1)


def test_a_transaction_sees_its_own_changes(kept):
    put(kept, THINGS, THING)

    with kept.transaction() as transaction:
        transaction.upsert(THINGS, [THING._replace(number=3)])
        assert transaction.load_rows(THINGS, ["a"]) == [THING._replace(number=3)]


def test_a_checkpoint_starts_at_zero_and_moves_with_the_rows(kept):
    before = kept.checkpoint("things")
    with kept.transaction() as transaction:
        transaction.advance("things", before, 5)

    assert before == Checkpoint(position=0, version=1, revision=1)
    assert kept.checkpoint("things") == Checkpoint(position=5, version=1, revision=1)
    assert kept.checkpoint("never") is None


@pytest.mark.parametrize("field", ["position", "version", "revision"])
def test_a_checkpoint_that_moved_in_between_is_not_moved_again(kept, field):
    found = kept.checkpoint("things")
    expected = found._replace(**{field: getattr(found, field) + 1})

    def advance() -> None:
        with kept.transaction() as transaction:
            transaction.upsert(THINGS, [THING])
            transaction.advance("things", expected, 9)

    with pytest.raises(CheckpointMovedError, match="things was at") as caught:
        advance()

    assert (caught.value.expected, caught.value.found) == (expected, found)
    assert list(kept.query(THINGS)) == []


REFUSED = {
    "None where none may be": {"number": None},
    "text for a number": {"number": "1"},
    "a number for text": {"thing_id": 1},
    "a flag for a number": {"number": True},
    "a number for a flag": {"flag": 1},
    "a float for an amount": {"amount": 1.5},
    "an int for an amount": {"amount": 1},
    "an amount that is no number": {"amount": Decimal("NaN")},
    "an endless amount": {"amount": Decimal("Infinity")},
    "an amount that would fill the memory": {"amount": Decimal("1e999999999999")},
    "an amount of too many decimals": {"amount": Decimal("1e-999999999999")},
    "a time without a zone": {"at": datetime(2026, 1, 1)},
    "text for a time": {"at": "2026-03-01T12:00:00.000005Z"},
    "a word that is no choice": {"status": "banana"},
    "a number beyond 64 bits": {"number": 2**63},
    "a NUL": {"thing_id": "a\0b"},
    "a lone surrogate": {"thing_id": "\ud800"},
    "a time text of another form": {"seen": "2026-03-01"},
    "what is not JSON": {"details": {"a": object()}},
    "a list for an object": {"details": []},
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_a_row_that_does_not_fit_is_refused_and_nothing_is_written(kept, wrong):
    with pytest.raises(StoreError, match=r"^Table things: .*column") as caught:
        put(kept, THINGS, FULL, THING._replace(**wrong))

    assert "banana" not in str(caught.value)
    assert list(kept.query(THINGS)) == []


def test_a_key_that_does_not_fit_is_refused(kept):
    with pytest.raises(StoreError, match="a key: column place is a str, expected int"):
        kept.load_rows(PARTS, [("a", "1")])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (BoundedRow("a", 0), "column number is below 1"),
        (BoundedRow("a", 1, Decimal("-0.01")), "column total is below 0"),
        (BoundedRow("a", 1, Decimal("NaN")), "column total is not a finite number"),
        (BoundedRow("a", 1, Decimal(1000)), "column total is an amount of more than 3 digits"),
        (
            BoundedRow("a", 1, Decimal("0.001")),
            "amount of more than .* 2 places",
        ),
    ],
)
def test_a_row_beyond_its_bounds_is_refused_and_nothing_is_written(views, row, problem):
    views.ensure(Bounded())

    with pytest.raises(StoreError, match=problem):
        put(views, BOUNDED, BoundedRow("b", 1), row)

    assert list(views.query(BOUNDED)) == []


def test_a_row_within_its_bounds_comes_back_in_the_form_of_any_other(views):
    views.ensure(Bounded())
    put(
        views,
        BOUNDED,
        BoundedRow("a", 1, Decimal("999.90")),
        BoundedRow("b", 2**63 - 1, Decimal("-0.00")),
        BoundedRow("c", 1),
    )

    shown = [BOUNDED.public(row) for row in views.query(BOUNDED)]

    assert [row["total"] for row in shown] == ["999.9", "0", None]
    assert list(views.query(BOUNDED, {"total": "999.900"})) == [
        BoundedRow("a", 1, Decimal("999.9"))
    ]


@pytest.mark.parametrize("values", ["'a', 0, '1'", "'a', 1, '-1'"])
def test_the_database_itself_refuses_what_is_beyond_the_bounds(views, postgres_schema, values):
    views.ensure(Bounded())
    match views:
        case SQLiteViews():
            with pytest.raises(StoreError, match="CHECK"), views.transaction() as transaction:
                transaction.connection.execute(f"INSERT INTO bounded VALUES ({values})")
        case PostgresViews():
            place = postgres_schema
            with place.connect() as connection, pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(f'INSERT INTO "{place.schema}".bounded VALUES ({values})')
        case _:
            assert isinstance(views, MemoryViews | DynamoDBViews)  # no other way in

    assert list(views.query(BOUNDED)) == []


class LongNameRow(NamedTuple):
    name: Annotated[str, AtLeast(1)]


class ManyDigitsRow(NamedTuple):
    name: Annotated[int, Digits(3, 2)]


@pytest.mark.parametrize("row", [LongNameRow, ManyDigitsRow])
def test_a_bound_on_a_column_that_cannot_have_it_is_refused(row):
    with pytest.raises(RegistrationError, match="bounds no column of the kind"):
        Table("wrong", row, key=["name"])


def test_a_time_in_another_zone_is_kept_as_utc(kept):
    put(kept, THINGS, THING._replace(at=AT.astimezone(timezone(timedelta(hours=5)))))

    [row] = kept.query(THINGS)
    assert (row.at, row.at.utcoffset()) == (AT, timedelta(0))


def test_amounts_are_kept_exactly_and_in_one_form(kept):
    for text in ("1E+2", "100.00", "100"):
        put(kept, THINGS, THING._replace(amount=Decimal(text)))
        [row] = kept.query(THINGS)
        assert THINGS.public(row)["amount"] == "100"
    put(kept, THINGS, THING._replace(amount=Decimal("123456789012345678901234567890.0001")))
    [row] = kept.query(THINGS)
    assert row.amount == Decimal("123456789012345678901234567890.0001")


def test_printed_rows_have_the_stored_names_and_no_internal_columns():
    assert THINGS.public(FULL) == {
        "thing_id": "b",
        "number#of": -(2**63),
        "amount": "-0.0001",
        "at": "2026-03-01T12:00:00.000005Z",
        "seen": "2026-03-01T12:00:00.000005Z",
        "flag": True,
        "status": "it's old",
        "details": {"a": ["é", None], "z": 1},
        "parts": [1, "two"],
    }


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, "ab"),
        ({"thing_id": "b"}, "b"),
        ({"number#of": "1"}, "a"),
        ({"amount": "1.50"}, "a"),
        ({"amount": Decimal("1.500")}, "a"),
        ({"at": "2026-03-01T13:00:00.000005+01:00"}, "ab"),
        ({"at": AT, "status": "new"}, "a"),
        ({"seen": None}, "a"),
        ({"flag": "true"}, "b"),
        ({"status": "banana"}, ""),
        ({"thing_id": "' OR 1=1 --"}, ""),
        ({"details": '{"z": 1, "a": ["\\u00e9", null]}'}, "b"),
        ({"parts": '[1,  "two"]'}, "b"),
    ],
)
def test_a_query_finds_rows_by_typed_values_or_by_text(kept, where, found):
    put(kept, THINGS, THING, FULL)

    assert "".join(row.thing_id for row in kept.query(THINGS, where)) == found


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"colour": "red"}, "Table things has no column 'colour', only thing_id, number#of"),
        ({"number#of": "many"}, "Column number#of of things holds int"),
        ({"amount": "much"}, "Column amount of things holds Decimal"),
        ({"at": "yesterday"}, "Column at of things holds datetime"),
        ({"flag": "perhaps"}, "Column flag of things holds bool"),
        ({"number#of": 1.5}, "Column number#of of things holds int"),
        ({"number#of": 2**63}, "Column number#of of things holds int"),
        ({"number#of": str(-(2**63) - 1)}, "Column number#of of things holds int"),
        ({"amount": "1e999999999999"}, "Column amount of things holds Decimal"),
        ({"amount": "1e-999999999999"}, "Column amount of things holds Decimal"),
        ({"amount": Decimal("1e999999999999")}, "Column amount of things holds Decimal"),
        ({"amount": "NaN"}, "Column amount of things holds Decimal"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "Column at of things holds datetime"),
        ({"at": "2026-03-01"}, "Column at of things holds datetime"),
        ({"thing_id": "\ud800"}, "Column thing_id of things holds str"),
        ({"status": "\ud800"}, "Column status of things holds str"),
        ({"number#of": "\ud800"}, "Column number#of of things holds int"),
        ({"amount": "\ud800"}, "Column amount of things holds Decimal"),
        ({"details": "\ud800"}, "Column details of things holds dict"),
        ({"details": '{"z": 1'}, "Column details of things holds dict"),
        ({"details": "[" * 100_000}, "Column details of things holds dict"),
        ({"details": "[1]"}, "Column details of things holds dict"),
        ({"details": {"z": {1}}}, "Column details of things holds dict"),
        ({"parts": "{}"}, "Column parts of things holds list"),
    ],
    ids=str,
)
def test_a_query_for_what_cannot_be_is_refused(kept, where, message):
    with pytest.raises(ConfigurationError, match=message):
        kept.query(THINGS, where)


@pytest.mark.parametrize("limit", [0, -1, 2**63])
def test_a_limit_that_no_query_can_have_is_refused(kept, limit):
    put(kept, THINGS, THING)

    with pytest.raises(ConfigurationError, match=f"limit of a query is at least 1, not {limit}"):
        kept.query(THINGS, limit=limit)


def test_a_query_may_be_limited_and_left_in_the_middle(kept):
    put(kept, PARTS, *(PartRow("a", place, "x") for place in range(1_200)))

    rows = kept.query(PARTS)
    assert next(rows).place == 0
    del rows
    assert [row.place for row in kept.query(PARTS, limit=2)] == [0, 1]
    assert [row.place for row in kept.query(PARTS)] == list(range(1_200))
    assert kept.count(PARTS) == 1_200


def test_a_sorted_query_gives_rows_by_an_index_from_a_bound_on(kept):
    times = [AT + timedelta(seconds=second) for second in (3, 1, 2, 1)]
    rows = [THING._replace(thing_id=name, at=at) for name, at in zip("dcba", times, strict=True)]
    put(kept, THINGS, FULL, *rows)

    def found(since: object = None, limit: int | None = None) -> str:
        rows = kept.query_sorted(THINGS, "status", "new", by="at", since=since, limit=limit)
        return "".join(row.thing_id for row in rows)

    # Those of one time by key.
    assert found() == "acbd"
    assert found(times[2]) == "bd"
    assert found("2026-03-01T12:00:01.000006Z") == "bd"
    assert found(limit=1) == "a"
    assert found(AT + timedelta(days=1)) == ""


def test_a_sorted_query_of_many_rows_goes_on_where_it_was(kept):
    put(kept, PARTS, *(PartRow("a", place, "x" * 500) for place in range(1_300, -10, -1)))

    places = [row.place for row in kept.query_sorted(PARTS, "owner", "a", by="place", since=-5)]

    assert places == list(range(-5, 1_301))


@pytest.mark.parametrize(
    ("column", "by", "value", "message"),
    [
        ("status", "thing_id", "new", "has no index that begins with status and thing_id"),
        ("at", "status", AT, "has no index that begins with at and status"),
        ("status", "colour", "new", "has no index that begins with status and colour"),
        ("status", "at", None, "None has no order"),
    ],
)
def test_a_sorted_query_that_no_index_serves_is_refused(  # noqa: PLR0917 - a table of cases
    kept, column, by, value, message
):
    with pytest.raises(ConfigurationError, match=message):
        kept.query_sorted(THINGS, column, value, by=by)


def test_a_table_that_was_never_made_is_empty(views):
    assert list(views.query_sorted(THINGS, "status", "new", by="at")) == []
    assert list(views.query(THINGS)) == []
    assert views.count(THINGS) == 0


def test_ensuring_twice_keeps_the_rows(kept):
    put(kept, THINGS, THING)

    assert kept.ensure(Things()) == Checkpoint(0, 1, 1)
    assert list(kept.query(THINGS)) == [THING]


def test_a_table_with_other_columns_is_refused_naming_both(kept):
    class Smaller(Projection):
        name = "smaller"
        tables = (Table("parts", ThingRow, key=["thing_id"]),)

    with pytest.raises(
        SchemaMismatchError, match="has the columns owner, place, label, expected thing_id"
    ):
        kept.ensure(Smaller())

    assert kept.checkpoint("smaller") is None


def test_resetting_empties_the_tables_and_tells_other_runners(kept):
    put(kept, THINGS, THING)
    before = kept.checkpoint("things")

    assert kept.reset(Things()) == Checkpoint(0, 1, 2)
    assert list(kept.query(THINGS)) == []
    with pytest.raises(CheckpointMovedError), kept.transaction() as transaction:
        transaction.advance("things", before, 1)


class Pretender(Projection):
    name = "pretender"
    tables = (PARTS, Table("own", PartRow, key=["label"]))


class Misshapen(Projection):
    name = "misshapen"
    tables = (Table("parts", ThingRow, key=["thing_id"]),)


@pytest.mark.parametrize("pretender", [Pretender(), Misshapen()], ids=repr)
def test_a_table_that_was_not_made_for_a_projection_is_left_alone(kept, pretender):
    put(kept, PARTS, PartRow("a", 1, "x"))

    with pytest.raises(SchemaMismatchError, match="It was not made for projection"):
        kept.ensure(pretender)
    with pytest.raises(SchemaMismatchError, match="It was not made for projection"):
        kept.reset(pretender)

    assert list(kept.query(PARTS)) == [PartRow("a", 1, "x")]
    assert kept.checkpoint(pretender.name) is None


def test_resetting_drops_what_an_earlier_version_of_the_projection_kept_besides(kept):
    class Fewer(Projection):
        name = "things"
        version = 2
        tables = (THINGS,)

    class Freed(Projection):
        name = "freed"
        tables = (PARTS,)

    put(kept, PARTS, PartRow("a", 1, "x"))
    kept.reset(Fewer())

    assert kept.ensure(Freed()) == Checkpoint(0, 1, 1)
    assert list(kept.query(PARTS)) == []


def test_resetting_takes_another_shape_of_table(views):
    class Before(Projection):
        name = "things"
        tables = (Table("things", PartRow, key=["label"], indexes=[Index.on("place")]),)

    views.ensure(Before())
    views.reset(Things())

    put(views, THINGS, THING)
    assert list(views.query(THINGS)) == [THING]


def test_expiring_deletes_rows_older_than_the_ttl_and_no_others(kept):
    put(kept, THINGS, THING, FULL._replace(at=AT + timedelta(microseconds=1)))
    put(kept, PARTS, PartRow("a", 1, "x"))

    assert kept.expire(Things(), AT + timedelta(days=10)) == 0
    assert kept.expire(Things(), AT + timedelta(days=10, microseconds=1)) == 1

    assert [row.thing_id for row in kept.query(THINGS)] == ["b"]
    assert kept.count(PARTS) == 1
    assert kept.checkpoint("things").revision == 3


def test_what_is_folded_on_depends_on_no_clock_but_on_what_was_expired(kept):
    old = THING._replace(at=AT - timedelta(days=11))
    put(kept, THINGS, old)

    assert kept.load_rows(THINGS, ["a"]) == [old]
    with kept.transaction() as transaction:
        assert transaction.load_rows(THINGS, ["a"]) == [old]
    before = kept.checkpoint("things")
    assert kept.expire(Things(), AT) == 1
    assert kept.load_rows(THINGS, ["a"]) == []
    # Whoever remembers it is told.
    with pytest.raises(CheckpointMovedError), kept.transaction() as transaction:
        transaction.advance("things", before, 1)
    assert kept.load_rows(THINGS, ["a"]) == []


def test_a_change_wakes_those_who_wait(kept):
    token = kept.signal.token()
    woken = []
    waiter = threading.Thread(target=lambda: woken.append(kept.signal.wait(token, 30.0)))
    waiter.start()
    put(kept, THINGS, THING)
    waiter.join(30)

    assert woken == [True]


def test_closed_views_refuse_and_close_twice(kept):
    kept.close()
    kept.close()

    with pytest.raises(StoreClosedError):
        kept.load_rows(THINGS, ["a"])
    with pytest.raises(StoreClosedError), kept.transaction():
        pass


def test_what_is_kept_in_a_file_is_there_when_it_is_opened_again(tmp_path):
    first = SQLiteViews(tmp_path / "views.db")
    first.ensure(Things())
    put(first, THINGS, THING)
    first.close()

    second = SQLiteViews(tmp_path / "views.db")
    assert list(second.query(THINGS)) == [THING]
    second.close()


def test_the_database_itself_refuses_what_the_declaration_does_not_allow(tmp_path):
    views = SQLiteViews(tmp_path / "views.db")
    views.ensure(Things())

    with (
        pytest.raises(StoreError, match="CHECK constraint failed"),
        views.transaction() as transaction,
    ):
        transaction.connection.execute(
            'INSERT INTO things (thing_id, "number#of", amount, at, flag, status) '
            "VALUES ('a', 1, '1', '2026', 0, 'banana')"
        )

    assert list(views.query(THINGS)) == []
    views.close()


def test_a_checkpoint_without_tables_begins_once_and_is_given_as_it_is(views):
    with views.transaction() as transaction:
        begun = transaction.begin("things/0", 3)
        transaction.advance("things/0", begun, 7, revise=True)

    assert begun == Checkpoint(0, 3, 1)
    with views.transaction() as transaction:
        assert transaction.begin("things/0", 4) == Checkpoint(7, 3, 2)
    assert views.checkpoint("things/0") == Checkpoint(7, 3, 2)
