"""A folder of one's own, with a small store in it, and the command line in this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eventcore.cli.program import run

USER = {
    "eventId": "0190f1a0-0000-7000-8000-000000000001",
    "eventType": "user.registered",
    "timestamp": "2024-01-01T10:00:00Z",
    "version": "1",
    "data": {"payload": {"userId": "u1", "email": "ada@example.com"}},
    "correlationId": "case-1",
}
ORDER = {
    "eventId": "0190f1a0-0000-7000-8000-000000000002",
    "eventType": "order.created",
    "timestamp": "2024-01-01T10:01:00Z",
    "version": "1",
    "data": {
        "payload": {
            "orderId": "o1",
            "userId": "u1",
            "items": [{"productId": "p", "quantity": 2, "price": "1.50"}],
            "totalAmount": "3.00",
            "currency": "GBP",
        }
    },
    "correlationId": "case-1",
    "causationId": "0190f1a0-0000-7000-8000-000000000001",
}
PAID = {
    "eventId": "0190f1a0-0000-7000-8000-000000000003",
    "eventType": "order.paid",
    "timestamp": "2024-01-01T10:02:00Z",
    "version": "1",
    "data": {"payload": {"orderId": "o1", "amount": "3.00"}},
}
UNDERPAID = {
    "eventId": "0190f1a0-0000-7000-8000-000000000004",
    "eventType": "order.paid",
    "timestamp": "2024-01-01T10:03:00Z",
    "version": "1",
    "data": {"payload": {"orderId": "o1", "amount": "2.00"}},
}


@dataclass
class Answer:
    """What a call printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; fails if anything else is on it."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON error on standard error."""
        [line] = self.err.splitlines()
        error: dict[str, Any] = json.loads(line)["error"]
        return error


Call = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and no settings in the environment."""
    for name in (
        "EVENTCORE_STORE",
        "EVENTCORE_VIEWS",
        "EVENTCORE_ARCHIVE",
        "EVENTCORE_IMPORT",
        "AWS_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # importing a user's module adds to it
    return tmp_path


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call("events", "read")`` runs the command line."""

    def run_it(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run_it


def write_lines(path: Path, *events: object) -> Path:
    """A file of JSON lines; text stands as it is."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def shop(folder: Path, call: Call) -> Call:
    """The command line over a store of three events; a payment was refused."""
    write_lines(folder / "shop.jsonl", USER, ORDER, UNDERPAID)
    assert call("ingest", "shop.jsonl").code == 0
    return call
