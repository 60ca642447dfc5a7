"""The big list of naughty strings in every text field: kept exactly, or refused with a code."""

import json
from pathlib import Path
from typing import Any

import pytest

from eventcore.errors import InvalidEventError
from eventcore.events import Codec, Recorded, stream_of
from eventcore.events.wire import from_wire, to_wire
from tests.unit.events.wire_lines import PAYLOADS, envelope

TEXT_FIELDS = [
    (event_type, name)
    for event_type, payload in sorted(PAYLOADS.items())
    for name, value in payload.items()
    if isinstance(value, str)
]
ENVELOPE_FIELDS = [
    "eventId", "eventType", "eventSource", "timestamp", "version", "correlationId", "causationId",
    "userId", "sessionId", "environment", "region",
]  # fmt: skip
TELLING_LENGTH = 12
"""A shorter string may stand in a message by chance."""


@pytest.fixture(scope="module")
def naughty_strings(shared_data: Path) -> list[str]:
    found: list[str] = json.loads((shared_data / "users/blns.json").read_text())
    assert len(found) == 515
    return found


def checked(refused: InvalidEventError, text: str) -> str:
    assert refused.reason in {"invalid-field", "unknown-type", "unknown-version", "id-mismatch"}
    assert len(text) < TELLING_LENGTH or text not in str(refused)
    return refused.reason


def outcome(whole: dict[str, Any], text: str) -> str:
    try:
        event = from_wire(json.dumps(whole).encode())
    except InvalidEventError as refused:
        return checked(refused, text)
    written = json.loads(to_wire(event))
    if "email" in whole["data"]["payload"]:
        whole["data"]["payload"]["email"] = whole["data"]["payload"]["email"].strip()
    assert written["data"] == whole["data"]
    assert {**whole, "timestamp": ""} == {**written, "timestamp": ""}
    encoded = Codec().encode(event)
    stored: Recorded[Any] = Recorded(
        1, stream_of(event.payload), 1, encoded.type, encoded.state, Codec()
    )
    assert stored.to_new() == event
    return "accepted"


@pytest.mark.parametrize(("event_type", "name"), TEXT_FIELDS)
def test_in_a_payload(event_type: str, name: str, naughty_strings: list[str]) -> None:
    outcomes = set()

    for text in naughty_strings:
        payload = {**PAYLOADS[event_type], name: text}
        outcomes.add(outcome(envelope(event_type, data={"payload": payload}), text))

    # Amounts and currencies take next to nothing, all other text nearly everything.
    assert "invalid-field" in outcomes
    assert "accepted" in outcomes or name == "currency"


@pytest.mark.parametrize("name", ENVELOPE_FIELDS)
def test_in_the_envelope(name: str, naughty_strings: list[str]) -> None:
    outcomes = {outcome(envelope(**{name: text}), text) for text in naughty_strings}

    assert outcomes & {"invalid-field", "unknown-version"}


def test_in_free_json_every_one_is_kept(naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        payload = {**PAYLOADS["session.activity"], "details": {text: [text, {text: text}]}}
        whole = envelope("session.activity", data={"payload": payload, "metadata": {text: text}})

        assert outcome(whole, text) == "accepted"
