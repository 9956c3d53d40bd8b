"""How a supervisor is asked for something: a Unix socket beside the kept configurations, a line of JSON each way.

Whoever may enter the folder (this user) may ask. The listening side never waits; the supervisor's loop calls it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "TOLLHOUSE_CONTROL"  # of a worker's environment: where its supervisor listens
_PREFIX, _SUFFIX = "control-", ".sock"
_MOST = 64  # who wait for an answer, or have yet to say what they want
_LINE = 4096


class Asked:
    """What somebody wants, and where the answer goes."""

    def __init__(self, connection: socket.socket, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self._connection = connection

    def answer(self, told: dict[str, Any]) -> None:
        """Once. Somebody who has gone is not told."""
        with self._connection as connection, contextlib.suppress(OSError):
            connection.setblocking(True)  # noqa: FBT003 - takes no name
            connection.settimeout(1.0)  # an answer fits into the socket's buffer
            connection.sendall(json.dumps(told).encode() + b"\n")


class Control:
    """The listening side, in `folder`. Raises OSError."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"{_PREFIX}{_host()}-{os.getpid()}{_SUFFIX}")
        _sweep(folder)
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        with _near(self.path) as near:
            self._listener.bind(near)
        os.chmod(self.path, 0o600)
        self._listener.listen(_MOST)
        self._listener.setblocking(False)  # noqa: FBT003
        self._unheard: dict[int, tuple[socket.socket, bytes]] = {}

    def fds(self) -> list[int]:
        """Readable when there is something to `hear`."""
        return [self._listener.fileno(), *self._unheard]

    def hear(self, fd: int) -> Asked | None:
        """What came on one of `fds`, once it is a whole line."""
        if fd == self._listener.fileno():
            self._accept()
            return None
        if fd not in self._unheard:
            return None
        connection, line = self._unheard.pop(fd)
        try:
            piece = connection.recv(_LINE)
        except BlockingIOError:
            self._unheard[fd] = connection, line
            return None
        except OSError:
            piece = b""
        line += piece
        if piece and b"\n" not in line and len(line) < _LINE:
            self._unheard[fd] = connection, line
            return None
        try:
            wanted = json.loads(line)
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict):
            connection.close()
            return None
        return Asked(connection, wanted)

    def close(self) -> None:
        self._listener.close()
        for connection, _ in self._unheard.values():
            connection.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            if len(self._unheard) >= _MOST:
                connection.close()
                return
            connection.setblocking(False)  # noqa: FBT003
            self._unheard[connection.fileno()] = connection, b""


def found(folder: str) -> list[str]:
    """Sockets of gateways that run, or were killed."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]


def ask(path: str, wanted: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """The answer. Raises OSError when nobody is there, or nobody answers in time."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        with _near(path) as near:
            connection.connect(near)
        connection.sendall(json.dumps(wanted).encode() + b"\n")
        with connection.makefile("rb") as answer:
            return parsed(answer.readline())


def parsed(line: bytes) -> dict[str, Any]:
    """Raises ConnectionError for what is no whole answer."""
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        msg = "the gateway went away before it answered"
        raise ConnectionError(msg) from None
    return told


@contextmanager
def _near(path: str) -> Iterator[str]:
    """A short name of the same place: a socket's own may not be longer than 107 bytes."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def connected(path: str) -> socket.socket:
    """A connection for an event loop. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)  # noqa: FBT003
        with _near(path) as near:
            connection.connect(near)
    except OSError:
        connection.close()
        raise
    return connection


def _sweep(folder: str) -> None:
    """Take away sockets that processes of this machine have left; of others nobody here can know."""
    for path in found(folder):
        if not os.path.basename(path).startswith(f"{_PREFIX}{_host()}-"):
            continue
        try:
            connected(path).close()
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
        except OSError:
            continue


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]
