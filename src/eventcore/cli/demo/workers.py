"""The demo's other processes: started, listened to, stopped or killed, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

import eventcore
from eventcore.cli.signals import interrupts_held
from eventcore.errors import WorkerFailedError

STOP_TIMEOUT_SECONDS: Final = 10.0
"""How long a worker may take to finish what it is doing, before it is killed."""


class Worker:
    """One process that reports in JSON lines and ends when its standard input does.

    That it ends with its input means that it ends with us, however we end.

    Attributes:
        name: For messages.
        report: The newest report, all keys ever reported kept.
    """

    def __init__(self, name: str, module: str, arguments: list[str], errors: Path) -> None:
        self.name = name
        self.report: dict[str, Any] = {}
        self._errors = errors
        self._ended = False
        with errors.open("wb") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                # -P: a folder named eventcore where the user stands is not this package.
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is ours to handle: we stop them in order
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:  # whoever reads it closes it: never under our hands
            for line in lines:
                # A line that was cut off by a kill is no report.
                with suppress(orjson.JSONDecodeError):
                    self.report = {**self.report, **orjson.loads(line)}

    def check(self) -> None:
        """See that it is running.

        Raises:
            WorkerFailedError: It is not, and nobody stopped it.
        """
        code = self._process.poll()
        if code is not None and not self._ended:
            self._ended = True
            raise WorkerFailedError(
                name=self.name, pid=self.pid, code=code, problem=self._last_words()
            )

    def _last_words(self) -> str:
        lines = self._errors.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Let it finish what it is doing, and wait for its last report.

        Raises:
            WorkerFailedError: It did not end well.
        """
        self._close_input()
        try:
            code = self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        self._listener.join(STOP_TIMEOUT_SECONDS)
        if code and not self._ended:
            self._ended = True
            raise WorkerFailedError(
                name=self.name, pid=self.pid, code=code, problem=self._last_words()
            )
        self._ended = True

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it is doing."""
        self._ended = True
        self._process.kill()
        self._process.wait()
        self._close_input()
        self._listener.join(STOP_TIMEOUT_SECONDS)

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def release(self) -> None:
        """End it if it runs, and give back its pipes."""
        if self.running:
            self.kill()
        self._close_input()
        self._listener.join(STOP_TIMEOUT_SECONDS)


class Workers:
    """All workers of a demo; leaving the block ends those that are left, however it is left.

    Args:
        folder: Where their standard error goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Worker] = []

    def start(self, name: str, module: str, arguments: list[str]) -> Worker:
        """Start a process."""
        errors = self._folder / f"{name.replace(' ', '-')}-{len(self._all) + 1}.err"
        with interrupts_held():  # a process that runs is one that we know of
            worker = Worker(name, module, arguments, errors)
            self._all.append(worker)
        return worker

    def check(self) -> None:
        """See that all are running that nobody stopped.

        Raises:
            WorkerFailedError: One is not.
        """
        for worker in self._all:
            worker.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as stack:  # all of them, also if an interrupt comes in between
            for worker in self._all:
                stack.callback(worker.release)


def _environment() -> Mapping[str, str]:
    """Ours, without settings of the user's own store, and able to find this very package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTCORE_")}
    assert eventcore.__file__ is not None
    root = str(Path(eventcore.__file__).parent.parent)
    path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
