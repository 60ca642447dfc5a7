"""What one event costs in each of its forms, beside a bare ``json.loads`` of the same line."""

from __future__ import annotations

import json
import statistics
import timeit
from collections.abc import Callable
from typing import Any, cast

import eventcore.events.catalogue  # noqa: F401 - registers the built-in types
from benchmarks.measuring import Figure, arguments, interleaved, ratio, report
from eventcore.events import Codec, Recorded, stream_of
from eventcore.events.wire import from_wire, to_wire

CALLS = 5_000

AROUND = (
    b'{"eventId":"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000","eventType":"%b","eventSource":"shop",'
    b'"timestamp":"2026-11-22T21:34:28.123456Z","version":"1","data":{"payload":%b,"metadata":{}}}'
)
ITEM = b'{"productId":"85123A","quantity":6,"price":"2.55"}'
LINES = {
    "session.activity": b'{"sessionId":"199.72.81.55-1","action":"GET","target":"/history/apollo/",'
    b'"details":{"status":200,"bytes":6245}}',
    "user.registered": b'{"userId":"u-1","email":"ada@example.com","firstName":"Ada"}',
    "order.created": b'{"orderId":"536365","userId":"17850","items":['
    + b",".join([ITEM] * 5)
    + b'],"totalAmount":"76.50","currency":"GBP"}',
}


def microseconds(call: Callable[[], Any]) -> Callable[[], float]:
    return lambda: timeit.timeit(call, number=CALLS) / CALLS * 1e6


def costs(line: bytes) -> dict[str, Callable[[], float]]:
    codec = Codec()
    event = from_wire(line)
    encoded = codec.encode(event)
    stream, recorded = stream_of(event.payload), cast("type[Recorded[Any]]", Recorded)
    return {
        "json.loads": microseconds(lambda: json.loads(line)),
        "from_wire": microseconds(lambda: from_wire(line)),
        "to_wire": microseconds(lambda: to_wire(event)),
        "encode": microseconds(lambda: codec.encode(event)),
        "decode": microseconds(
            lambda: recorded(1, stream, 1, encoded.type, encoded.state, codec).payload
        ),
    }


def main() -> None:
    """Measure every form of three types of events."""
    options = arguments(__doc__ or "", rounds=5)
    figures = []
    for event_type, payload in LINES.items():
        found = interleaved(costs(AROUND % (event_type.encode(), payload)), options.rounds)
        figures += [
            Figure(
                f"{event_type} {name}",
                statistics.median(values),
                "us",
                low=min(values),
                high=max(values),
            )
            for name, values in found.items()
        ]
        name = f"{event_type} from_wire over json.loads"
        figures.append(ratio(name, found["from_wire"], found["json.loads"]))
    report("forms of an event, microseconds each", figures)


if __name__ == "__main__":
    main()
