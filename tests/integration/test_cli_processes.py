"""The command line as processes: pipes, interrupts, several at once on one store."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.commands import StartSession, TrackActivity

COMMAND = [sys.executable, "-c", "from eventcore.cli import main; main()"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with 2,001 events: more than a pipe holds."""
    url = f"sqlite:///{tmp_path / 'shop.db'}?synchronous=normal"
    with open_app(url) as app:
        app.execute(StartSession(session_id="s"))
        for number in range(2_000):
            app.execute(TrackActivity(session_id="s", action=f"action {number}"))
    return url


def start(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        **options,
    )


@pytest.mark.parametrize("form", [["--json"], ["--limit", "2000"]])
def test_a_reader_that_leaves_ends_the_command_quietly(store: str, form: list[str]):
    reading = start("events", "read", "--store", store, *form)
    assert reading.stdout is not None
    assert reading.stderr is not None

    reading.stdout.readline()
    reading.stdout.close()

    assert reading.stderr.read() == ""
    reading.stderr.close()
    assert reading.wait() == 0


def test_a_tail_prints_what_another_process_appends_and_ends_on_an_interrupt(store: str):
    tailing = start("events", "tail", "--json", "--after", "2001", "--store", store)
    assert tailing.stdout is not None
    with open_app(store) as app:
        app.execute(TrackActivity(session_id="s", action="seen"))

    line = tailing.stdout.readline()
    tailing.send_signal(signal.SIGINT)
    out, err = tailing.communicate(timeout=30)

    assert json.loads(line)["payload"]["action"] == "seen"
    assert (tailing.returncode, out, err) == (130, "", "")


def test_following_keeps_the_read_models_until_terminated(store: str):
    following = start("projections", "run", "--json", "--store", store)
    assert following.stdout is not None
    position = 0
    while position < 2_001:
        position = json.loads(following.stdout.readline())["position"]
    with open_app(store) as app:
        app.execute(TrackActivity(session_id="s", action="seen"))

    page = json.loads(following.stdout.readline())
    following.terminate()
    _, err = following.communicate(timeout=30)

    assert page == {"events": 1, "position": 2_002}
    assert (following.returncode, err) == (0, "")


def test_json_is_utf_8_in_every_locale(tmp_path: Path):
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_app(store) as app:
        app.execute(StartSession(session_id="s"))
        app.execute(TrackActivity(session_id="s", action="café ☕"))

    done = subprocess.run(
        [*COMMAND, "events", "read", "--json", "--store", store],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout.splitlines()[1])["payload"]["action"] == "café ☕"


def test_standard_input_is_ingested_from_a_pipe(tmp_path: Path):
    event = {
        "eventId": "0190f1a0-0000-7000-8000-000000000001",
        "eventType": "session.started",
        "timestamp": "2024-01-01T10:00:00Z",
        "data": {"payload": {"sessionId": "s"}},
    }

    done = subprocess.run(
        [*COMMAND, "ingest", "-", "--store", f"sqlite:///{tmp_path / 'shop.db'}"],
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["accepted"] == 1
