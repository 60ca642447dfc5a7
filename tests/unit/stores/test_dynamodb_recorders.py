"""Recorders on DynamoDB after a restore, on a model of the table."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from eventsourcing.persistence import InternalError, StoredEvent, Tracking

from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.recorders.aggregates import DynamoDBAggregateRecorder
from eventcore.stores.dynamodb.recorders.applications import DynamoDBApplicationRecorder
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.trackings import DynamoDBTrackingRecorder
from eventcore.stores.dynamodb.repair import repair
from eventcore.stores.dynamodb.table_watch import QUIET_SECONDS
from tests.model_dynamodb import ModelTables

TABLE = "shop"
STREAMS = {"from-zero": 0, "from-one": 1, "alone": 0}
ROWS = [("from-zero", 0, 3), ("from-one", 1, 2), ("alone", 0, 1), ("from-zero", 3, 2)]
"""Inserts: originator, first version, events."""


def opened(tables: ModelTables) -> DynamoDBApplicationRecorder:
    datastore = DynamoDBDatastore(
        lambda: DynamoDBCalls(tables),
        table=TABLE,
        application_name="Kennel",
        originator_id_type="text",
    )
    return DynamoDBApplicationRecorder(datastore)


def seen(recorder: DynamoDBApplicationRecorder) -> object:
    """Everything, in the order of the application and by originator."""
    return (
        [
            (one.id, one.originator_id, one.originator_version, one.state)
            for one in recorder.select_notifications(None, 100)
        ],
        {name: list(recorder.select_events(name)) for name in STREAMS},
    )


@pytest.mark.parametrize(
    "is_lost",
    [lambda pk: "#l#" in pk, lambda pk: "#s#" in pk, lambda pk: "#q" in pk],
    ids=["cells", "stream items", "sequencer's newest value"],
)
def test_a_repair_makes_the_log_of_an_application_whole_also_where_streams_begin_at_zero(
    is_lost: Callable[[str], bool],
):
    tables = ModelTables()
    recorder = opened(tables)
    for name, first, count in ROWS:
        recorder.insert_events(
            [
                StoredEvent(name, version, "t", b"%d" % version)
                for version in range(first, first + count)
            ]
        )
    before = seen(recorder)
    items = tables.tables[TABLE]
    for key in list(items):
        if key[0].endswith("#q"):
            items[key]["c"] = {"N": "1"} if is_lost(key[0]) else items[key]["c"]
        elif is_lost(key[0]):
            del items[key]

    report = repair(DynamoDBCalls(tables), Keys(TABLE, "app.Kennel"))

    assert (report.incomplete, report.gaps) == ([], [])
    assert seen(opened(tables)) == before
    assert opened(tables).insert_events([StoredEvent("alone", 1, "t", b"")]) == [9]


def test_recorders_that_were_quiet_write_nothing_into_a_copy_of_their_table():
    tables, seconds = ModelTables(), [0.0]
    datastore = DynamoDBDatastore(
        lambda: DynamoDBCalls(tables, clock=lambda: seconds[0]),
        table=TABLE,
        application_name="Kennel",
        originator_id_type="text",
    )
    aggregates, trackings = (
        DynamoDBAggregateRecorder(datastore),
        DynamoDBTrackingRecorder(datastore),
    )
    aggregates.insert_events([StoredEvent("dog", 1, "t", b"1")])
    trackings.insert_tracking(Tracking("upstream", 1))
    backup = copy.deepcopy(tables.tables[TABLE])
    aggregates.insert_events([StoredEvent("dog", 2, "t", b"2")])
    tables.tables[TABLE] = copy.deepcopy(backup)
    tables._made[TABLE] += 60.0
    seconds[0] += QUIET_SECONDS + 1.0

    with pytest.raises(InternalError, match="another one than was opened"):
        aggregates.insert_events([StoredEvent("dog", 3, "t", b"3")])
    with pytest.raises(InternalError, match="another one than was opened"):
        trackings.insert_tracking(Tracking("upstream", 9))

    assert tables.tables[TABLE] == backup
