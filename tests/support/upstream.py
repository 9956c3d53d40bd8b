"""A scripted upstream on raw sockets: each model name is a behaviour, most of them bad.

The server speaks for itself byte by byte (no HTTP library stands between a script and the wire), runs in a thread with
a loop of its own, and remembers what it saw: connections, requests, and when a peer went away.

A model's name is `behaviour` or `behaviour@argument`; the scripts are in tests.support.hostile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

Script: TypeAlias = "Callable[[Peer], Awaitable[None]]"
HIGH_WATER = 64 * 1024


@dataclass
class Seen:
    """One request as it arrived. `closed_at` (time.monotonic) is when the peer closed its side during the answer."""

    model: str
    path: str
    headers: dict[str, str]
    head: bytes
    body: bytes
    connection: int
    at: float
    closed_at: float | None = None
    answered: bool = False
    sent: int = 0

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Peer:
    """What a script can do to the client of one request."""

    def __init__(self, wire: _Wire, seen: Seen, argument: str) -> None:
        self._wire = wire
        self.seen = seen
        self.argument = argument
        self.has_closed = False  # by itself

    @property
    def gone(self) -> bool:
        return self._wire.gone.is_set() or self._wire.transport.is_closing()

    @property
    def log(self) -> Log:
        return self._wire.upstream.log

    async def send(self, data: bytes) -> None:
        """Write and wait while the peer does not read."""
        wire = self._wire
        await wire.writable.wait()
        # A write that fails is told by a callback: it needs a turn of the loop.
        await asyncio.sleep(0)
        if not self.gone:
            wire.transport.write(data)
            self.seen.sent += len(data)

    async def head(self, *lines: str, status: str = "200 OK") -> None:
        await self.send("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1"))

    async def answer(self, body: bytes, *lines: str, status: str = "200 OK", kind: str = "application/json") -> None:
        """A whole well-formed response."""
        await self.head(f"content-type: {kind}", f"content-length: {len(body)}", *lines, status=status)
        await self.send(body)

    async def stream_head(self, *lines: str) -> None:
        await self.head("content-type: text/event-stream", "transfer-encoding: chunked", *lines)

    async def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def until_gone(self, timeout_s: float = 30.0) -> bool:
        """Wait for the peer to close; False when it did not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wire.gone.wait()
        except TimeoutError:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Wait, or until the peer has gone."""
        await self.until_gone(seconds)

    def close(self) -> None:
        """Close the connection after what was written."""
        self.has_closed = True
        self._wire.transport.close()

    def reset(self) -> None:
        """Close it with a TCP reset."""
        self.has_closed = True
        sock = self._wire.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._wire.transport.abort()


@dataclass
class Log:
    """What the server saw. Read from the tests' thread, written by the server's."""

    connections: int = 0
    open: int = 0
    requests: list[Seen] = field(default_factory=list)

    def of(self, model: str) -> list[Seen]:
        return [seen for seen in self.requests if seen.model == model]


class ScriptedUpstream:
    """Context manager: listens on a free port of the loopback interface, or on `port`, while it is entered."""

    def __init__(self, scripts: Mapping[str, Script], *, port: int = 0) -> None:
        self.scripts = scripts
        self.log = Log()
        self.port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)
        self.wires: set[_Wire] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def drop_idle_connections(self) -> None:
        """Close every connection, as a provider does with those that were idle for long."""
        done = threading.Event()

        def drop() -> None:
            for wire in tuple(self.wires):
                wire.transport.close()
            done.set()

        self._loop.call_soon_threadsafe(drop)
        assert done.wait(30)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._loop.create_server(lambda: _Wire(self), "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop(server))

    async def _stop(self, server: asyncio.Server) -> None:
        """Leave no connection to the garbage collector: it would complain in the middle of some other test."""
        own = asyncio.current_task()
        for _ in range(100):  # those that are being accepted would not be closed by anybody
            await asyncio.sleep(0)
            if asyncio.all_tasks() <= {own, *(wire.task for wire in self.wires)}:
                break
        server.close()
        for wire in tuple(self.wires):
            wire.transport.abort()
        for task in asyncio.all_tasks() - {own}:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class _Wire(asyncio.Protocol):
    """A connection: cuts requests out of the bytes and runs a script for each, one after the other."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self._buffer = b""
        self.task: asyncio.Task[None] | None = None
        self._seen: Seen | None = None
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.number = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.writable.set()
        log = self.upstream.log
        log.connections += 1
        log.open += 1
        self.number = log.connections
        self.upstream.wires.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def eof_received(self) -> bool:
        self._lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        self.upstream.log.open -= 1
        self.upstream.wires.discard(self)

    def _lost(self) -> None:
        if self._seen is not None and self._seen.closed_at is None and not self._seen.answered:
            self._seen.closed_at = time.monotonic()
        self.gone.set()
        self.writable.set()

    def _next(self) -> None:
        if self.task is not None:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[: end + 4]
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name
        }
        length = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        try:
            model = str(orjson.loads(body).get("model"))
        except orjson.JSONDecodeError:
            model = ""
        seen = Seen(model, lines[0].split(" ")[1], headers, head, body, self.number, time.monotonic())
        self.upstream.log.requests.append(seen)
        self._seen = seen
        self.task = asyncio.get_running_loop().create_task(self._serve(seen))

    async def _serve(self, seen: Seen) -> None:
        name, _, argument = seen.model.partition("@")
        peer = Peer(self, seen, argument)
        script = self.upstream.scripts.get(name)
        if script is None:
            await peer.answer(b'{"error":{"message":"no such script","type":"x","code":404}}', status="404 Not Found")
        else:
            await script(peer)
        if self.transport.is_closing() and not peer.has_closed:
            await self.gone.wait()  # a write that failed tells of it before the loop does
        seen.answered = True
        self.task = None
        self._next()
