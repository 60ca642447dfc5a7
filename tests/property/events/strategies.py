"""Strategies for events, made from their declarations: any event of any registered type."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

from annotated_types import MaxLen
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel, ValidationError

import eventcore.events.catalogue  # noqa: F401 - registers the built-in types
from eventcore.events import DomainEvent, EventRegistry, NewEvent, default_registry
from eventcore.events.currencies import MINOR_UNIT_EXPONENTS
from eventcore.events.fields import MONEY_DECIMAL_PLACES, _Currency, _FreeJson, _Money

TEXT_LENGTH = 12

no_control = st.characters(exclude_categories=["Cs", "Cc"])
no_nul = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")

ids = st.text(no_control, min_size=1, max_size=TEXT_LENGTH)
texts = st.text(no_nul, min_size=1, max_size=TEXT_LENGTH)
# An address is trimmed when it is read, so that one with blanks around it comes back without.
trimmed = texts.map(str.strip).filter(bool)
amounts = st.decimals(-(10**12), 10**12, places=MONEY_DECIMAL_PLACES) | st.integers(
    -(10**14), 10**14
).map(Decimal)
currencies = st.sampled_from(sorted(MINOR_UNIT_EXPONENTS))
json_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=TEXT_LENGTH)
json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=TEXT_LENGTH)
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_keys, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(json_keys, json_values, max_size=3)
offsets = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
timestamps = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.just(UTC),
)


@cache
def domain_events(
    registry: EventRegistry = default_registry, *, internal: bool = True
) -> SearchStrategy[Any]:
    """Any event of any type of a registry; without bookkeeping events if ``internal`` is False."""
    # Other tests register types of their own, whose ids may be no stream's.
    own = [cls for cls in registry if cls.__module__.startswith("eventcore.")]
    found = own if registry is default_registry else registry
    classes = [cls for cls in found if internal or not cls.__event__.internal]
    return st.one_of([events_of(cls) for cls in classes])


@cache
def events_of(event_class: type[DomainEvent]) -> SearchStrategy[Any]:
    """Any event of one class."""
    return _models(event_class)


@st.composite
def new_events(
    draw: st.DrawFn,
    payloads: SearchStrategy[Any] | None = None,
    *,
    registry: EventRegistry = default_registry,
) -> NewEvent[Any]:
    """Any event with its metadata; the ids of the envelope agree with those of the payload."""
    payload = draw(domain_events(registry) if payloads is None else payloads)
    facts = {
        name: draw(st.none() | ids)
        for name in ("source", "correlation_id", "causation_id", "environment", "region")
    }
    for name in ("user_id", "session_id"):
        agreeing = getattr(payload, name, None)
        facts[name] = draw(st.none() | (ids if agreeing is None else st.just(agreeing)))
    return NewEvent(
        payload=payload,
        event_id=draw(st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))),
        timestamp=draw(timestamps),
        metadata=draw(_metadata(payload)),
        **facts,
    )


def _metadata(payload: DomainEvent) -> SearchStrategy[dict[str, Any]]:
    declared = payload.__event__.metadata
    if declared is None:
        return json_objects
    reserved = {n for name, f in declared.model_fields.items() for n in (name, f.alias)}
    others = json_objects.map(lambda free: {k: v for k, v in free.items() if k not in reserved})
    # Reading puts the named keys first, in the order of their declaration.
    named = _models(declared).map(_given)
    return st.builds(lambda typed, free: {**typed, **free}, named, others)


def _given(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


@cache
def _models(model: type[BaseModel]) -> SearchStrategy[Any]:
    fields = {
        name: _values(info.annotation, tuple(info.metadata))
        for name, info in model.model_fields.items()
    }

    def build(values: Mapping[str, Any]) -> Any:
        try:
            return model(**{name: value for name, value in values.items() if value is not None})
        except ValidationError:  # a rule over several fields, such as "at least one"
            reject()

    return st.fixed_dictionaries(fields).map(build)


def _values(annotation: Any, metadata: tuple[Any, ...] = ()) -> SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _values(inner, (*_flat(more), *metadata))
    if get_origin(annotation) in {Union, UnionType}:
        return st.one_of(
            [st.none() if a is type(None) else _values(a, metadata) for a in get_args(annotation)]
        )
    if any(tag is _Money for tag in metadata):
        return amounts
    if any(tag is _Currency for tag in metadata):
        return currencies
    for tag in metadata:
        if isinstance(tag, _FreeJson):
            return json_objects if tag._only_object else json_values.filter(lambda v: v is not None)
    if get_origin(annotation) is tuple:
        return st.lists(_values(get_args(annotation)[0]), max_size=3).map(tuple)
    if get_origin(annotation) is dict:
        return st.dictionaries(json_keys, _values(get_args(annotation)[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _models(annotation)
    if annotation is str:
        return _strings(metadata)
    if annotation is bool:
        return st.booleans()
    if annotation in {int, float}:
        return _numbers(annotation, metadata)
    msg = f"no strategy for {annotation!r}: add one"
    raise TypeError(msg)


def _flat(metadata: list[Any]) -> list[Any]:
    return [part for item in metadata for part in (getattr(item, "metadata", None) or [item])]


def _strings(metadata: tuple[Any, ...]) -> SearchStrategy[str]:
    patterns = "".join(str(getattr(item, "pattern", "") or "") for item in metadata)
    if any(getattr(item, "strip_whitespace", None) for item in metadata):
        return trimmed
    if r"\x1f" in patterns or any(isinstance(i, MaxLen) and i.max_length <= 128 for i in metadata):
        return ids
    return texts


def _numbers(kind: type[Any], metadata: tuple[Any, ...]) -> SearchStrategy[Any]:
    bounds: dict[str, Any] = {
        name: getattr(item, name)
        for item in metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(item, name)
    }
    if kind is int:
        low = bounds.get("ge", bounds["gt"] + 1 if "gt" in bounds else None)
        high = bounds.get("le", bounds["lt"] - 1 if "lt" in bounds else None)
        return st.integers(low, high)
    return st.floats(
        bounds.get("ge", bounds.get("gt")),
        bounds.get("le", bounds.get("lt")),
        exclude_min="gt" in bounds,
        exclude_max="lt" in bounds,
        allow_nan=False,
        allow_infinity=False,
    )
