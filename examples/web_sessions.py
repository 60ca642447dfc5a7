"""Print a day of NASA's web server log of 1995 as ``session.*`` events.

    python examples/web_sessions.py nasa_http_1995-08-01.tsv.gz | eventcore ingest -

The log knows hosts, not sessions. A host's requests are one session until it is silent for more
than 30 minutes: ``session.started`` at the first request, one ``session.activity`` for each request
(the method is the action, the url the target), ``session.ended`` at the last request, with reason
timeout. A host is not a user, so sessions are anonymous.

The log must be in order of time, as servers write it. A session's end is printed once its 30
minutes have passed, so every session is in order while the whole is not quite: an end comes later
than its own time. Only live sessions are held in memory, whatever the length of the log.

Source: NASA-HTTP, Internet Traffic Archive; tab-separated, Latin-1, times in epoch seconds.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from wire_lines import Event, SourceError, arguments, print_events, utc_text, wire_event

DATA_SET = "nasa-http"
COLUMNS = ("host", "logname", "time", "method", "url", "response", "bytes", "referer", "useragent")
SILENCE_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the log; ``row`` counts from 1 and tells equal lines apart."""

    row: int
    host: str
    seconds: int
    method: str
    url: str
    response: str
    size: str

    def event(self, event_type: str, session_id: str, **fields: Any) -> Event:
        """Build the event of this request's time and place in the log."""
        return wire_event(
            event_type,
            DATA_SET,
            utc_text(datetime.fromtimestamp(self.seconds, UTC)),
            payload={"sessionId": session_id, **fields},
            position=f"{self.row}:{self.host}:{self.seconds}",
            sessionId=session_id,
        )

    def activity(self, session_id: str) -> Event:
        """Build the event that says what was asked for and what came back."""
        numbers = {"response": self.response, "bytes": self.size}
        # The server writes - for a size it does not know.
        details = {name: int(text) for name, text in numbers.items() if text.isdecimal()}
        known: dict[str, Any] = {"target": self.url} if self.url else {}
        known |= {"details": details} if details else {}
        return self.event("session.activity", session_id, action=self.method, **known)


def read_requests(source: BinaryIO) -> Iterator[Request]:
    """Read the log; quotation marks in it are characters like any other."""
    header = source.readline().decode("latin-1").rstrip("\r\n").split("\t")
    if tuple(header) != COLUMNS:
        msg = f"line 1: the columns are not {' '.join(COLUMNS)}"
        raise SourceError(msg)
    latest = 0
    for row, line in enumerate(source, start=1):
        fields = line.decode("latin-1").rstrip("\r\n").split("\t")
        if len(fields) != len(COLUMNS):
            msg = f"line {row + 1}: {len(fields)} fields, the header has {len(COLUMNS)}"
            raise SourceError(msg)
        host, _, time, method, url, response, size, *_ = fields
        if not time.isdecimal():
            msg = f"line {row + 1}: {time!r} is not a time in seconds"
            raise SourceError(msg)
        request = Request(row, host, int(time), method, url, response, size)
        if request.seconds < latest:
            msg = f"line {row + 1}: is earlier than the line before it; sort the log by time"
            raise SourceError(msg)
        latest = request.seconds
        yield request


def events(source: BinaryIO, left_out: Counter[str]) -> Iterator[Event]:
    del left_out  # every line is an activity
    # Least recently heard of first, so that those who fell silent are at the front.
    live: OrderedDict[str, tuple[str, Request]] = OrderedDict()
    for request in read_requests(source):
        yield from ended(live, silent_since=request.seconds - SILENCE_SECONDS)
        if request.host in live:
            session_id, _ = live[request.host]
        else:
            # Named by its start, not by a count: logs of other days never give the same name.
            session_id = f"{request.host}#{request.seconds}"
            yield request.event("session.started", session_id)
        yield request.activity(session_id)
        live[request.host] = (session_id, request)
        live.move_to_end(request.host)
    yield from ended(live)


def ended(
    live: OrderedDict[str, tuple[str, Request]], silent_since: int | None = None
) -> Iterator[Event]:
    """Take out the sessions last heard of before a time (all, without one) and end them."""
    while live:
        session_id, last = next(iter(live.values()))
        if silent_since is not None and last.seconds >= silent_since:
            return
        del live[last.host]
        yield last.event("session.ended", session_id, reason="timeout")


if __name__ == "__main__":
    print_events(arguments(__doc__).parse_args(), events)
