"""Whatever the lines and however they are cut into batches, an import decides the same, once."""

import json
import uuid
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from eventcore.events.codec import Codec
from eventcore.ingestion.lines import Line
from eventcore.ingestion.pipeline import Ingestion
from eventcore.stores.memory.log import MemoryLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)

USERS = st.sampled_from(["u1", "u2", "u3"])
ORDERS = st.sampled_from(["o1", "o2"])
EMAILS = st.sampled_from(["a@b.io", "A@B.io", "c@d.io", " c@d.io", "no address"])
ITEMS = [{"productId": "tea", "quantity": 2, "price": "2.50"}]

EVENTS = st.one_of(
    st.builds(lambda u, e: ("user.registered", {"userId": u, "email": e}), USERS, EMAILS),
    st.builds(lambda u, e: ("user.email_changed", {"userId": u, "email": e}), USERS, EMAILS),
    st.builds(lambda u: ("user.closed", {"userId": u}), USERS),
    st.builds(
        lambda o: (
            "order.created",
            {"orderId": o, "items": ITEMS, "totalAmount": "5.00", "currency": "EUR"},
        ),
        ORDERS,
    ),
    st.builds(lambda o: ("order.paid", {"orderId": o, "amount": "5.00"}), ORDERS),
    st.builds(lambda o: ("order.shipped", {"orderId": o}), ORDERS),
    st.just(("session.ended", {"sessionId": "never-started"})),
    st.just(("integration.webhook.received", {"webhookId": "w", "source": "s", "payload": {}})),
)


@st.composite
def imports(draw) -> list[bytes]:
    lines = []
    for number, (event_type, payload) in enumerate(draw(st.lists(EVENTS, max_size=25)), 1):
        record = {
            # Now and then an id comes again, with the same content or another.
            "eventId": str(uuid.UUID(int=draw(st.sampled_from([number, number, number, 1])))),
            "eventType": event_type,
            "timestamp": "2025-06-01T10:00:00Z",
            "data": {"payload": payload},
        }
        lines.append(json.dumps(record).encode())
        if draw(st.integers(0, 9)) == 0:
            lines.append(draw(st.sampled_from([*lines, b"{", b"\xff"])))
    return lines


class Letters(list):
    def write(self, letters) -> None:
        self.extend((letter.line.number, letter.reason) for letter in letters)


def ingest(log: MemoryLog, lines: list[bytes], batch_lines: int):
    letters = Letters()
    report = Ingestion(log, Codec(), clock=lambda: NOW, batch_lines=batch_lines).run(
        [Line(number, data) for number, data in enumerate(lines, 1)], letters
    )
    assert report.read == len(lines) == report.accepted + report.duplicate + report.rejected
    return report, letters


def contents(log: MemoryLog):
    return [(event.stream, event.version, event.type, event.state) for event in log.read()]


@given(imports(), st.integers(1, 30))
def test_batches_do_not_matter_and_a_second_run_appends_nothing(lines, batch_lines):
    one_by_one, cut = MemoryLog(Codec()), MemoryLog(Codec())
    first, letters = ingest(one_by_one, lines, 1)

    other, other_letters = ingest(cut, lines, batch_lines)
    again, letters_again = ingest(cut, lines, batch_lines)

    assert other_letters == letters
    assert contents(cut) == contents(one_by_one)
    assert (other.accepted, other.duplicate) == (first.accepted, first.duplicate)
    assert again.accepted == 0
    assert letters_again == letters
    holders = [e for e in cut.read() if e.type.startswith("reservation.")]
    assert len(cut.read_page(0, 10_000).events) == other.accepted + len(holders)


@given(imports(), st.integers(0, 30), st.integers(1, 7))
def test_an_import_that_stopped_anywhere_and_is_repeated_ends_the_same(lines, stop, batch_lines):
    whole, stopped = MemoryLog(Codec()), MemoryLog(Codec())
    ingest(whole, lines, batch_lines)

    # It stops between two batches: a batch is one append.
    ingest(stopped, lines[: stop - stop % batch_lines], batch_lines)
    ingest(stopped, lines, batch_lines)

    assert contents(stopped) == contents(whole)
