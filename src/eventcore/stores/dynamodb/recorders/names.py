"""How stored events of ``eventsourcing`` are named in the log, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from eventcore.errors import ConfigurationError, StoreError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.dynamodb.layout import VERSION_ZERO
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, at_most
from eventcore.stores.limits import is_storable
from eventcore.stores.log import StreamAppend

OriginatorIdType = Literal["uuid", "text"]

NAME_BYTES_MAX: Final = 1_024
"""Bytes of an originator id, or a topic. A partition key has 2,048 at most (AWS, DynamoDB Developer
Guide, "Quotas"), of which the names of application and purpose need some."""

_APPLICATION = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Place(NamedTuple):
    """Which event of which originator."""

    originator_id: str
    version: int


def prefix_of(application_name: str) -> str:
    """Name of an application's log within its table.

    Raises:
        ConfigurationError: It cannot be part of a key.
    """
    if not application_name:
        return "app"
    if not _APPLICATION.fullmatch(application_name):
        raise ConfigurationError(
            message=(
                f"An application on DynamoDB has a name of up to 60 letters, digits, _ . or -, not "
                f"{application_name!r}: set the attribute 'name' of its class"
            )
        )
    return f"app.{application_name}"


def appends_of(store: str, stored_events: Sequence[StoredEvent]) -> list[StreamAppend]:
    """The events as appends that name the version they build on.

    Raises:
        StoreError: A version is negative, or a name cannot be stored.
        LimitExceededError: A name or a state is too long.
    """
    return [_append_of(store, event) for event in stored_events]


def checked(store: str, event: StoredEvent) -> Place:
    """Where an event belongs, if it can be stored.

    Raises:
        StoreError: Its version is negative, or a name cannot be stored.
        LimitExceededError: A name or its state is too long.
    """
    name, version = str(event.originator_id), event.originator_version
    for what, text in (("originator id", name), ("topic", event.topic)):
        if not is_storable(text):
            problem = f"the {what} {text!r} has control characters or half a surrogate pair"
            raise StoreError(store=store, problem=problem)
        at_most(f"the {what}", len(text.encode()), limit=NAME_BYTES_MAX, unit="bytes")
    if not name or version < 0:
        raise StoreError(store=store, problem=f"no event has version {version} of {name!r}")
    what = f"version {version} of {name}"
    at_most(what, len(event.state), limit=STATE_BYTES_MAX, unit="bytes")
    return Place(name, version)


def place_of(stream: str, version: int) -> Place:
    """Of an event in a cell of the log."""
    if stream.endswith(VERSION_ZERO):
        return Place(stream.removesuffix(VERSION_ZERO), version - 1)
    return Place(stream, version)


def originator_id_of(name: str, id_type: OriginatorIdType) -> UUID | str:
    """As the application knows it."""
    return UUID(name) if id_type == "uuid" else name


def _append_of(store: str, event: StoredEvent) -> StreamAppend:
    name, version = checked(store, event)
    # An id that is as unique as the place: nothing else may be at it.
    encoded = EncodedEvent(f"{version}@{name}", event.topic, "", bytes(event.state))
    if version == 0:
        return StreamAppend(name + VERSION_ZERO, 0, [encoded])
    return StreamAppend(name, version - 1, [encoded])
