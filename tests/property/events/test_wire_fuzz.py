"""Whatever bytes come in, the wire reader answers with an event or with its one error."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from eventcore.errors import InvalidEventError
from eventcore.events import NewEvent
from eventcore.events.cloudevents import from_cloudevent
from eventcore.events.wire import from_wire, to_wire
from tests.property.events.strategies import json_objects, json_values, new_events

REASONS = {
    "not-json", "missing-field", "invalid-field", "unknown-field", "unknown-type",
    "unknown-version", "id-mismatch", "too-large",
}  # fmt: skip


def known(refused: InvalidEventError) -> str:
    assert refused.reason in REASONS
    return refused.reason


def answer(raw: bytes, *, allow_unknown: bool = True) -> NewEvent[Any] | str:
    try:
        event = from_wire(raw, allow_unknown=allow_unknown)
    except InvalidEventError as refused:
        return known(refused)
    assert from_wire(to_wire(event), allow_unknown=allow_unknown) == event
    return event


@given(st.binary(max_size=200))
@example(b"\xff{}")
@example(b'{"eventType":"order.paid"')
def test_any_bytes(raw: bytes) -> None:
    answer(raw)


@given(json_values)
def test_any_json(value: Any) -> None:
    answer(json.dumps(value).encode())


@given(new_events(), st.data())
def test_a_line_with_some_bytes_changed(event: NewEvent[Any], data: st.DataObject) -> None:
    raw = bytearray(to_wire(event))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        stop = data.draw(st.integers(start, min(len(raw), start + 4)))
        raw[start:stop] = data.draw(st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"1e9"]))

    answer(bytes(raw))


@given(new_events(), st.data())
def test_a_line_with_one_member_replaced(event: NewEvent[Any], data: st.DataObject) -> None:
    whole = json.loads(to_wire(event))
    holder: Any = data.draw(st.sampled_from([whole, whole["data"], whole["data"]["payload"]]))
    key = data.draw(st.sampled_from([*holder, "other"]))
    holder[key] = data.draw(json_values)

    answer(json.dumps(whole).encode())


@given(new_events(), st.data())
def test_a_key_given_twice_is_always_refused(event: NewEvent[Any], data: st.DataObject) -> None:
    raw = to_wire(event)
    whole = json.loads(raw)
    holder = data.draw(st.sampled_from([whole, whole["data"], whole["data"]["payload"]]))
    if not holder:
        return
    key = data.draw(st.sampled_from(list(holder)))
    inner = json.dumps(holder, separators=(",", ":"), ensure_ascii=False)
    twice = f"{{{json.dumps(key)} : {json.dumps(holder[key])},{inner[1:]}"
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)

    assert answer(text.replace(inner, twice, 1).encode()) == "not-json"


@given(json_objects | st.binary(max_size=100))
def test_any_cloudevent(value: Any) -> None:
    base = {"specversion": "1.0", "id": "1", "source": "/x", "type": "order.paid"}
    for candidate in (value, {**base, **value} if isinstance(value, dict) else value):
        try:
            from_cloudevent(candidate, allow_unknown=True)
        except InvalidEventError as refused:
            known(refused)
