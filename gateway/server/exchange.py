"""One request on a client's connection and its response: what the app receives, and what it sends as HTTP/1.1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any

from tollhouse._native import END, FAULT, READY, RequestReader, encode_headers
from tollhouse.gateway.server import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.gateway.server.protocol import HttpConnection
    from tollhouse.middlewares.types import Headers, Message

SCOPE_KEY = "tollhouse.connection"  # of the HttpExchange, in the scope
_NO_BODY = frozenset({204, 304})
logger = logging.getLogger("tollhouse.server")


class _Done(Awaitable[None]):
    """Nothing to wait for; false, so that whoever sees it need not wait for it."""

    def __bool__(self) -> bool:
        return False

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


DONE = _Done()


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
        "waited_ns",
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
        self.waited_ns = 0  # before it was begun
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
    def is_answering(self) -> bool:
        """Whether the head of the response has gone out."""
        return self._chunked is not None

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
