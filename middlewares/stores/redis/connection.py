"""One connection to a Redis server, for everything that asks: commands are pipelined, answers come in order.

What is asked in one turn of the loop goes out in one write; what is asked alone, at once. Measured against a pool and a
client per call in bench/README.md.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis

from tollhouse.middlewares.stores.redis.wire import Lost, Reply, command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TICKS = 8  # an answer's time is over after as many ticks
MAX_WAITING = 16_384


class Connection(asyncio.Protocol):
    """Answers are never raised but returned: values, `hiredis.ReplyError`, or `Lost`.

    Time is counted in ticks of the loop, so a loop that stood still does not take its own pause for the server's.
    """

    __slots__ = ("_closed", "_is_crowded", "_loop", "_marks", "_on_close", "_out", "_reader", "_received", "_retired",
                 "_sent", "_tick_s", "_ticking", "_transport", "_waiting")  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, op_timeout_s: float, on_close: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._on_close = on_close
        self._tick_s = op_timeout_s / (TICKS + 1)  # it is noticed up to a tick later
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self._closed: Lost | None = None
        self._is_crowded = False  # several asked in the last turn in which anybody had to wait for others
        self._ticking = False
        self._retired = False
        self._sent = 0
        self._received = 0
        self._marks: deque[int] = deque(maxlen=TICKS)

    @property
    def closed(self) -> Lost | None:
        """Why it ended; None while it is open."""
        return self._closed

    def execute(self, *parts: bytes) -> asyncio.Future[Any]:
        """Send the parts of one command; its answer, always as a result."""
        future = self._loop.create_future()
        waiting = self._waiting
        if self._closed is not None or len(waiting) >= MAX_WAITING:
            future.set_result(self._closed or Lost("busy", "too many commands are under way"))
            return future
        if waiting or self._is_crowded:
            if not self._out:
                self._loop.call_soon(self._flush, self._sent)
            self._out += parts
        else:
            self._write(parts)
        waiting.append(future)
        self._sent += 1
        return future

    async def ask(self, *words: bytes | int | str) -> Reply:
        """For what is asked rarely: send a command, wait for its answer."""
        reply: Reply = await self.execute(command(*words))
        return reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not False:
                future = waiting.popleft()
                self._received += 1
                if not future.done():  # else whoever asked has gone
                    future.set_result(reply)
                reply = reader.gets()
            if self._retired and not waiting:
                self.abort(Lost("retired", "the connection is not used any more"))
        except (hiredis.ProtocolError, IndexError):
            self.abort(Lost("protocol", "what came was no answer of a Redis server"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(Lost("lost", "the connection was lost"))

    def retire(self) -> None:
        """Close once everything that was asked is answered."""
        self._retired = True
        if not self._waiting:
            self.abort(Lost("retired", "the connection is not used any more"))

    def abort(self, why: Lost) -> None:
        """Close at once. What has no answer yet gets `why`."""
        if self._closed is not None:
            return
        self._closed = why
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()
        waiting = self._waiting
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(why)
        self._on_close(self)

    def _flush(self, sent: int) -> None:
        # Whoever is first of many must not go alone: Redis would answer it alone, and we would wake once more for that.
        self._is_crowded = self._sent > sent + 1
        if self._closed is None:
            self._write(self._out)
            self._out.clear()

    def _write(self, parts: Iterable[bytes]) -> None:
        transport = self._transport
        assert transport is not None
        transport.write(b"".join(parts))
        if not self._ticking:
            self._ticking = True
            self._marks.clear()
            self._loop.call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        """The oldest mark is what had been sent TICKS ticks ago: all of it must have been answered."""
        marks = self._marks
        if self._closed is not None:
            return
        if not self._waiting:
            self._ticking = False
            return
        if len(marks) == TICKS and self._received < marks[0]:
            self.abort(Lost("timeout", f"no answer within {self._tick_s * (TICKS + 1):g} s"))
            return
        marks.append(self._sent)
        self._loop.call_later(self._tick_s, self._tick)
