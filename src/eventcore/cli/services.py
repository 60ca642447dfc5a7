"""A service in the foreground: works until it is told to end, and then ends within a second."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from eventcore.cli import EXIT_INTERRUPTED

STOP_SECONDS: Final = 0.9
"""How long the page at hand may take, once the service is to end. A page that takes longer, or a
database that does not answer, is left: the database undoes what was not committed."""

LOOK_SECONDS: Final = 0.1

_STDIN: Final = 0

_logger = logging.getLogger("eventcore.service")


class Stopping(threading.Event):
    """Set when a service is to end."""

    interrupted = False


def serve(work: Callable[[Stopping], None], *, stop_seconds: float = STOP_SECONDS) -> None:
    """Do work until it ends by itself, or SIGTERM or Ctrl-C asks for its end.

    Args:
        work: Called in a thread of its own; ends soon after the event it is given is set.
        stop_seconds: How long it may take to end; then the process ends all the same.

    Raises:
        BaseException: What the work raised.
        KeyboardInterrupt: It was ended by Ctrl-C, in order.
    """
    stop = Stopping()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - raised below, where signals are heard
            raised.append(error)

    thread = threading.Thread(target=run, name="eventcore-service", daemon=True)
    with _told_to_end(stop):
        thread.start()
        # Not waiting on the event itself: the signal that sets it interrupts this very thread, and
        # would wait for a lock that it holds.
        while thread.is_alive() and not stop.is_set():
            thread.join(LOOK_SECONDS)
        thread.join(stop_seconds if stop.is_set() else None)
    if thread.is_alive():
        _leave(stop)
    if raised:
        raise raised[0]
    if stop.interrupted:
        raise KeyboardInterrupt


@contextmanager
def _told_to_end(stop: Stopping) -> Iterator[None]:
    def end(number: int, _frame: FrameType | None) -> None:
        stop.interrupted = number == signal.SIGINT
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(stop: Stopping) -> None:
    """End the process in the middle of what it does: a thread cannot be ended otherwise."""
    _logger.warning("what is under way takes too long and is left to the database to undo")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(EXIT_INTERRUPTED if stop.interrupted else 0)


def ends_with_its_input(stop: Stopping) -> None:
    """Set ``stop`` when standard input ends: it does when the process that holds it ends."""

    def wait() -> None:
        # Not by way of sys.stdin, whose lock the end of the process would wait for.
        with suppress(OSError):
            while os.read(_STDIN, 1):
                pass
        stop.set()

    threading.Thread(target=wait, name="eventcore-input", daemon=True).start()
