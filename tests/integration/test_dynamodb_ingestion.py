"""``eventcore ingest`` into a log on DynamoDB: more lines than one transaction takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventcore.app import open_app
from tests.dynamodb import DynamoDBPlace
from tests.unit.ingestion.test_limits import mixed_lines

pytestmark = pytest.mark.dynamodb

ROUNDS = 60
"""Each of five lines; two events a user, one of them the reservation of an address."""


def _ingest(place: DynamoDBPlace, path: Path, *, batch: int | None = None) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("eventcore"))
    more = ["--allow-unknown", "--dead-letters", str(path.with_suffix(".dead"))]
    if batch is not None:
        more += ["--batch", str(batch)]
    done = subprocess.run(
        [program, "--json", "--store", place.store_url, "ingest", str(path), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_some_hundred_lines_are_imported_and_a_second_run_adds_nothing(
    dynamodb: DynamoDBPlace, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(mixed_lines(ROUNDS)) + b"\n")

    first = _ingest(dynamodb, path, batch=2_000)
    second = _ingest(dynamodb, path)

    # Seven addresses; whoever asks for one that is taken is refused, as are payments of no order.
    users, refused = 7, 2 * ROUNDS - 7
    assert (first["read"], first["rejected"]) == (5 * ROUNDS, refused)
    assert first["accepted"] == 5 * ROUNDS - refused
    assert (second["accepted"], second["duplicate"]) == (0, first["accepted"])
    assert second["rejected"] == refused
    with open_app(dynamodb.store_url) as app:
        assert len(list(app.log.read())) == first["accepted"] + users
