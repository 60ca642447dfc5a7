"""Whatever event is written comes back the same: as stored bytes and in wire form."""

from typing import Any

from hypothesis import given
from pydantic_core import to_json

from eventcore.events import Codec, NewEvent, Recorded, stream_of
from eventcore.events.cloudevents import from_cloudevent, to_cloudevent
from eventcore.events.wire import from_wire, to_wire
from tests.property.events.strategies import new_events


def recorded_of(event: NewEvent[Any], codec: Codec) -> Recorded[Any]:
    encoded = codec.encode(event)
    return Recorded(1, stream_of(event.payload), 1, encoded.type, encoded.state, codec)


@given(new_events())
def test_stored_bytes_become_the_same_event_and_the_same_bytes(event: NewEvent[Any]) -> None:
    codec = Codec()

    recorded = recorded_of(event, codec)

    assert recorded.to_new() == event
    assert codec.encode(recorded.to_new()).state == recorded.state


@given(new_events())
def test_the_wire_form_becomes_the_same_event_and_the_same_bytes(event: NewEvent[Any]) -> None:
    line = to_wire(event)

    assert from_wire(line) == event
    assert to_wire(from_wire(line)) == line


@given(new_events())
def test_a_recorded_event_has_the_same_wire_form_as_before_it_was_stored(
    event: NewEvent[Any],
) -> None:
    assert to_wire(recorded_of(event, Codec())) == to_wire(event)


@given(new_events())
def test_the_cloudevent_becomes_the_same_event_and_the_same_cloudevent(
    event: NewEvent[Any],
) -> None:
    cloudevent = to_cloudevent(event)

    assert from_cloudevent(cloudevent) == event
    assert from_cloudevent(to_json(cloudevent)) == event
    assert to_cloudevent(from_cloudevent(cloudevent)) == cloudevent
