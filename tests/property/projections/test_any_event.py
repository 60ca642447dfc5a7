"""No event stops a built-in read model: whatever can be recorded and read can be folded."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from eventcore.events import NewEvent, stream_of
from eventcore.events.codec import Codec, GenericEvent
from eventcore.projections import ProjectionRunner, built_in_projections
from eventcore.projections.read_models import EVENTS, USER_EVENTS
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.property.events.strategies import (
    domain_events,
    json_objects,
    json_values,
    new_events,
    timestamps,
)
from tests.unit.projections.histories import rows_of

no_ids = st.sampled_from(["", "a\0b", "\0", "a\nb", "\x1f", "\x7f", "x" * 129]) | json_values
ids = st.sampled_from(["u1", "é", "a b", "x\u00a0y", "\U0010ffff", "x" * 128])
payloads = st.builds(
    lambda free, named: {**free, **named},
    json_objects,
    st.fixed_dictionaries({}, optional={"userId": no_ids | ids, "sessionId": no_ids | ids}),
)
generic = payloads.map(
    lambda fields: GenericEvent.model_construct(type="foo.bar", schema_version=1, fields=fields)
)
facts = st.none() | ids | st.sampled_from(["a\0b", "", "x" * 129])


@st.composite
def hostile_events(draw: st.DrawFn) -> NewEvent[Any]:
    """An event of a type nobody knows, in a context that no application would give."""
    return NewEvent(
        payload=draw(generic),
        event_id=UUID(int=0),
        timestamp=draw(timestamps),
        correlation_id=draw(facts),
        user_id=draw(facts),
        session_id=draw(facts),
    )


histories: SearchStrategy[list[NewEvent[Any]]] = st.lists(
    new_events(domain_events()) | hostile_events(), min_size=1, max_size=8
)


def log_of(history: list[NewEvent[Any]]) -> MemoryLog:
    log = MemoryLog(Codec(allow_unknown=True))
    for number, event in enumerate(history, start=1):
        encoded = log.codec.encode(event._replace(event_id=UUID(int=number)))
        log.append([StreamAppend(stream_of(event.payload), ANY_VERSION, [encoded])])
    return log


@given(histories)
def test_whatever_is_recorded_is_folded_by_all_eight(history: list[NewEvent[Any]]) -> None:
    log = log_of(history)
    with TemporaryDirectory() as folder, closing(SQLiteViews(Path(folder) / "views.db")) as views:
        assert ProjectionRunner(log, views, built_in_projections()).run_to_head().position == len(
            history
        )
        rows = rows_of(views, built_in_projections())

    named = [row.user_id for row in rows[EVENTS.name] if row.user_id is not None]
    assert sorted(named) == sorted(row.user_id for row in rows[USER_EVENTS.name])
    assert all(0 < len(name) <= 128 and "\0" not in name for name in named)
