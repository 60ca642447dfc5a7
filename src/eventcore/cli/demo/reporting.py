"""What the demo's other processes share: saying how it goes, and ending when their parent does."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import orjson


def report(**facts: Any) -> None:
    """Tell the parent; one write, so that a line is whole or absent."""
    os.write(sys.stdout.fileno(), orjson.dumps(facts) + b"\n")


def stop_with_parent() -> threading.Event:
    """An event that is set when the parent closes our standard input, or is gone."""
    stop = threading.Event()
    descriptor = sys.stdin.fileno()

    def listen() -> None:
        # Not through sys.stdin: its lock, held here, would abort an interpreter that shuts down.
        while os.read(descriptor, 1):
            pass
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    return stop
