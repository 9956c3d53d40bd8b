"""A client's connection: requests are read natively, the app runs as a task, responses go straight to the socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Literal

from tollhouse._native import END, FAULT, HEAD, READY, RequestReader, encode_headers
from tollhouse.gateway.server import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.gateway.server.server import HttpServer
    from tollhouse.middlewares.types import Headers, Message, Scope

SCOPE_KEY = "tollhouse.connection"  # of the HttpExchange, in the scope
HELD = 64 * 1024  # bytes that the app has not taken before reading from the client is paused
UNSENT = 64 * 1024  # bytes that the client has not taken before the app has to wait
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time
_NO_BODY = frozenset({204, 304})
logger = logging.getLogger("tollhouse.server")


class _Done(Awaitable[None]):
    """Nothing to wait for; false, so that whoever sees it need not wait for it."""

    def __bool__(self) -> bool:
        return False

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


DONE = _Done()


class HttpConnection(asyncio.Protocol):
    """Serves one request at a time; pipelined ones wait in the reader."""

    __slots__ = (
        "_left",
        "_peer",
        "_reader",
        "begun_at",
        "exchange",
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
        self._peer: tuple[str, int] | None = None
        self.transport: asyncio.Transport
        self.exchange: HttpExchange | None = None  # the request that is being served
        self.unsent: asyncio.Future[None] | None = None  # pending while the client does not read
        # In ticks of the server: the last byte came, the present head began, nothing is left but the close.
        self.quiet_since = self.begun_at = server.ticks
        self.lingers_since: int | None = None
        self.stuck_since = 0  # the client has taken nothing since; counts while there is `unsent`
        self.served = 0
        self._left = 0  # bytes that the client had to take when it was last looked at

    @property
    def is_idle(self) -> bool:
        """Nothing of a request has come."""
        return self.exchange is None and not self._reader.has_begun

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
        self.server.closed(self)
        self._release_writer()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.disconnect()

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
        ticks = self.server.ticks
        if self.lingers_since is not None:
            return
        if self.exchange is None and not self._reader.has_begun:
            self.begun_at = ticks
        self.quiet_since = ticks
        self._advance(self._reader.feed(data))

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

    def _begin(self, flags: int, *, is_next: bool) -> None:
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
        serving: Awaitable[None] | Literal[False] | None = None
        # The one before may not have left its stages yet, and what it holds would count against this one.
        if server.direct is not None and flags & END and not is_next:
            serving = server.direct(scope, exchange)
            if serving is None:
                return
        exchange.carry(serving or server.app(scope, exchange.receive, exchange.send))

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
        """Close with the end of the present response."""
        self.is_closing = True

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
        elif self.is_closing:
            self.close()
        elif self.unsent is None:
            self._go_on()
        # Otherwise a client that does not read would have us pile up the responses to what it pipelined.

    def _go_on(self) -> None:
        """To the next request."""
        if self.is_closing:
            self.close()
            return
        self.exchange = None
        self.quiet_since = self.begun_at = self.server.ticks
        flags = self._reader.proceed()
        if self.is_paused:
            self.resume_reading()
        if flags:
            self._advance(flags, is_next=True)


class HttpExchange:
    """One request and its response, as the app sees them: `receive` and `send`.

    `send` has done its work when it returns (`is_eager`); what it returns is false, or a future to await for a client
    that reads slowly.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_continued",
        "_done",
        "_flags",
        "_gone",
        "_head_only",
        "_left",
        "_minor",
        "_reader",
        "_start",
        "_told",
        "_waiter",
        "task",
        "watcher",
    )

    def __init__(
        self, connection: HttpConnection, reader: RequestReader, flags: int, *, head_only: bool, minor: int
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._flags = flags
        self._head_only = head_only
        self._minor = minor
        self._start: tuple[int, Headers] | None = None  # sent with the first piece of the body
        self._chunked: bool | None = None  # None: nothing has been sent
        self._done = False
        self._left: int | None = None  # bytes of the body, where its length was stated
        self._continued = False  # the client was told to send the body
        self._told = False  # the app has the whole body
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self.watcher: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None  # that serves it

    @property
    def has_body(self) -> bool:
        """Whether the request is complete."""
        return bool(self._flags & END)

    @property
    def awaits_body(self) -> bool:
        """Whether the app waits for more of the request."""
        return not (self._done or self._flags & (READY | END | FAULT)) and self._waiter is not None

    @property
    def is_done(self) -> bool:
        """Whether the response is complete."""
        return self._done

    def carry(self, serving: Awaitable[None]) -> None:
        """A task of its own does the rest."""
        self.task = self._connection.loop.create_task(self._run(serving))

    def end(self) -> None:
        """Whoever serves it directly has done so."""
        self._connection.server.ended(self)

    async def _run(self, serving: Awaitable[None]) -> None:
        try:
            await self._serve(serving)
        finally:
            self.end()

    async def _serve(self, serving: Awaitable[None]) -> None:
        try:
            await serving
        except Exception as error:
            # Whatever it is, the client must not wait for an answer.
            logger.exception("unexpected %s in the app", type(error).__name__)
        except BaseException:  # cancelled, or worse
            self._connection.break_off()
            raise
        if self._gone or self._done:
            return
        if self._chunked is None:
            self._done = True
            self._wake()
            if self._flags & FAULT:
                self._connection.refuse_request()
            else:
                self._connection.refuse(500, "the server failed to handle this request")
        else:
            self._connection.break_off()

    def advance(self, flags: int) -> None:
        """More of the request has come."""
        self._flags = flags
        if flags & (READY | END | FAULT):
            self._wake()

    def disconnect(self) -> None:
        """The client has gone."""
        self._gone = True
        self._wake()
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher()

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Call `watcher` when the client goes, at once if it has gone; None: no more."""
        if watcher is not None and self._gone:
            watcher()
        else:
            self.watcher = watcher

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> Message:
        connection = self._connection
        # After the end of the response the reader is busy with the next request.
        if not (self._told or self._done):
            if not self._flags & (READY | END | FAULT) and not self._gone:
                if not self._continued and self._chunked is None and self._reader.expects_continue:
                    connection.transport.write(wire.CONTINUE)
                self._continued = True
                connection.waits_for_body()
                await self._more()
            if not self._done and (self._flags & END or not (self._gone or self._flags & FAULT)):
                body = self._reader.take()
                self._flags &= ~READY
                self._continued = True
                self._told = bool(self._flags & END)
                connection.resume_reading()
                return {"type": "http.request", "body": body, "more_body": not self._told}
        # A body that cannot be read on is told like a client that has gone; the difference is that it can be answered.
        while not (self._gone or self._done or self._flags & FAULT):
            await self._more()
        return {"type": "http.disconnect"}

    async def _more(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            waiter = self._waiter = self._connection.loop.create_future()
        await asyncio.shield(waiter)

    def take_body(self) -> bytes:
        """Of a request that `has_body`; once."""
        body = self._reader.take()
        self._told = self._continued = True
        self._flags &= ~READY
        if self._connection.is_paused:
            self._connection.resume_reading()
        return body

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole response, whose headers state its length."""
        if self._gone:
            return
        self._note_start(status, headers)
        data = self._first(body, more=False)
        if data:
            self._connection.transport.write(data)
        self._finish()

    def send(self, message: Message) -> Awaitable[None]:
        if self._gone:
            return DONE
        if message["type"] == "http.response.start":
            self._note_start(message["status"], list(message.get("headers", ())))
            return DONE
        if self._done:
            msg = "the response is complete already"
            raise RuntimeError(msg)
        body = message.get("body", b"")
        more = message.get("more_body", False)
        connection = self._connection
        if self._chunked is None:
            data = self._first(body, more=more)
        elif not self._chunked:
            self._count(body, more=more)
            data = body
        else:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += wire.LAST_CHUNK
        if data and not self._head_only:
            connection.transport.write(data)
        if not more:
            self._finish()
            return DONE
        unsent = connection.unsent
        if unsent is not None and unsent.cancelled():  # by an app that gave up waiting
            unsent = connection.unsent = connection.loop.create_future()
        return unsent or DONE

    def _note_start(self, status: int, headers: Headers) -> None:
        if self._start is not None or self._chunked is not None:
            msg = "the response has been started already"
            raise RuntimeError(msg)
        self._start = (status, headers)

    def _finish(self) -> None:
        self._done = True
        if self._waiter is not None:
            self._wake()
        # A request whose body nobody wanted to the end cannot be followed by another.
        self._connection.finished(reusable=bool(self._flags & END))

    # Read by whoever has chunks to pass on: no task needs to be woken for them.
    send.is_eager = True  # type: ignore[attr-defined]

    def _count(self, body: bytes, *, more: bool) -> None:
        """Raises for a body of another length than was stated: the client would take the next response for its rest."""
        if self._left is None:
            return
        self._left -= len(body)
        if self._left < 0 or (self._left and not more):
            msg = "the body has another length than the response states"
            raise RuntimeError(msg)

    def _first(self, body: bytes, *, more: bool) -> bytes:
        """The head, with the first piece of the body."""
        if self._start is None:
            msg = "a response body needs a start"
            raise RuntimeError(msg)
        status, headers = self._start
        connection = self._connection
        head, length, closes, is_event_stream = encode_headers(wire.status_line(status), headers)
        bodiless = status in _NO_BODY or self._head_only
        has_length = length is not None
        if has_length and not bodiless:
            self._left = length
            self._count(body, more=more)
        # How long a stream of events is, is nobody's business, even when all of it is there.
        open_ended = (more or is_event_stream) and not has_length and not bodiless
        self._chunked = open_ended and self._minor == 1
        if closes or (open_ended and not self._chunked):
            connection.is_closing = True  # HTTP/1.0: the end of the connection is the end of the body
        if connection.is_closing and not closes:
            head += b"connection: close\r\n"
        if self._chunked:
            head += b"transfer-encoding: chunked\r\n"
        elif not (open_ended or has_length or bodiless):
            head += b"content-length: %d\r\n" % len(body)
        head += connection.server.date
        if bodiless:
            self._head_only = True
            connection.transport.write(head)
            return b""
        if not self._chunked:
            return head + body
        if body:
            head += b"%x\r\n%b\r\n" % (len(body), body)
        return head if more else head + wire.LAST_CHUNK
