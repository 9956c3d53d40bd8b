"""A client's connection: requests are read natively, the app runs as a task, responses go straight to the socket."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

from tollhouse._native import END, FAULT, HEAD, RequestReader
from tollhouse.gateway.server import wire
from tollhouse.gateway.server.exchange import SCOPE_KEY, HttpExchange

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.gateway.server.server import HttpServer, Shed
    from tollhouse.middlewares.types import Scope

HELD = 64 * 1024  # bytes that the app has not taken before reading from the client is paused
UNSENT = 64 * 1024  # bytes that the client has not taken before the app has to wait
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class Serving(Protocol):
    """The request that a connection is busy with."""

    @property
    def awaits_body(self) -> bool:
        """Whether more of it is the client's to send."""

    @property
    def is_answering(self) -> bool:
        """Whether the head of its response has gone out."""

    @property
    def is_done(self) -> bool:
        """Whether its response is complete."""

    def advance(self, flags: int) -> None:
        """More has come."""

    def disconnect(self) -> None:
        """The client has gone."""


class _Answered:
    """A request whose response is complete, and that nobody has served: what follows waits behind it."""

    awaits_body = False
    is_answering = is_done = True

    def advance(self, flags: int) -> None: ...

    def disconnect(self) -> None: ...


_ANSWERED = _Answered()


