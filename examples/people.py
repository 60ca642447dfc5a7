"""Print the made-up people of Splink's test set as ``user.registered`` events.

    python examples/people.py splink_fake_1000.csv | eventcore ingest -

The set is for record linkage, so it is full of what registrations are full of: missing and broken
e-mails, one person several times under one e-mail, names with stray spaces. All of it is printed as
it stands, and what is missing is absent; refusing some of it is the importer's business.

The file does not say when anyone registered, and an event must have a time. So the time is yours
to give (``--at``): row n is n microseconds after it, which keeps the order of the file. The birth
date, the city and the answer column (cluster) have no place in the event and are left out.

Source: github.com/moj-analytical-services/splink, tests/datasets.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import BinaryIO

from wire_lines import Event, arguments, csv_rows, print_events, utc_text, wire_event

DATA_SET = "splink-fake-1000"
FIELD_OF_COLUMN = {
    "unique_id": "userId",
    "email": "email",
    "first_name": "firstName",
    "surname": "lastName",
}


def events(source: BinaryIO, left_out: Counter[str], *, at: datetime) -> Iterator[Event]:
    del left_out  # every row is a registration
    for number, row in enumerate(csv_rows(source, tuple(FIELD_OF_COLUMN)), start=1):
        fields = zip(FIELD_OF_COLUMN.values(), row, strict=True)
        payload = {field: text for field, text in fields if text}
        yield wire_event(
            "user.registered",
            DATA_SET,
            utc_text(at + timedelta(microseconds=number)),
            payload=payload,
            position=payload.get("userId", f"row {number}"),
            userId=payload.get("userId"),
        )


if __name__ == "__main__":
    chosen = arguments(__doc__, needs_time=True).parse_args()
    print_events(chosen, partial(events, at=chosen.at))
