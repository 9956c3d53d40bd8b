"""A wire between a client and a gateway that writes everything down, for clients that no test can look into.

What went over it is read as HTTP afterwards, and every stream is held to the grammar of its dialect.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.support.grammar.watch import Watch
from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType


@dataclass
class _Talk:
    """One connection: what the client said and what it was told."""

    up: list[bytes] = field(default_factory=list)
    down: list[bytes] = field(default_factory=list)


class Witness:
    """Context manager; clients are given its `url` in place of the gateway's. Streams are checked as it is left."""

    def __init__(self, port: int) -> None:
        self._gateway = port
        self._talks: list[_Talk] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        self.streams = 0  # that were checked

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Wakes the thread that accepts; closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for end in self._ends:
            end.close()
        if kind is None:
            self._check()

    def _run(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            gateway = socket.create_connection((LOOPBACK, self._gateway))
            self._ends += [client, gateway]
            talk = _Talk()
            self._talks.append(talk)
            self._run(_carry, client, gateway, talk.up)
            self._run(_carry, gateway, client, talk.down)

    def _check(self) -> None:
        for talk in self._talks:
            requests = io.BytesIO(b"".join(talk.up))
            answers = io.BytesIO(b"".join(talk.down))
            while line := requests.readline():
                headers = http.client.parse_headers(requests)
                body = requests.read(int(headers.get("content-length", "0")))
                self._answer(answers, line.split(b" ")[1].decode(), body)

    def _answer(self, answers: io.BytesIO, path: str, request: bytes) -> None:
        answer = http.client.HTTPResponse(_Socket(answers))  # type: ignore[arg-type]
        try:
            answer.begin()
        except http.client.HTTPException:
            return  # the client went away before it was told anything
        watch = Watch(path, request, answer.status, {name.lower(): value for name, value in answer.getheaders()})
        is_whole = True
        try:
            watch.feed(answer.read())
        except http.client.IncompleteRead as cut:
            watch.feed(cut.partial)
            is_whole = False
        self.streams += watch.is_stream
        watch.close(complete=is_whole)


class _Socket:
    """What http.client reads from; it must not close what the next answer is read from."""

    def __init__(self, data: io.BytesIO) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        del mode
        rest = io.BytesIO(self._data.getvalue()[self._data.tell() :])
        start = self._data.tell()
        data = self._data

        class Rest(io.BytesIO):
            def close(self) -> None:
                data.seek(start + self.tell())

        return Rest(rest.getvalue())


def _carry(source: socket.socket, sink: socket.socket, log: list[bytes]) -> None:
    """Until one side closes."""
    try:
        while piece := source.recv(65536):
            log.append(piece)
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
