"""``eventcore seal --follow`` as a service: killed at any moment, it loses and doubles nothing."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from eventcore.seals import Checks, SealFile, verify_log
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker

EVENTCORE = Path(sys.executable).with_name("eventcore")
SEED = 20_261_129
KILLS = 4


def follower(folder: Path) -> subprocess.Popen[str]:
    options = ["--to", "seals.jsonl", "--follow", "--every", "0.02", "--json"]
    command = [str(EVENTCORE), "seal", *options, "--store", "sqlite:///log.db"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def test_a_sealer_that_is_killed_again_and_again_seals_each_event_once(tmp_path):
    draw, stop = random.Random(SEED), threading.Event()
    written = 0
    log = SQLiteLog(tmp_path / "log.db", synchronous="NORMAL")

    def write() -> None:
        nonlocal written
        make = EventMaker()
        while not stop.is_set():
            log.append([StreamAppend(f"order-{written}", 0, make.many(20))])
            written += 20
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(KILLS):
        sealing = follower(tmp_path)
        time.sleep(0.8 + draw.random() * 0.7)
        sealing.send_signal(signal.SIGKILL)
        sealing.communicate()
    seals = tmp_path / "seals.jsonl"
    before = seals.stat().st_size if seals.exists() else 0
    last = follower(tmp_path)
    while not seals.exists() or seals.stat().st_size == before:
        time.sleep(0.05)
    stop.set()
    writer.join()
    last.send_signal(signal.SIGTERM)
    out, _ = last.communicate(timeout=60)

    assert last.returncode == 0
    assert json.loads(out)["total"] == written
    with closing(log):
        verdict = verify_log(log, Checks(seals=SealFile(seals)))
    assert (verdict.finding, verdict.sealed, verdict.unsealed) == (None, written, 0)
