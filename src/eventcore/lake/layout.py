"""Where things are in an archive, and what they are called.

::

    raw/events/business-events/year=2026/month=11/day=29/shard=003/0000000001-0000131072.parquet
    raw/events/_plans/0000000001.json
    raw/events/_manifests/0000000001.json

The family of an event (user, business, system, integration, ml, or one of your own) stands above
the day, so that one query over ``raw/events/*/`` finds the same partition columns everywhere. Names
that begin with ``_`` are left out by Arrow, Spark, Athena and Hive.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from eventcore.events.registry import EventRegistry

ROOT: Final = "raw/events"
MANIFESTS: Final = f"{ROOT}/_manifests"
PLANS: Final = f"{ROOT}/_plans"
TEMPORARY: Final = f"{ROOT}/_temporary"
"""Where a folder's files are written before they are published. What is there while nobody archives
is left from a crash and may be removed."""

SHARDS_DEFAULT: Final = 4
"""Parts of an archive that can be replayed at the same time, unless its first run says otherwise.
"""

SHARDS_MAX: Final = 256
"""Each is a file a day and family: more of them would mostly be empty."""

SEGMENT_EVENTS_MAX: Final = 131_072
"""Events between two manifests at most: what is held in memory, and lost by a crash."""

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of their states at which a segment ends before that."""

OTHER: Final = "other"
"""Family of events whose type names none that could be a folder."""

UNKNOWN_DAY: Final = date(1, 1, 1)
"""Day of events whose stored bytes name no time that can be read."""

_EPOCH: Final = date(1970, 1, 1)
_FAMILY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_STREAMS_REMEMBERED_MAX: Final = 131_072


@lru_cache(_STREAMS_REMEMBERED_MAX)
def shard_of(stream: str, shards: int) -> int:
    """The shard that a stream's events are in: a stable hash of its name, everywhere the same."""
    return int.from_bytes(blake2b(stream.encode(), digest_size=8).digest()) % shards


def family_of(event_type: str, registry: EventRegistry) -> str:
    """The family of a type: what it was declared with, else the first part of its name."""
    event_class = registry.get(event_type)
    declared = "" if event_class is None else event_class.__event__.group
    name = declared or event_type.partition(".")[0]
    return name if _FAMILY.fullmatch(name) else OTHER


def day_of(number: int) -> date:
    """The day so many days after 1 January 1970."""
    return _EPOCH + timedelta(days=number)


def file_name(  # noqa: PLR0917 - the parts of a path, in its order
    family: str, day: date, shard: int, first: int, last: int
) -> str:
    """Path of a file below the archive's root.

    Args:
        family: Of its events.
        day: On which they happened, UTC.
        shard: Of their streams.
        first: First position of the segment it belongs to.
        last: Last position of it.
    """
    return (
        f"{ROOT}/{family}-events/year={day.year:04}/month={day.month:02}/day={day.day:02}/"
        f"shard={shard:03}/{first:010}-{last:010}.parquet"
    )


def manifest_name(number: int) -> str:
    """Path of a manifest."""
    return f"{MANIFESTS}/{number:010}.json"


def plan_name(number: int) -> str:
    """Path of the plan that a manifest's segment was written by."""
    return f"{PLANS}/{number:010}.json"
