"""A supervisor: several processes of one service, started again when one is killed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from eventcore.cli.options import OPTIONS
from eventcore.cli.services import Stopping
from eventcore.cli.signals import interrupts_held
from eventcore.projections.backoff import Backoff

STEADY_SECONDS: Final = 30.0
"""A process that lived so long was well: the next start is not put off any longer."""

LOOK_SECONDS: Final = 0.1

TERMINATE_SECONDS: Final = 5.0
"""How long processes may take to end in order, before they are killed."""

_ENDS_ALL: Final = (1, 2)
"""Exit codes that another start would only repeat: the answer is no, configured wrongly."""

_logger = logging.getLogger("eventcore.service")


class _Slot:
    """A place for one process."""

    def __init__(self, number: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.number = number
        self._command = command
        self._environment = environment
        self._backoff = Backoff()
        self._started_at = 0.0
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start_if_due(self) -> None:
        if self.process is not None or time.monotonic() < self._start_at:
            return
        with interrupts_held():  # a process that runs is one that we know of
            self.process = subprocess.Popen(  # noqa: S603 - this very program, no shell
                self._command,
                stdin=subprocess.PIPE,  # ends when we do, however we end
                env=self._environment,
                start_new_session=True,  # Ctrl-C is ours to handle: we stop them in order
            )
        self._started_at = time.monotonic()
        _logger.info(
            "worker %d is process %d",
            self.number,
            self.process.pid,
            extra={"slot": self.number, "worker_pid": self.process.pid},
        )

    def look(self) -> int | None:
        """Note that the process ended, if it did; gives how, if it should not be started again."""
        process = self.process
        code = None if process is None else process.poll()
        if process is None or code is None:
            return None
        self._release(process)
        if code in _ENDS_ALL:
            return code
        now = time.monotonic()
        if now - self._started_at > STEADY_SECONDS:
            self._backoff.succeeded()
        seconds = self._backoff.failed()
        self._start_at = now + seconds
        _logger.warning(
            "worker %d (process %d) ended with code %d, starting it again in %.1f s",
            self.number,
            process.pid,
            code,
            seconds,
            extra={"slot": self.number, "worker_pid": process.pid, "exit_code": code},
        )
        return None

    def _release(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()
        self.process = None

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for its end; kill it at the deadline."""
        process = self.process
        if process is None:
            return
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release(process)


def supervise(arguments: Sequence[str], count: int, stop: Stopping) -> int:
    """Keep so many processes of this program running until ``stop`` is set.

    Args:
        arguments: What they are called with; each is to end when its standard input does.
        count: How many.
        stop: Ends them all, in order.

    Returns:
        0; or the exit code of one that ended with an error that another start would only repeat,
        and has said which. The others are ended then as well.
    """
    # -P: a folder named eventcore where the user stands is not this package.
    command = [sys.executable, "-P", "-m", "eventcore", *arguments]
    slots = [_Slot(number, command, _environment()) for number in range(1, count + 1)]
    try:
        while not stop.is_set():
            for slot in slots:
                code = slot.look()
                if code is not None:
                    return code
                slot.start_if_due()
            stop.wait(LOOK_SECONDS)
        return 0
    finally:
        for slot in slots:
            slot.terminate()
        deadline = time.monotonic() + TERMINATE_SECONDS
        for slot in slots:
            slot.end(deadline)


def _environment() -> Mapping[str, str]:
    """Ours, with what this call was given as options: a URL may hold a password."""
    settings = OPTIONS.settings()
    given = {"EVENTCORE_STORE": settings.store, "EVENTCORE_IMPORT": ",".join(OPTIONS.modules)}
    if settings.views is not None:
        given["EVENTCORE_VIEWS"] = settings.views
    return {**os.environ, **given}