class HttpConnection(asyncio.Protocol):
    """Serves one request at a time; pipelined ones wait in the reader."""

    __slots__ = (
        "_is_untold",
        "_left",
        "_peer",
        "_reader",
        "begun_at",
        "exchange",
        "held",
        "is_closing",
        "is_paused",
        "lingers_since",
        "loop",
        "quiet_since",
        "served",
        "server",
        "stuck_since",
        "transport",
        "unsent",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.loop = server.loop
        self._reader = RequestReader()
        self.is_paused = False  # reading
        self.is_closing = False  # with the end of the present response
        self.held = 0  # flags of a request whose body is about to come
        self._peer: tuple[str, int] | None = None
        self.transport: asyncio.Transport
        self.exchange: Serving | None = None  # the request that is being served
        self.unsent: asyncio.Future[None] | None = None  # pending while the client does not read
        # In ticks of the server: the last byte came, the present head began, nothing is left but the close.
        self.quiet_since = self.begun_at = server.ticks
        self.lingers_since: int | None = None
        self.stuck_since = 0  # the client has taken nothing since; counts while there is `unsent`
        self.served = 0
        self._is_untold = False  # `is_closing`, but the present response does not say so
        self._left = 0  # bytes that the client had to take when it was last looked at

    @property
    def is_idle(self) -> bool:
        """Nothing of a request has come."""
        return self.exchange is None and not self._reader.has_begun

    @property
    def awaits_request(self) -> bool:
        """Whether the client may ask: the head of a request has not come, or not all of it."""
        return self.exchange is None and self.lingers_since is None

    @property
    def owes_body(self) -> bool:
        """Whether the rest of a request is the client's to send."""
        return self.exchange is not None and self.exchange.awaits_body

    def reads_on(self) -> bool:
        """Whether the client has taken anything of what is left to send since the last time this was asked."""
        left, self._left = self._left, self.transport.get_write_buffer_size()
        return self._left < left

    def break_off(self) -> None:
        """Reset: a response whose end is that of the connection must not look like a whole one."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def close(self) -> None:
        """Once the client has taken what was sent."""
        self.exchange = None
        self.lingers_since = self.server.ticks
        self.transport.close()

    def close_idle(self) -> None:
        """Unless something of a request has come."""
        if self.awaits_request and self.is_idle:
            self.close()

    def waits_for_body(self) -> None:
        """From now on the client is to send."""
        self.quiet_since = self.server.ticks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's is a Transport in all but name
        self.transport.set_write_buffer_limits(high=UNSENT)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer = (str(peer[0]), int(peer[1]))
        self.server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            self._release_writer()
            if self.held:
                self.let_go()
            exchange, self.exchange = self.exchange, None
            if exchange is not None:
                exchange.disconnect()
        finally:
            # Last: the server may end when nothing is left.
            self.server.closed(self)

    def pause_writing(self) -> None:
        self.stuck_since = self.server.ticks
        self.unsent = self.loop.create_future()

    def resume_writing(self) -> None:
        self._release_writer()
        exchange = self.exchange
        if exchange is not None and exchange.is_done:
            self._go_on()

    def _release_writer(self) -> None:
        unsent, self.unsent = self.unsent, None
        if unsent is not None and not unsent.done():
            unsent.set_result(None)

    def data_received(self, data: bytes) -> None:
        server = self.server
        if self.lingers_since is not None:
            return
        if self.exchange is None and not self._reader.has_begun:
            self.begun_at = server.ticks
        self.quiet_since = server.ticks
        flags = self._reader.feed(data)
        # Not one that follows at once: the one before may not have left its stages yet, and what it holds would count.
        is_new = server.asks_first and flags & HEAD and self.exchange is None and not flags & FAULT
        if is_new and self._is_seen_to(flags):
            return
        self.held = 0
        self._advance(flags)

    def _is_seen_to(self, flags: int) -> bool:
        """Whether a request whose head has come needs no more, or waits for its body."""
        server = self.server
        fast = server.fast
        if not flags & END and fast is not None and (self.held or fast.expects(self._reader)):
            # Many clients send head and body one after the other.
            self.held = flags
            return True
        self.held = 0
        pressure = server.pressure
        if pressure.until < math.inf and (shed := server.shed) is not None:
            now = monotonic()
            if now > pressure.until and pressure.is_late(now):
                if is_shed := self.shed(shed, flags):
                    pressure.refused()
                return is_shed
            pressure.read_at = now
            pressure.let_in += 1
        return bool(flags & END) and fast is not None and fast.begin(self, self._reader)

    def begin_ordinary(self, waited_ns: int) -> None:
        """Begin the present request, which has come whole and has waited for so long."""
        self._begin(END, is_next=False, waited_ns=waited_ns)

    def shed(self, shed: Shed, flags: int) -> bool:
        """Whether the present request has been told that there is no time for it."""
        is_whole = bool(flags & END)
        said = shed(self._reader, self.server.date, closes=self.is_closing or not is_whole)
        if said is None:
            return False
        response, self.is_closing = said
        self.transport.write(response)
        self.finished(reusable=is_whole)
        return True

    def last_lines(self) -> bytes:
        """The end of a response's head."""
        date = self.server.date
        return b"connection: close\r\n" + date if self.is_closing else date

    def let_go(self) -> None:
        """Begin the request that was held, although its body has not come."""
        flags, self.held = self.held, 0
        self._begin(flags, is_next=False)

    def _advance(self, flags: int, *, is_next: bool = False) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.advance(flags)
        elif flags & HEAD:
            self._begin(flags, is_next=is_next)
        elif flags & FAULT:
            self.refuse_request()
            return
        if not self.is_paused and self._reader.held > HELD:
            self.is_paused = True
            self.transport.pause_reading()

    def _begin(self, flags: int, *, is_next: bool, waited_ns: int = 0) -> None:
        server = self.server
        scope, exchange = self.ordinary(flags)
        if waited_ns:
            exchange.waited_ns = waited_ns
        serving: Awaitable[None] | Literal[False] | None = None
        if flags & END and not is_next and server.direct is not None:
            serving = server.direct(scope, exchange)
            if serving is None:
                return
        exchange.carry(serving or server.app(scope, exchange.receive, exchange.send))

    def ordinary(self, flags: int) -> tuple[Scope, HttpExchange]:
        """The present request in terms of ASGI. flags: what the reader has said of it."""
        server = self.server
        method, path, raw_path, query, minor, headers, keep_alive = self._reader.head()
        scope: Scope = {
            "type": "http",
            "asgi": server.asgi,
            "http_version": "1.1" if minor else "1.0",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._peer,
            "server": server.address,
            "state": server.state.copy(),
        }
        if not keep_alive:
            self.is_closing = True
        exchange = self.exchange = HttpExchange(self, self._reader, flags, head_only=method == "HEAD", minor=minor)
        scope[SCOPE_KEY] = exchange
        server.running.add(exchange)
        return scope, exchange

    def refuse_request(self) -> None:
        """Tell what is wrong with the request, and close."""
        status, message = self._reader.refused or (400, "this is no request")
        self.refuse(status, message)

    def refuse(self, status: int, message: str) -> None:
        """Answer what is no request, and close."""
        self.exchange = None
        self.transport.write(wire.refusal(status, message))
        self._linger()

    def close_after(self) -> None:
        """Close with the end of the first response that can say so."""
        if not self.is_closing:
            self.is_closing = True
            self._is_untold = self.exchange is not None and self.exchange.is_answering

    def _may_ask(self) -> bool:
        """Whether the client is left the time for a last request, as the end of the connection has not been told."""
        if not self._is_untold:
            return False
        self._is_untold = False
        self.exchange = None
        self.quiet_since = self.server.ticks
        self.server.let_ask(self)
        return self.awaits_request

    def _linger(self) -> None:
        """Close, but read on for a while: a client that still sends would be told of a reset and not of the answer."""
        self.lingers_since = self.server.ticks
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def resume_reading(self) -> None:
        """The app has taken what was held."""
        if self.is_paused and not self.transport.is_closing():
            self.is_paused = False
            self.transport.resume_reading()

    def finished(self, *, reusable: bool) -> None:
        """The response is complete: go on with the next request, or close."""
        self.served += 1
        if self.transport.is_closing():
            self.exchange = None
        elif not reusable:
            self.exchange = None
            self._linger()
        elif self.is_closing or self.unsent is None:
            self._go_on()
        elif self.exchange is None:
            # A client that does not read would have us pile up the responses to what it pipelined.
            self.exchange = _ANSWERED

    def _go_on(self) -> None:
        """To the next request."""
        if self.is_closing and not self._may_ask():
            self.close()
            return
        self.exchange = None
        self.quiet_since = self.begun_at = self.server.ticks
        flags = self._reader.proceed()
        if self.is_paused:
            self.resume_reading()
        if flags:
            self._advance(flags, is_next=True)
