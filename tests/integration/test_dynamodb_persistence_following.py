"""Following an application on DynamoDB, and waiting for positions."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from eventsourcing.persistence import (
    ConnectionPoolClosedError,
    StoredEvent,
    Tracking,
    WaitInterruptedError,
)

from eventcore.stores.dynamodb.recorders import applications, trackings
from tests.contract.eventsourcing_cases.test_dynamodb import environment
from tests.contract.eventsourcing_cases.views_written_for_dynamodb import Counters
from tests.integration.dynamodb_recorders import (
    PATIENCE_SECONDS,
    Build,
    collected,
    elsewhere,
    events,
)

pytestmark = pytest.mark.dynamodb


@pytest.fixture
def build(build_on_dynamodb: Build) -> Build:
    return build_on_dynamodb


def test_what_another_process_writes_while_a_subscription_starts_is_delivered(build, dynamodb):
    subscription = build().application_recorder().subscribe()

    build(**elsewhere(dynamodb)).application_recorder().insert_events(events())

    assert [one.id for one in collected(subscription, 1)] == [1]


def test_a_subscription_is_woken_by_an_insert_of_its_process(build, monkeypatch):
    monkeypatch.setattr(applications, "WAIT_SECONDS_MAX", PATIENCE_SECONDS)
    monkeypatch.setattr("eventcore.stores.dynamodb.following.LOOK_FIRST_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("eventcore.stores.dynamodb.following.LOOK_SECONDS_MAX", PATIENCE_SECONDS)
    recorder = build().application_recorder()
    subscription = recorder.subscribe()
    pulled = threading.Event()
    select_page = recorder.select_page

    def noting(*args: Any, **kwargs: Any) -> Any:
        answer = select_page(*args, **kwargs)
        pulled.set()
        return answer

    monkeypatch.setattr(recorder, "select_page", noting)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(next(subscription).id))
    thread.start()
    assert pulled.wait(PATIENCE_SECONDS)

    build().application_recorder().insert_events(events())
    thread.join(PATIENCE_SECONDS / 2)

    assert found == [1]


def test_a_subscription_holds_at_most_one_page(build):
    recorder = build().application_recorder()
    recorder.insert_events(events(950))
    recorder.insert_events(events(300))

    with recorder.subscribe() as subscription:
        ids, held = [], []
        for notification in subscription:
            ids.append(notification.id)
            held.append(len(subscription._page))
            if notification.id == 1_250:
                break

    assert ids == list(range(1, 1_251))
    assert max(held) == 499


def test_a_filtered_subscription_passes_unwanted_events_once_and_loses_none(build, monkeypatch):
    recorder = build(ORIGINATOR_ID_TYPE="text").application_recorder()
    recorder.insert_events([StoredEvent("a-1", 1, "wanted", b"")])
    recorder.insert_events([StoredEvent("a-1", version, "other", b"") for version in range(2, 10)])
    starts = []
    select_page = recorder.select_page

    def noting(after: int, *args: Any, **kwargs: Any) -> Any:
        starts.append(after)
        return select_page(after, *args, **kwargs)

    monkeypatch.setattr(recorder, "select_page", noting)
    with recorder.subscribe(topics=["wanted"]) as subscription:
        first = next(subscription).id
        recorder.insert_events([StoredEvent("a-1", 10, "wanted", b"")])
        second = next(subscription).id

    assert (first, second) == (1, 10)
    assert starts == [0, 9]


@pytest.mark.parametrize("how", ["stop", "close the factory"])
def test_a_blocked_subscription_ends_without_error_when_told_from_another_thread(build, how):
    factory = build()
    recorder = factory.application_recorder()
    recorder.insert_events(events())
    subscription = recorder.subscribe()
    got_first = threading.Event()
    ended = []

    def consume() -> None:
        ids = []
        for notification in subscription:
            ids.append(notification.id)
            got_first.set()
        ended.append(ids)

    thread = threading.Thread(target=consume)
    thread.start()
    assert got_first.wait(PATIENCE_SECONDS)

    if how == "stop":
        subscription.stop()
    else:
        factory.close()
    thread.join(PATIENCE_SECONDS)

    assert ended == [[1]]


def test_an_error_of_reading_is_raised_to_the_consumer(build, dynamodb):
    recorder = build().application_recorder()
    client = dynamodb.client()
    client.delete_table(TableName=dynamodb.table)
    client.close()

    with (
        recorder.subscribe() as subscription,
        pytest.raises(Exception, match="eventcore db apply"),
    ):
        next(subscription)


def test_an_unclosed_subscription_does_not_keep_the_process_alive(dynamodb):
    script = (
        "import sys, threading\n"
        "from eventcore.stores.dynamodb import DynamoDBFactory\n"
        "factory = DynamoDBFactory(dict(one.split('=', 1) for one in sys.argv[1:]))\n"
        "subscription = factory.application_recorder().subscribe()\n"
        "print(threading.active_count())\n"
    )
    given = [f"{name}={value}" for name, value in environment(dynamodb).items()]

    done = subprocess.run(
        [sys.executable, "-c", script, *given],
        timeout=PATIENCE_SECONDS,
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("1\n", "")


def test_who_waits_for_a_position_is_woken_by_its_write(build, monkeypatch):
    monkeypatch.setattr(trackings, "LOOK_FIRST_SECONDS", PATIENCE_SECONDS)
    view = build("counting").tracking_recorder(Counters)
    reads = []
    has_tracking_id = view.has_tracking_id

    def noting(*args: Any) -> bool:
        found = has_tracking_id(*args)
        reads.append(found)
        if len(reads) == 1:
            threading.Timer(0.1, lambda: view.incr_created_event_counter(Tracking("up", 1))).start()
        return bool(found)

    monkeypatch.setattr(view, "has_tracking_id", noting)
    view.wait("up", 1, timeout=PATIENCE_SECONDS)

    assert reads == [False, True]


def test_a_wait_sees_a_position_that_another_process_recorded(build, dynamodb):
    waiting = build("counting").tracking_recorder()
    other = build("counting", **elsewhere(dynamodb)).tracking_recorder()
    threading.Timer(0.1, lambda: other.insert_tracking(Tracking("up", 7))).start()

    waiting.wait("up", 7, timeout=PATIENCE_SECONDS)

    assert waiting.max_tracking_id("up") == 7


def test_a_wait_ends_when_its_interrupt_is_set_meanwhile(build):
    recorder = build().tracking_recorder()
    interrupt = threading.Event()
    threading.Timer(0.05, interrupt.set).start()

    with pytest.raises(WaitInterruptedError):
        recorder.wait("up", 1, timeout=PATIENCE_SECONDS, interrupt=interrupt)


def test_a_wait_ends_when_the_factory_is_closed(build):
    factory = build()
    recorder = factory.tracking_recorder()
    threading.Timer(0.05, factory.close).start()

    with pytest.raises(ConnectionPoolClosedError):
        recorder.wait("up", 1, timeout=PATIENCE_SECONDS)


def test_factories_that_make_their_table_at_once_do_not_collide(build):
    errors: list[Exception] = []
    begin = threading.Barrier(6, timeout=PATIENCE_SECONDS)

    def make() -> None:
        try:
            factory = build()
            begin.wait()
            factory.process_recorder()
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
