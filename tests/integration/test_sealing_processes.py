"""``eventcore seal --follow`` as a service: killed at any moment, it loses and doubles nothing."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from eventcore.seals import Checks, SealFile, verify_log
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker

EVENTCORE = Path(sys.executable).with_name("eventcore")
SEED = 20_261_129
KILLS = 4
HANG_SECONDS = 60.0


def follower(folder: Path) -> subprocess.Popen[str]:
    options = ["--to", "seals.jsonl", "--follow", "--every", "0.02", "--json"]
    command = [str(EVENTCORE), "seal", *options, "--store", "sqlite:///log.db"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


@contextmanager
def sealing_something(folder: Path, seals: Path) -> Iterator[subprocess.Popen[str]]:
    """A follower that has sealed something: a kill while it starts proves nothing."""
    before = size(seals)
    with follower(folder) as process:
        try:
            deadline = time.monotonic() + HANG_SECONDS
            while size(seals) == before:
                assert process.poll() is None
                assert time.monotonic() < deadline, "it seals nothing"
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def being_written(log: SQLiteLog) -> Iterator[Callable[[], int]]:
    """Somebody appends all the time, until what is given is called: it says how many events."""
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        make = EventMaker()
        while not stop.wait(0.001):
            log.append([StreamAppend(f"order-{len(written)}", 0, make.many(20))])
            written.append(20)

    def end() -> int:
        stop.set()
        writer.join(HANG_SECONDS)
        assert not writer.is_alive()
        return sum(written)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield end
    finally:
        end()


def test_a_sealer_that_is_killed_again_and_again_seals_each_event_once(tmp_path):
    draw, seals = random.Random(SEED), tmp_path / "seals.jsonl"
    log = SQLiteLog(tmp_path / "log.db", synchronous="NORMAL")

    with being_written(log) as end:
        for _ in range(KILLS):
            with sealing_something(tmp_path, seals) as sealing:
                time.sleep(draw.random() * 0.7)
                sealing.send_signal(signal.SIGKILL)
                sealing.communicate()
        with sealing_something(tmp_path, seals) as last:
            written = end()
            last.send_signal(signal.SIGTERM)
            out, _ = last.communicate(timeout=HANG_SECONDS)

    assert last.returncode == 0
    assert json.loads(out)["total"] == written
    with closing(log):
        verdict = verify_log(log, Checks(seals=SealFile(seals)))
    assert (verdict.finding, verdict.sealed, verdict.unsealed) == (None, written, 0)
