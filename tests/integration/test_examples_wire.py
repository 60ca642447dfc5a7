"""The example scripts print what their sources hold: all of it, exactly, and nothing more.

Compared with ``independent_totals``, which reads the same files on its own.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from tests.integration import independent_totals

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCE_OF = {
    "online_retail": independent_totals.ONLINE_RETAIL,
    "people": independent_totals.PEOPLE,
    "web_sessions": independent_totals.WEB_LOG,
    "github_webhooks": independent_totals.WEBHOOKS,
    "amlb_models": independent_totals.MODEL_RUNS,
}
SCRIPTS = sorted(SOURCE_OF)
REQUIRED_KEYS = {"eventId", "eventType", "eventSource", "timestamp", "version", "data"}
OPTIONAL_KEYS = {"correlationId", "causationId", "userId", "sessionId", "environment", "region"}
FIXED_WIDTH_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


@dataclass(frozen=True)
class Ran:
    """How a script ended, and what it wrote."""

    status: int
    out: bytes
    err: str

    @property
    def events(self):
        # Decimal: 0.10 and 0.1 are the same metric, 0.1 read as a binary double is another one.
        return [json.loads(line, parse_float=Decimal) for line in self.out.splitlines()]

    @property
    def payloads(self):
        return [event["data"]["payload"] for event in self.events]


def run(script: str, *arguments: str | Path, given: bytes = b"", hash_seed: str = "0") -> Ran:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{script}.py", *arguments],
        input=given,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


@cache
def printed(script: str, data: Path) -> Ran:
    """Output of a script over its whole source, run once however many tests read it."""
    ran = run(script, data / SOURCE_OF[script])
    assert (ran.status, ran.err) == (0, "")
    return ran


def types(ran: Ran) -> dict[str, int]:
    return dict(Counter(event["eventType"] for event in ran.events))


# --- What holds for every script ---------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_line_is_in_wire_form(shared_data, script):
    for event in printed(script, shared_data).events:
        assert REQUIRED_KEYS <= event.keys() <= REQUIRED_KEYS | OPTIONAL_KEYS
        assert str(uuid.UUID(event["eventId"])) == event["eventId"]
        assert FIXED_WIDTH_UTC.fullmatch(event["timestamp"])
        assert datetime.fromisoformat(event["timestamp"]).utcoffset() == timedelta(0)
        assert event["version"] == "1"
        assert event["data"].keys() == {"payload", "metadata"}
        assert all(type(value) is str and value for key, value in event.items() if key != "data")


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_the_source_does_not_have_is_absent_and_never_empty_or_null(shared_data, script):
    for payload in printed(script, shared_data).payloads:
        own_fields = {key: value for key, value in payload.items() if key != "payload"}
        assert not [key for key, value in own_fields.items() if value in ("", None, {}, [])]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_two_events_share_an_id(shared_data, script):
    ids = [event["eventId"] for event in printed(script, shared_data).events]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("script", SCRIPTS)
def test_ids_in_envelope_and_payload_agree_and_fit_the_limits(shared_data, script):
    for event in printed(script, shared_data).events:
        payload = event["data"]["payload"]
        for key in ("userId", "sessionId"):
            assert event.get(key) == payload.get(key)
        for key in ("orderId", "userId", "sessionId", "modelId", "modelVersion", "webhookId"):
            assert 1 <= len(payload.get(key, "-")) <= 128
            assert payload.get(key, "-").isprintable()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_second_run_prints_the_same_bytes(shared_data, script):
    again = run(script, shared_data / SOURCE_OF[script], hash_seed="1234")

    assert again.out == printed(script, shared_data).out


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_same_bytes_come_from_standard_input_plain_or_packed(shared_data, script):
    packed_or_plain = (shared_data / SOURCE_OF[script]).read_bytes()
    is_packed = SOURCE_OF[script].endswith(".gz")
    other = gzip.decompress(packed_or_plain) if is_packed else gzip.compress(packed_or_plain)

    assert run(script, "-", given=other).out == printed(script, shared_data).out


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_source_that_is_absent_is_named_in_one_line(tmp_path, script):
    ran = run(script, tmp_path / "absent.csv")

    assert (ran.status, ran.out) == (2, b"")
    assert ran.err == f"{tmp_path}/absent.csv: [Errno 2] No such file or directory: " + (
        f"'{tmp_path}/absent.csv'\n"
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_source_that_is_something_else_is_refused_without_a_traceback(script):
    ran = run(script, "-", given=b"a,b\n1,2\n")

    assert (ran.status, ran.out) == (2, b"")
    assert ran.err.startswith("-: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_packed_source_that_was_cut_off_is_refused_without_a_traceback(shared_data, script):
    whole = (shared_data / SOURCE_OF[script]).read_bytes()
    packed = whole if SOURCE_OF[script].endswith(".gz") else gzip.compress(whole)

    ran = run(script, "-", given=packed[: len(packed) // 2])

    assert ran.status == 2
    assert ran.err == "-: Compressed file ended before the end-of-stream marker was reached\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_reader_that_goes_away_ends_the_script_quietly(shared_data, script):
    source = shared_data / SOURCE_OF[script]
    command = [sys.executable, EXAMPLES / f"{script}.py", source]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()

    assert complaint == b""
    assert process.returncode == 1


# --- Online Retail -----------------------------------------------------------------------------


def test_every_sale_invoice_becomes_one_order_with_its_lines_as_they_stand(shared_data):
    expected = independent_totals.online_retail(shared_data / independent_totals.ONLINE_RETAIL)

    events = printed("online_retail", shared_data).events

    as_read = {
        payload["orderId"]: independent_totals.Order(
            user_id=payload.get("userId"),
            created_at=event["timestamp"],
            lines=tuple(
                (item["productId"], item["quantity"], Decimal(item["price"]))
                for item in payload["items"]
            ),
        )
        for event in events
        for payload in [event["data"]["payload"]]
    }
    assert as_read == expected.sales
    assert list(as_read) == list(expected.sales)
    assert len(events) == expected.emitted
    assert {event["data"]["payload"]["currency"] for event in events} == {"GBP"}


def test_every_total_is_the_sum_of_the_lines_in_whole_pence(shared_data):
    expected = independent_totals.online_retail(shared_data / independent_totals.ONLINE_RETAIL)

    for payload in printed("online_retail", shared_data).payloads:
        assert re.fullmatch(r"-?[0-9]+\.[0-9]{2}", payload["totalAmount"])
        assert Decimal(payload["totalAmount"]) == expected.sales[payload["orderId"]].total


def test_the_independent_totals_agree_with_the_figures_published_with_the_data(shared_data):
    published = json.loads((shared_data / "EXPECTED.json").read_text())

    retail = independent_totals.online_retail(shared_data / independent_totals.ONLINE_RETAIL)
    web = independent_totals.web_sessions(shared_data / independent_totals.WEB_LOG)
    webhooks = independent_totals.github_webhooks(shared_data / independent_totals.WEBHOOKS)
    models = independent_totals.amlb_models(shared_data / independent_totals.MODEL_RUNS)
    people = independent_totals.people(shared_data / independent_totals.PEOPLE)

    assert retail.emitted == published["online_retail"]["invoices_sale"]
    assert len(web.sessions) == published["nasa"]["sessions_30min"]["sessions"]
    assert web.hosts == published["nasa"]["hosts"]
    assert web.emitted_by_type["session.activity"] == published["nasa"]["requests"]
    assert webhooks.by_event == published["github_payloads"]["events"]
    assert models.failed == published["amlb_1h"]["runs_without_result"]
    assert len(models.versions) == published["amlb_1h"]["runs"] - models.failed
    splink = published["splink_fake_1000"]
    assert people.emitted == splink["records"]
    assert people.rejected["missing-field"] == splink["without_email"]
    assert people.rejected["invalid-email"] == splink["email_not_matching_simple_pattern"]


# --- People, web log, webhooks, models ---------------------------------------------------------


def test_every_person_is_printed_as_the_file_has_them_in_its_order(shared_data):
    expected = independent_totals.people(shared_data / independent_totals.PEOPLE)

    ran = printed("people", shared_data)

    assert ran.payloads == list(expected.registrations.values())
    assert types(ran) == {"user.registered": expected.emitted}
    start = independent_totals.STAND_IN_TIME
    assert [datetime.fromisoformat(event["timestamp"]) for event in ran.events] == [
        start + timedelta(microseconds=row) for row in range(1, expected.emitted + 1)
    ]


def test_every_session_has_its_requests_between_its_start_and_its_end(shared_data):
    expected = independent_totals.web_sessions(shared_data / independent_totals.WEB_LOG)

    ran = printed("web_sessions", shared_data)

    histories: dict[str, list] = {}
    for event in ran.events:
        histories.setdefault(event["sessionId"], []).append(event)
    sessions = []
    for session_id, (first, *middle, last) in histories.items():
        assert (first["eventType"], last["eventType"]) == ("session.started", "session.ended")
        assert {event["eventType"] for event in middle} == {"session.activity"}
        assert last["data"]["payload"] == {"sessionId": session_id, "reason": "timeout"}
        rows = [(event["timestamp"], event["data"]["payload"]) for event in middle]
        activities = tuple(
            (time, row["action"], row["target"], *row["details"].values()) for time, row in rows
        )
        assert all(list(row["details"]) == ["response", "bytes"] for _, row in rows)
        host = session_id.rpartition("#")[0]
        sessions.append(
            independent_totals.Session(host, first["timestamp"], last["timestamp"], activities)
        )
        assert sessions[-1].session_id == session_id
    assert sorted(sessions, key=lambda one: (one.host, one.started_at)) == list(expected.sessions)
    assert types(ran) == expected.emitted_by_type
    assert not [event for event in ran.events if "userId" in event]


def test_every_webhook_payload_is_passed_on_unchanged(shared_data):
    expected = independent_totals.github_webhooks(shared_data / independent_totals.WEBHOOKS)

    ran = printed("github_webhooks", shared_data)

    headers = [event["data"]["metadata"]["headers"] for event in ran.events]
    passed_on = [payload["payload"] for payload in ran.payloads]
    assert [header["X-GitHub-Event"] for header in headers] == [n for n, _ in expected.webhooks]
    assert passed_on == [payload for _, payload in expected.webhooks]
    assert {payload["source"] for payload in ran.payloads} == {"github"}
    assert len({payload["webhookId"] for payload in ran.payloads}) == expected.emitted


def test_every_run_with_a_result_is_a_version_of_a_model_registered_before_it(shared_data):
    expected = independent_totals.amlb_models(shared_data / independent_totals.MODEL_RUNS)

    ran = printed("amlb_models", shared_data)

    registered, types_of, versions = {}, {}, {}
    for event in ran.events:
        payload = event["data"]["payload"]
        model = tuple(payload["modelId"].split(":"))
        if event["eventType"] == "ml.model.registered":
            assert payload["name"] == model[0]
            registered[model] = event["timestamp"]
            types_of[model] = payload["modelType"]
        else:
            assert model in registered
            fold = payload["modelVersion"].rpartition("-fold")[2]
            versions[(*model, fold)] = independent_totals.Version(
                event["timestamp"],
                {name: Decimal(number) for name, number in payload["metrics"].items()},
                payload["trainingDataset"],
            )
    assert registered == expected.registered_at
    assert types_of == expected.type_of
    assert versions == expected.versions
    assert types(ran) == expected.emitted_by_type
    assert [e["timestamp"] for e in ran.events] == sorted(e["timestamp"] for e in ran.events)


def test_a_summary_goes_to_standard_error_and_counts_what_was_left_out(shared_data):
    expected = independent_totals.amlb_models(shared_data / independent_totals.MODEL_RUNS)
    models, versions = expected.emitted_by_type.values()

    ran = run("amlb_models", shared_data / independent_totals.MODEL_RUNS, "--summary")

    assert ran.out == printed("amlb_models", shared_data).out
    assert ran.err == (
        f"{models} ml.model.registered, {versions:,} ml.model.version_trained, "
        f"{expected.failed} failed runs left out\n"
    )


def test_a_stand_in_time_is_taken_in_any_zone_and_written_in_utc(shared_data):
    source = shared_data / independent_totals.PEOPLE

    ran = run("people", source, "--at", "2024-02-29T23:30:00-02:00")

    first = datetime(2024, 3, 1, 1, 30, 0, 1, tzinfo=UTC)
    assert datetime.fromisoformat(ran.events[0]["timestamp"]) == first
    assert run("people", source, "--at", "2024-02-29T23:30:00").status == 2
