"""The command line as processes: pipes, interrupts, several at once on one store."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.commands import StartSession, TrackActivity
from eventcore.processes import PaymentNotReceived

LONG_SECONDS = 60.0

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
        # Whoever runs the tests may ignore interrupts (`make test &`), and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
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


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "interrupted\n")]
)
def test_process_managers_run_until_they_are_told_to_end(
    store: str, *, number: signal.Signals, code: int, words: str
):
    running = start("processes", "run", "payment_not_received", "--store", store)
    with open_app(store) as app:
        runner = app.process_runner([PaymentNotReceived()])
        deadline = time.monotonic() + LONG_SECONDS
        while runner.status()[0].position < app.log.head():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    running.send_signal(number)
    out, err = running.communicate(timeout=LONG_SECONDS)

    assert (running.returncode, out, err) == (code, "", words)


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


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [["events", "read", "--json"], ["events", "read"], ["version"], ["--help"]],
    ids=" ".join,
)
def test_output_that_cannot_be_written_is_one_line_and_no_success(
    tmp_path: Path, *, arguments: list[str], unbuffered: str
):
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_app(store) as app:
        app.execute(StartSession(session_id="s"))

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments, "--store", store],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "standard output: No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "code", "out", "err"),
    [
        ("ingest - <&-", 2, "", "error  standard input: it is closed\n"),
        ("version >&-", 0, "", ""),
        ("events read --json >&-", 0, "", ""),
        ("events show nonsense 2>&-", 2, "", ""),
        (
            "ingest - --dead-letters in.jsonl < in.jsonl",
            2,
            "",
            "error  --dead-letters in.jsonl: in.jsonl is the input itself. Name another file\n",
        ),
    ],
)
def test_streams_that_a_shell_closes_or_redirects_are_no_surprise(
    tmp_path: Path, *, redirection: str, code: int, out: str, err: str
):
    (tmp_path / "in.jsonl").write_text("not json\n" * 400)

    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, COMMAND[-1]],
        cwd=tmp_path,
        env={**os.environ, "EVENTCORE_STORE": "sqlite:///shop.db", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
    assert (tmp_path / "in.jsonl").read_text().count("\n") == 400
