"""Whatever comes from outside is taken whole or refused with a reason; nothing else changes."""

import gzip
import json
import tarfile
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventcore.events.codec import Codec
from eventcore.events.limits import STATE_BYTES_MAX
from eventcore.ingestion.dead_letters import DeadLetter
from eventcore.ingestion.lines import Line, open_input, read_lines
from eventcore.ingestion.pipeline import Ingestion
from eventcore.stores.sqlite.log import SQLiteLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REASONS = {
    "not-json",
    "missing-field",
    "invalid-field",
    "unknown-field",
    "unknown-type",
    "unknown-version",
    "id-mismatch",
    "too-large",
    "invalid-email",
    "email-taken",
    "already-exists",
}


class KeptLetters(list[DeadLetter]):
    def write(self, letters) -> None:
        self.extend(letters)


@pytest.fixture
def log(tmp_path: Path):
    with_codec = SQLiteLog(tmp_path / "x.db", Codec(), synchronous="NORMAL")
    yield with_codec
    with_codec.close()


def ingest(log, lines: list[bytes]):
    letters = KeptLetters()
    report = Ingestion(log, Codec(), clock=lambda: NOW).run(
        [Line(number, data) for number, data in enumerate(lines, 1)], letters
    )
    assert report.read == len(lines) == report.accepted + report.duplicate + report.rejected
    assert len(letters) == report.rejected
    assert {letter.reason for letter in letters} <= REASONS
    assert [letter.line.data for letter in letters] == [
        lines[letter.line.number - 1] for letter in letters
    ]
    return report, letters


def wire(event_type: str, payload, number: int, **more) -> bytes:
    record = {
        "eventId": str(uuid.UUID(int=number)),
        "eventType": event_type,
        "timestamp": "2025-06-01T10:00:00Z",
        "data": {"payload": payload},
    }
    return json.dumps(record | more).encode()


def test_every_naughty_string_is_stored_exactly_or_refused(log, shared_data):
    strings = json.loads((shared_data / "users" / "blns.json").read_text())
    sent = {}
    for number, text in enumerate(strings, 1):
        payload = {"sessionId": f"s-{number}", "userId": text}
        sent[f"s-{number}"] = text
        sent_line = wire("session.started", payload, number)
        assert json.loads(sent_line)["data"]["payload"]["userId"] == text

        ingest(log, [sent_line])

    found = {event.payload.session_id: event.payload.user_id for event in log.read()}
    assert found == {key: sent[key] for key in found}
    # Only what an id may not be is refused: empty, over 128 characters, control characters.
    refused = {key: text for key, text in sent.items() if key not in found}
    assert all(
        not text or len(text) > 128 or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
        for text in refused.values()
    )
    assert len(found) > 400
    assert refused


def test_every_naughty_string_as_an_address_is_refused_and_stays_out_of_the_message(
    log, shared_data
):
    strings = json.loads((shared_data / "users" / "blns.json").read_text())
    lines = [
        wire("user.registered", {"userId": f"u-{n}", "email": text}, n)
        for n, text in enumerate(strings, 1)
    ]

    report, letters = ingest(log, lines)

    assert report.accepted == 0
    assert log.head() == 0
    assert {letter.reason for letter in letters} == {"invalid-email", "invalid-field"}
    # One message a reason: the text cannot be in it.
    assert len({(letter.reason, letter.message) for letter in letters}) <= 4


def test_each_address_of_the_isemail_corpus_is_judged_clearly(log, shared_data):
    rows = [
        json.loads(line)
        for line in (shared_data / "users" / "isemail_tests.jsonl").read_text().splitlines()
    ]
    lines = [
        wire("user.registered", {"userId": f"u-{n}", "email": row["address"]}, n)
        for n, row in enumerate(rows, 1)
    ]

    report, letters = ingest(log, lines)

    refused = {letter.line.number for letter in letters}
    wrong = [n for n, row in enumerate(rows, 1) if row["category"] == "ISEMAIL_ERR"]
    plain = [n for n, row in enumerate(rows, 1) if row["category"] == "ISEMAIL_VALID_CATEGORY"]
    assert set(wrong) <= refused
    # Refused of the plainly valid: only the domain without a dot, which no mail reaches.
    assert [rows[n - 1]["address"] for n in plain if n in refused] == ["test@io"]
    # Each accepted user and its reservation, nothing else.
    assert log.head() == 2 * report.accepted
    assert {letter.reason for letter in letters} <= {
        "invalid-email",
        "invalid-field",
        "email-taken",
    }


