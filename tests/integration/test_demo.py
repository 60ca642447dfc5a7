"""The demo as a user starts it: what it says, how it fails, that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eventcore.app import open_app
from eventcore.cli.demo import working
from eventcore.cli.demo.failures import must
from eventcore.cli.demo.workers import Workers
from eventcore.errors import DemoFailedError, WorkerFailedError

COMMAND = [sys.executable, "-c", "from eventcore.cli import main; main()", "demo"]


def environment(folder: Path) -> dict[str, str]:
    # Settings of the user's own store must not reach the demo.
    return {
        **os.environ,
        "TMPDIR": str(folder),
        "EVENTCORE_STORE": "sqlite:////no/such/place.db",
        "EVENTCORE_VIEWS": "sqlite:////no/such/views.db",
        "COLUMNS": "80",
    }


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that contain a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended while we looked
        if text in line:
            found.append(line)
    return found


@pytest.mark.slow
def test_the_demo_proves_what_it_shows_and_cleans_up(tmp_path: Path):
    done = subprocess.run(
        COMMAND,
        cwd="/",
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "A shop at work",
        "killed",
        ": exactly there",
        "and none twice",
        "no event lost, none counted twice",
        "Time travel",
        "every row as before",
        "everything that was compared is equal",
        "eventcore demo --keep shop",
    ):
        assert said in done.stdout
    assert done.stdout.count("✓ equal") == 18  # nine tables, twice
    assert "✗ differs" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110  # commands to copy are not wrapped
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.slow
def test_the_kept_files_hold_what_the_facts_say(tmp_path: Path):
    kept = tmp_path / "kept"
    done = subprocess.run(
        [*COMMAND, "--json", "--keep", str(kept)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    facts = {fact["fact"]: fact for fact in map(json.loads, done.stdout.splitlines())}
    summary = facts["summary"]
    with open_app(f"sqlite:///{kept / 'shop.db'}?create=no") as app:
        assert app.log.head() == summary["events"]
        assert {one.position for one in app.runner().status()} == {summary["events"]}
    assert facts["killed"]["position"] == facts["resumed"]["position"]
    assert facts["killed"]["lag"] > 0
    assert facts["applied"]["applied"] == summary["events"] - facts["resumed"]["position"]
    assert facts["rebuilt"]["events"] > 0
    assert summary["commands"] > 0


def heed_interrupts() -> None:
    # Whoever runs the tests may ignore them (`make test &`), and a child inherits that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path, number: signal.Signals):
    demo = subprocess.Popen(
        COMMAND,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - one thread
    )
    while len(processes_naming(f"{tmp_path}/eventcore-demo-")) < working.WRITERS + 1:
        assert demo.poll() is None
        time.sleep(0.05)

    demo.send_signal(number)
    demo.communicate(timeout=30)

    assert demo.returncode == (130 if number == signal.SIGINT else 128 + signal.SIGTERM)
    assert processes_naming(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_workers_end_when_the_demo_is_killed(tmp_path: Path):
    demo = subprocess.Popen(COMMAND, env=environment(tmp_path), stdout=subprocess.DEVNULL)
    while len(processes_naming(f"{tmp_path}/eventcore-demo-")) < working.WRITERS + 1:
        assert demo.poll() is None
        time.sleep(0.05)

    demo.kill()
    demo.wait()

    end = time.monotonic() + 30
    while processes_naming(f"{tmp_path}/eventcore-demo-"):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path):
    (tmp_path / "precious").write_text("data")

    done = subprocess.run(
        [*COMMAND, "--keep", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_worker_that_fails_is_reported_with_its_last_words(tmp_path: Path):
    with Workers(tmp_path) as workers:
        worker = workers.start("writer 1", "eventcore.cli.demo.writer", ["nonsense://", "1"])

        while worker.running:
            time.sleep(0.02)
        with pytest.raises(WorkerFailedError, match=r"writer 1 .*nonsense"):
            workers.check()
    assert not worker.running


def test_a_block_that_raises_leaves_no_worker(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    workers = Workers(tmp_path)
    worker = workers.start("writer 1", "eventcore.cli.demo.writer", [url, "1"])

    with pytest.raises(DemoFailedError), workers:
        must(worker.report == {"never": "so"}, "made up")

    assert not worker.running


def test_an_interrupt_while_a_worker_starts_leaves_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"sqlite:///{tmp_path / 'shop.db'}"

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            signal.raise_signal(signal.SIGINT)  # it runs, and nobody has noted it yet

    monkeypatch.setattr("subprocess.Popen", Interrupted)
    # Whoever runs the tests may ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        with pytest.raises(KeyboardInterrupt), Workers(tmp_path) as workers:
            workers.start("writer 1", "eventcore.cli.demo.writer", [url, "1"])
    finally:
        signal.signal(signal.SIGINT, before)

    assert processes_naming(str(tmp_path)) == []
