"""The import decides each line by the rules, in order, and a repeated run decides the same."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventcore.errors import InputError, StoreUnavailableError
from eventcore.events.codec import Codec
from eventcore.ingestion.dead_letters import DeadLetter
from eventcore.ingestion.lines import Line
from eventcore.ingestion.pipeline import Ingestion
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class KeptLetters:
    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    def write(self, letters) -> None:
        self.letters += letters

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(letter.line.number, letter.reason) for letter in self.letters]


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path: Path):
    codec = Codec(allow_unknown=True)
    opened = MemoryLog(codec) if request.param == "memory" else SQLiteLog(tmp_path / "x.db", codec)
    yield opened
    opened.close()


def wire(event_type: str, number: int, payload: dict, **more) -> bytes:
    record = {
        "eventId": str(uuid.UUID(int=number)),
        "eventType": event_type,
        "timestamp": "2025-06-01T10:00:00Z",
        "data": {"payload": payload},
    }
    return json.dumps(record | more).encode()


def created(number: int, order_id: str = "1", **more) -> bytes:
    payload = {
        "orderId": order_id,
        "items": [{"productId": "tea", "quantity": 2, "price": "2.50"}],
        "totalAmount": "5.00",
        "currency": "GBP",
    }
    return wire("order.created", number, payload | more)


def paid(number: int, order_id: str = "1", amount: str = "5.00") -> bytes:
    return wire("order.paid", number, {"orderId": order_id, "amount": amount})


def registered(number: int, user_id: str, email: str) -> bytes:
    return wire("user.registered", number, {"userId": user_id, "email": email})


def ingest(log: Any, lines: list[bytes], **options: Any) -> tuple[Any, list[tuple[int, str]]]:
    letters = KeptLetters()
    ingestion = Ingestion(log, Codec(allow_unknown=True), clock=lambda: NOW, **options)
    report = ingestion.run([Line(i, data) for i, data in enumerate(lines, 1)], letters)
    return report, letters.reasons


def counts(report) -> tuple[int, int, int, int]:
    return report.read, report.accepted, report.duplicate, report.rejected


def contents(log: Any) -> list[tuple[str, int, str, bytes]]:
    return [(e.stream, e.version, e.type, e.state) for e in log.read()]


def test_events_go_to_the_streams_their_payloads_name_in_the_order_of_the_lines(log):
    report, letters = ingest(log, [created(1, "a"), created(2, "b"), paid(3, "a"), paid(4, "b")])

    assert counts(report) == (4, 4, 0, 0)
    assert letters == []
    assert [(e.position, e.stream, e.version) for e in log.read()] == [
        (1, "order-a", 1),
        (2, "order-b", 1),
        (3, "order-a", 2),
        (4, "order-b", 2),
    ]


def test_a_second_run_appends_nothing(log):
    lines = [
        created(1),
        paid(2),
        created(3, "2", totalAmount="4"),
        b"{",
        registered(4, "u", "a@b.io"),
    ]
    first, first_letters = ingest(log, lines)
    before = contents(log)

    second, second_letters = ingest(log, lines)

    assert counts(first) == (5, 3, 0, 2)
    assert counts(second) == (5, 0, 3, 2)
    assert second_letters == first_letters == [(3, "total-mismatch"), (4, "not-json")]
    assert contents(log) == before


def test_a_second_run_appends_nothing_also_where_lines_came_in_the_wrong_order(log):
    lines = [paid(1), created(2)]
    first, _ = ingest(log, lines)

    second, letters = ingest(log, lines)

    assert counts(first) == (2, 1, 0, 1)
    # The order exists now, but what was refused stays refused until somebody says otherwise.
    assert counts(second) == (2, 0, 1, 1)
    assert letters == [(1, "not-found")]


def test_what_a_rule_refused_is_judged_again_when_asked_for(log):
    lines = [paid(1), created(2)]
    ingest(log, lines)

    report, _ = ingest(log, lines, retry_refused=True)

    assert counts(report) == (2, 1, 1, 0)
    assert [e.type for e in log.read()] == ["order.created", "order.paid"]


def test_a_mended_dead_letter_with_the_same_id_is_judged_afresh(log):
    ingest(log, [created(1, totalAmount="4.00")])

    report, _ = ingest(log, [created(1)])

    assert counts(report) == (1, 1, 0, 0)


def test_the_same_line_twice_in_a_batch_is_a_duplicate(log):
    report, _ = ingest(log, [created(1), created(1)])

    assert counts(report) == (2, 1, 1, 0)


@pytest.mark.parametrize("batch_lines", [1, 10])
def test_an_event_id_with_another_content_is_refused(log, batch_lines):
    report, letters = ingest(log, [created(1), created(1, "2"), paid(1)], batch_lines=batch_lines)

    assert counts(report) == (3, 1, 0, 2)
    assert letters == [(2, "event-id-reused"), (3, "event-id-reused")]


def test_the_same_event_written_in_another_order_of_members_is_a_duplicate(log):
    line = created(1)
    shuffled = json.dumps(dict(reversed(json.loads(line).items()))).encode()

    report, _ = ingest(log, [line, shuffled])

    assert counts(report) == (2, 1, 1, 0)


def test_any_batch_size_decides_the_same(log, tmp_path):
    lines = [
        registered(1, "u1", "a@b.io"),
        registered(2, "u2", "A@B.io "),
        paid(3),
        created(4),
        paid(5, amount="4.99"),
        paid(6),
        paid(7),
        wire("user.closed", 8, {"userId": "u1"}),
        registered(9, "u3", "a@b.IO"),
        wire("user.email_changed", 10, {"userId": "u3", "email": "c@d.io"}),
        registered(11, "u4", "a@b.io"),
    ]
    expected = [
        (2, "email-taken"),
        (3, "not-found"),
        (5, "amount-mismatch"),
        (7, "invalid-transition"),
    ]
    _, letters = ingest(log, lines)
    other = MemoryLog(Codec())
    for size in range(1, len(lines)):
        other = MemoryLog(Codec())
        _, others = ingest(other, lines, batch_lines=size)
        assert (size, others) == (size, expected)
        assert contents(other) == contents(log)
    assert letters == expected


def test_an_address_is_taken_whatever_its_case_and_free_again_once_the_account_is_closed(log):
    ingest(log, [registered(1, "u1", "Ada@Example.com")])

    _, taken = ingest(log, [registered(2, "u2", "ada@EXAMPLE.com")])
    ingest(log, [wire("user.closed", 3, {"userId": "u1"})])
    report, _ = ingest(log, [registered(4, "u2", "ada@example.com")])

    assert taken == [(1, "email-taken")]
    assert counts(report) == (1, 1, 0, 0)


def test_a_log_only_event_goes_to_its_stream_at_any_version(log):
    check = {"serviceName": "api", "status": "ok", "responseTime": 1, "errorCount": 0}
    for number in (1, 2):
        report, _ = ingest(log, [wire("system.health.check", number, check)])
        assert counts(report) == (1, 1, 0, 0)

    assert [e.version for e in log.read_stream("system-api")] == [1, 2]


def test_an_unknown_type_is_refused_unless_it_is_allowed(log):
    line = wire("weather.changed", 1, {"sky": "grey", "temperature": 4.5})

    report, letters = ingest(log, [line])
    allowed, _ = ingest(log, [line], allow_unknown=True)

    assert (counts(report), letters) == ((1, 0, 0, 1), [(1, "unknown-type")])
    assert counts(allowed) == (1, 1, 0, 0)
    (event,) = log.read()
    assert event.stream == "generic-weather.changed"
    assert event.payload.fields == {"sky": "grey", "temperature": 4.5}


def test_bookkeeping_events_of_the_library_are_not_taken_from_outside(log):
    payload = {"reservationId": "email:00", "holder": "user-1"}

    _, letters = ingest(log, [wire("reservation.claimed", 1, payload)])

    assert letters == [(1, "unknown-type")]


def test_a_clock_gone_wrong_is_refused_but_an_old_event_is_not(log):
    future = created(1, "1").replace(b"2025-06-01", b"2031-06-01")
    tomorrow = created(2, "2").replace(b"2025-06-01T10", b"2026-01-01T20")
    old = created(3, "3").replace(b"2025-06-01", b"1911-06-01")

    report, letters = ingest(log, [future, tomorrow, old])

    assert (counts(report), letters) == ((3, 2, 0, 1), [(1, "invalid-field")])


def test_a_user_given_only_in_the_payload_is_the_user_of_the_event(log):
    ingest(log, [created(1, userId="u-7")])

    (event,) = log.read()
    assert event.user_id == "u-7"


def test_a_writer_that_is_faster_is_noticed_and_the_batch_is_judged_again(log):
    ingestion = Ingestion(log, Codec(), clock=lambda: NOW)
    letters = KeptLetters()
    ingestion.run([Line(1, created(1))], letters)
    # Another writer pays the order that the import keeps in memory as unpaid.
    ingest(log, [paid(2)])

    report = ingestion.run([Line(2, paid(3)), Line(3, created(4, "2"))], letters)

    assert counts(report) == (2, 1, 0, 1)
    assert letters.reasons == [(2, "invalid-transition")]


def test_a_batch_is_all_or_nothing_when_the_store_fails(log, monkeypatch):
    def full(*_: object):
        raise StoreUnavailableError(store="log", problem="disk is full")

    monkeypatch.setattr(log, "append_judged", full)
    with pytest.raises(StoreUnavailableError, match="disk is full"):
        ingest(log, [created(1), paid(2)])
    monkeypatch.undo()

    report, _ = ingest(log, [created(1), paid(2)])

    assert counts(report) == (2, 2, 0, 0)


def test_what_was_read_before_the_input_broke_off_is_taken_in(log):
    def broken() -> Iterator[Line]:
        yield Line(1, created(1))
        raise InputError(name="x.gz", problem="it breaks off after line 1")

    with pytest.raises(InputError):
        Ingestion(log, Codec(), clock=lambda: NOW).run(broken(), KeptLetters())

    assert log.head() == 1


def test_the_counts_are_reported_after_each_batch(log):
    seen: list[tuple[int, int, int, int]] = []
    lines = [Line(i, created(i, str(i))) for i in range(1, 6)]

    Ingestion(log, Codec(), clock=lambda: NOW, batch_lines=2).run(
        lines, KeptLetters(), lambda report: seen.append(counts(report))
    )

    assert seen == [(2, 2, 0, 0), (4, 4, 0, 0), (5, 5, 0, 0)]


def test_no_personal_value_stands_in_a_dead_letters_message(log):
    letters = KeptLetters()
    lines = [
        registered(1, "u1", "secret-name@@nowhere"),
        wire("user.registered", 2, {"userId": "u2", "email": 5, "firstName": "Secretname"}),
        registered(3, "u3", "secretname@b.io"),
        registered(4, "u4", "secretname@b.io"),
    ]
    Ingestion(log, Codec(), clock=lambda: NOW).run(
        [Line(i, data) for i, data in enumerate(lines, 1)], letters
    )

    assert [reason for _, reason in letters.reasons] == [
        "invalid-email",
        "invalid-field",
        "email-taken",
    ]
    assert not [letter for letter in letters.letters if "secret" in letter.message.lower()]


def importer(log) -> tuple[Ingestion, KeptLetters]:
    return Ingestion(log, Codec(), clock=lambda: NOW), KeptLetters()


def shipped(number: int, order_id: str = "1") -> bytes:
    return wire("order.shipped", number, {"orderId": order_id})


def test_an_import_that_another_one_overtook_refuses_nothing_that_is_valid(log):
    lines = [Line(1, created(1)), Line(2, paid(2)), Line(3, shipped(3))]
    (slow, slow_letters), (fast, fast_letters) = importer(log), importer(log)
    slow.run(lines[:1], slow_letters)
    fast.run(lines, fast_letters)

    report = slow.run(lines[1:], slow_letters)

    assert counts(report) == (2, 0, 2, 0)
    assert slow_letters.reasons == fast_letters.reasons == []


def test_what_a_command_changed_between_two_batches_is_what_the_next_is_judged_by(log):
    ingestion, letters = importer(log)
    ingestion.run([Line(1, created(1)), Line(2, registered(2, "u1", "a@b.io"))], letters)
    other, other_letters = importer(log)
    other.run([Line(1, paid(9)), Line(2, wire("user.closed", 8, {"userId": "u1"}))], other_letters)

    report = ingestion.run([Line(3, shipped(3)), Line(4, registered(4, "u2", "a@b.io"))], letters)

    assert (counts(report), letters.reasons) == ((2, 2, 0, 0), [])


def test_a_refusal_judged_by_a_stream_that_moved_meanwhile_is_judged_again(log, monkeypatch):
    ingest(log, [created(1)])
    ingestion, letters = importer(log)
    write = log.append_judged

    def overtaken(*verdict):
        monkeypatch.undo()
        ingest(log, [paid(2)])
        write(*verdict)

    monkeypatch.setattr(log, "append_judged", overtaken)
    report = ingestion.run([Line(1, shipped(3))], letters)

    assert (counts(report), letters.reasons) == ((1, 1, 0, 0), [])


def test_several_imports_of_one_file_at_once_store_every_line_once(log):
    lines = []
    for number in range(1, 401):
        lines += [created(3 * number, str(number)), paid(3 * number + 1, str(number))]
        lines.append(shipped(3 * number + 2, str(number)))
    reports, letters = [], []

    def run() -> None:
        ingestion = Ingestion(log, Codec(), clock=lambda: NOW, batch_lines=7)
        kept = KeptLetters()
        reports.append(ingestion.run([Line(i, data) for i, data in enumerate(lines, 1)], kept))
        letters.append(kept.reasons)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert letters == [[], [], []]
    assert sum(report.accepted for report in reports) == len(lines) == log.head()
    assert {report.rejected for report in reports} == {0}


def test_a_stored_event_that_was_refused_once_is_a_duplicate(log):
    lines = [paid(1), created(2)]
    ingest(log, lines)
    ingest(log, lines, retry_refused=True)

    report, letters = ingest(log, lines)

    assert (counts(report), letters) == ((2, 0, 2, 0), [])


def test_a_time_in_the_future_stays_refused_when_it_has_come(log):
    line = created(1).replace(b"2025-06-01", b"2026-01-09")
    ingest(log, [line])
    letters = KeptLetters()
    later = datetime(2026, 2, 1, tzinfo=UTC)

    report = Ingestion(log, Codec(), clock=lambda: later).run([Line(1, line)], letters)

    assert (counts(report), letters.reasons) == ((1, 0, 0, 1), [(1, "invalid-field")])


@pytest.mark.parametrize("batch_lines", [1, 10])
def test_one_and_true_are_not_the_same_content_but_another_order_is(log, batch_lines):
    def activity(details: dict) -> bytes:
        payload = {"sessionId": "s", "action": "look", "details": details}
        return wire("session.activity", 2, payload)

    lines = [
        wire("session.started", 1, {"sessionId": "s"}),
        activity({"a": 1, "b": 2}),
        activity({"b": 2, "a": 1}),
        activity({"a": True, "b": 2}),
        activity({"a": 1.0, "b": 2}),
    ]
    report, letters = ingest(log, lines, batch_lines=batch_lines)

    assert counts(report) == (5, 2, 1, 2)
    assert letters == [(4, "event-id-reused"), (5, "event-id-reused")]


def test_an_id_that_the_library_derives_from_another_is_refused_and_stops_nothing(log):
    ingest(log, [registered(1, "u1", "a@b.io")])
    derived = str([event.event_id for event in log.read()][-1])
    log_of_another = MemoryLog(Codec())
    taken = created(7).replace(str(uuid.UUID(int=7)).encode(), derived.encode())

    report, letters = ingest(
        log_of_another, [taken, registered(1, "u1", "a@b.io"), created(8, "2")]
    )

    assert (counts(report), letters) == ((3, 2, 0, 1), [(2, "event-id-reused")])


def test_a_line_that_cannot_be_stored_does_not_stop_the_lines_beside_it(log):
    deep = created(1).replace(
        b'"data": {', b'"data": {"metadata": {"x": %b1%b}, ' % (b"[" * 150, b"]" * 150)
    )
    huge = created(2, "2").replace(
        b'"data": {', b'"data": {"metadata": {"x": 1%b}, ' % (b"0" * 3_000)
    )

    report, letters = ingest(log, [deep, huge, created(3, "3")])

    assert counts(report) == (3, 1, 0, 2)
    assert [line for line, _ in letters] == [1, 2]


def test_the_largest_batch_holds_registrations_with_all_that_comes_with_them(log):
    lines = [registered(n, f"u{n}", f"{n}@b.io") for n in range(1, 4_001)]

    report, _ = ingest(log, lines, batch_lines=100_000)

    assert counts(report) == (4_000, 4_000, 0, 0)