def test_no_instance_of_the_json_schema_suite_passes_for_a_payload(log, shared_data):
    archive = shared_data / "contracts" / "json_schema_test_suite.tar.gz"
    instances = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".json") else None
            groups = json.load(file) if file else []
            for group in groups if isinstance(groups, list) else []:
                instances += [test["data"] for test in group.get("tests", [])]
    assert len(instances) > 3_000
    lines = []
    for number, instance in enumerate(instances):
        lines.append(wire("order.created", instance, 3 * number + 1))
        lines.append(wire("order.created", {}, 3 * number + 2, data=instance))
        lines.append(json.dumps(instance).encode())

    report, letters = ingest(log, lines)

    assert report.accepted == 0
    assert log.head() == 0
    assert len(letters) == len(lines)
    reasons = Counter(letter.reason for letter in letters)
    assert set(reasons) == {"not-json", "missing-field", "invalid-field"}


# Below the limit as a line, above it as stored: what is stored holds the user's id twice.
NEARLY_TOO_LARGE = wire(
    "session.started", {"sessionId": "s-2", "userId": "u" * 100}, 2, causationId="c"
)
NEARLY_TOO_LARGE = NEARLY_TOO_LARGE.replace(
    b'"payload"', b'"metadata": {"x": "%b"}, "payload"' % (b"x" * (STATE_BYTES_MAX - 350))
)
GOOD = wire("session.started", {"sessionId": "s-1"}, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD[:-10], "not-json"),
        (b"\x00", "not-json"),
        (GOOD.replace(b"s-1", b"\xff"), "not-json"),
        (GOOD.replace(b"s-1", b"\\ud800"), "not-json"),
        (GOOD.replace(b"s-1", b"\\u0000"), "invalid-field"),
        (GOOD.replace(b'"s-1"', b"NaN"), "not-json"),
        (GOOD.replace(b'"s-1"', b"1e999"), "invalid-field"),
        (GOOD.replace(b"s-1", b"x" * (STATE_BYTES_MAX * 10)), "too-large"),
        (GOOD.replace(b"s-1", b"x" * 129), "invalid-field"),
        (NEARLY_TOO_LARGE, "too-large"),
        (GOOD.replace(b"2025-", b"9999999-"), "invalid-field"),
        (GOOD.replace(b"2025-", b"2099-"), "invalid-field"),
        (GOOD.replace(b"10:00:00Z", b"10:00:00"), "invalid-field"),
        (GOOD.replace(b"session.started", b"session.begun"), "unknown-type"),
        (wire("session.started", {"sessionId": "s-1"}, 1, version="2"), "unknown-version"),
        (wire("session.started", {"sessionId": "s-1"}, 1, version=1), "invalid-field"),
        (wire("session.started", {"sessionId": "s-1", "mood": "fine"}, 1), "unknown-field"),
        (wire("session.started", {"sessionId": "s-1"}, 1, sessionId="s-2"), "id-mismatch"),
        (wire("session.started", {}, 1), "missing-field"),
        (b"[" * 100_000, "not-json"),
        (b"{}", "missing-field"),
        (b"[]", "not-json"),
        (b"null", "not-json"),
        (GOOD + GOOD, "not-json"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason_and_the_good_one_beside_it_is_not(log, line, reason):
    report, letters = ingest(log, [line, GOOD])

    assert [letter.reason for letter in letters] == [reason]
    assert (report.accepted, log.head()) == (1, 1)


def test_an_id_with_slashes_quotes_and_spaces_is_an_id_like_any_other(log):
    odd = "../a/b?c='d\" ; DROP TABLE eventcore_log; --  é"

    report, _ = ingest(log, [wire("session.started", {"sessionId": odd}, 1)])

    assert report.accepted == 1
    assert [event.id for event in log.read_stream(f"session-{odd}")] == [odd]


def test_a_compressed_file_of_bad_bytes_is_refused_line_by_line(log, tmp_path):
    path = tmp_path / "bytes.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 100 + b"\n" + GOOD))
    letters = KeptLetters()

    with open_input(str(path)) as stream:
        report = Ingestion(log, Codec(), clock=lambda: NOW).run(read_lines(stream, "x"), letters)

    assert report.accepted == 1
    assert {letter.reason for letter in letters} == {"not-json"}
