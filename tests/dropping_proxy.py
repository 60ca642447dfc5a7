"""A way to a Postgres server that loses connections at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from psycopg.conninfo import conninfo_to_dict

CHUNK_BYTES = 65536
CLOSE_SECONDS = 10.0

_COMMITTED = (b"COMMIT\0", b"INSERT 0 ", b"PREPARE TRANSACTION\0")


def is_commit(answer: bytes) -> bool:
    """Whether a server's answer says that something was committed (``CommandComplete``)."""
    return any(b"C" in answer and tag in answer for tag in _COMMITTED)


class DroppingProxy:
    """Stands between clients and a server and passes everything on, until told otherwise.

    Args:
        url: Of the server, by TCP and without TLS.

    Attributes:
        url: To hand to clients.
        drops: How many answers were lost on the way so far.
    """

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._server = (str(parts["host"]), int(parts.get("port") or 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts.get('dbname', '')}"
        self.drops = 0
        self._lock = threading.Lock()
        self._drops_left = 0
        self._is_answer: Callable[[bytes], bool] = is_commit
        self._delay_seconds = 0.0
        self._is_refusing = False
        self._is_open = threading.Event()
        self._is_open.set()
        self._closed = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def drop_answers(self, count: int = 1, matching: Callable[[bytes], bool] = is_commit) -> None:
        """Lose the next such answers of the server, each with its connection.

        The server has done what it was asked for; the client cannot know.
        """
        with self._lock:
            self._drops_left = count
            self._is_answer = matching

    def delay(self, seconds: float) -> None:
        """Keep every answer back for so long."""
        self._delay_seconds = seconds

    def refuse(self, is_refusing: bool) -> None:
        """Whether new connections are closed as soon as they are made."""
        self._is_refusing = is_refusing

    def cut(self) -> None:
        """Lose every connection that is open now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(*pair)

    def block(self) -> None:
        """Pass nothing on, and close nothing: as a firewall that forgot the connection."""
        self._is_open.clear()

    def unblock(self) -> None:
        """Pass on again, what was sent meanwhile first."""
        self._is_open.set()

    def close(self) -> None:
        """Lose everything and listen no more."""
        self._closed.set()
        self._is_open.set()
        _close(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=CLOSE_SECONDS)
                server.settimeout(None)
            except OSError:
                _close(client)
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_refusing or self._closed.is_set():
                _close(client, server)
                continue
            with self._lock:
                self._pairs.append((client, server))
            self._start(self._pass_questions, client, server)
            self._start(self._pass_answers, server, client)

    def _pass_questions(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                self._is_open.wait()
                server.sendall(data)
        _close(client, server)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK_BYTES):
                self._is_open.wait()
                if self._delay_seconds:
                    self._closed.wait(self._delay_seconds)
                if self._is_lost(data):
                    break
                client.sendall(data)
        _close(client, server)

    def _is_lost(self, answer: bytes) -> bool:
        with self._lock:
            if self._drops_left == 0 or not self._is_answer(answer):
                return False
            self._drops_left -= 1
            self.drops += 1
            return True


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        # The other thread may be waiting in recv(), which close() alone would not end.
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
