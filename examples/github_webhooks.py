"""Print GitHub's published example payloads as ``integration.webhook.received`` events.

    python examples/github_webhooks.py github_payloads.jsonl.gz | eventcore ingest -

A line of the file is ``{"event": ..., "example": ..., "payload": {...}}``. The payload is passed on
character by character as it is written, so no number or name changes on its way; the event's name
goes where GitHub puts it, in the X-GitHub-Event header. The delivery id is made of the line, since
examples were never delivered.

Nor do they say when they would have been: payloads hold many times and none is the delivery's. So
the time is yours to give (``--at``): line n is n microseconds after it.

Source: github.com/octokit/webhooks, payload-examples/api.github.com.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import BinaryIO, NoReturn

import orjson
from wire_lines import Event, SourceError, arguments, print_events, utc_text, wire_event

DATA_SET = "github-webhooks"
MEMBERS = {"event", "example", "payload"}
BLANK = re.compile(r"[ \t\r\n]*")


def events(source: BinaryIO, left_out: Counter[str], *, at: datetime) -> Iterator[Event]:
    del left_out  # every line is a webhook
    for number, line in enumerate(source, start=1):
        try:
            members = member_texts(line.decode().strip())
        except ValueError as error:
            msg = f"line {number}: {error}"
            raise SourceError(msg) from error
        name, example = json.loads(members["event"]), json.loads(members["example"])
        webhook_id = f"{name}:{example}:{number}"
        yield wire_event(
            "integration.webhook.received",
            DATA_SET,
            utc_text(at + timedelta(microseconds=number)),
            payload={
                "webhookId": webhook_id,
                "source": "github",
                "payload": orjson.Fragment(members["payload"]),
            },
            position=webhook_id,
            metadata={"headers": {"X-GitHub-Event": name}},
        )


def member_texts(line: str) -> dict[str, str]:
    """Cut a JSON object into its members, each value as the text that stands there.

    Raises:
        ValueError: The line is no JSON object with the members of this data set.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    document = decoder.decode(line)
    if not isinstance(document, dict) or set(document) != MEMBERS:
        msg = f"not an object of {', '.join(sorted(MEMBERS))}"
        raise SourceError(msg)
    texts: dict[str, str] = {}
    place = _after_blank(line, 1)
    while line[place] != "}":  # valid by now: every step finds what it looks for
        name, place = decoder.raw_decode(line, place)
        start = _after_blank(line, line.index(":", place) + 1)
        _, end = decoder.raw_decode(line, start)
        texts[name] = line[start:end]
        place = _after_blank(line, end)
        if line[place] == ",":
            place = _after_blank(line, place + 1)
    return texts


def _after_blank(line: str, place: int) -> int:
    blank = BLANK.match(line, place)
    return blank.end() if blank else place


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise SourceError(msg)


if __name__ == "__main__":
    chosen = arguments(__doc__, needs_time=True).parse_args()
    print_events(chosen, partial(events, at=chosen.at))
