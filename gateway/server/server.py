"""The server: connections on a listening socket, the clock that ends silent ones, and an orderly stop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tollhouse.gateway.server import wire
from tollhouse.gateway.server.exchange import HttpExchange
from tollhouse.gateway.server.pressure import Pressure
from tollhouse.gateway.server.protocol import HttpConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from tollhouse._native import RequestReader
    from tollhouse.middlewares.types import ASGIApp, Scope

Direct = Callable[["Scope", HttpExchange], Awaitable[None] | Literal[False] | None]
BACKLOG = 4096
ACCEPTS = 16  # connections that are accepted behind each
LAST_WORDS_S = 1.0  # for an app that told of its failure to raise it
LINGER_S = 30.0  # for a client to read the last of its answer
UNREAD_S = 0.1  # until what the system has of a connection is read at the latest


class Fast(Protocol):
    """Serves requests that have come whole."""

    def begin(self, connection: HttpConnection, reader: RequestReader, /) -> bool:
        """Whether it is answered, or what is now the connection's `exchange` will do that and free it."""

    def expects(self, reader: RequestReader, /) -> bool:
        """Whether a request whose head has come is likely to be for it, and its body to come at once."""


class Shed(Protocol):
    """Says no to requests that there is no time for."""

    def __call__(self, reader: RequestReader, last: bytes, *, closes: bool) -> tuple[bytes, bool] | None:
        """The response, and whether the connection ends with it; None: it is to be served. last: the end of a head."""


class HttpServer:
    """Serves an ASGI app on a socket that listens already.

    An app may have a `direct`, which is asked first about requests that have come whole: it returns what is to be
    awaited for them, None when it will answer and `end` the exchange by itself, without a task, or False to be called
    as usual. What is its `fast` is asked before that. Once what comes waits longer than max_lag_s to be read (0: never
    mind), its `shed` is asked before anything else.

    head_s: seconds for a request's head to come; idle_s: between two requests; body_s: without a byte of a body that is
    not complete; stall_s: without a byte of the response being taken. They are looked at every tick_s.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        max_connections: int = 8192,
        max_lag_s: float = 0.0,
        head_s: float = 10.0,
        idle_s: float = 120.0,
        body_s: float = 60.0,
        stall_s: float = 300.0,
        tick_s: float = 1.0,
    ) -> None:
        self.app = app
        self.asgi = {"version": "3.0", "spec_version": "2.4"}
        self.state: dict[str, Any] = {}
        self.date = wire.date_line() + b"\r\n"  # the last header of every response, and the blank line
        self.ticks = 0
        self.loop: asyncio.AbstractEventLoop
        name = sock.getsockname()
        self.address = (str(name[0]), int(name[1])) if isinstance(name, tuple) else (str(name), None)
        self._sock = sock
        self._max_connections = max_connections
        self._patience = (head_s, idle_s, body_s, stall_s)
        self._tick_s = tick_s
        self._connections: set[HttpConnection] = set()
        self.pressure = Pressure(max_lag_s, self._connections)
        self._opening: set[asyncio.Task[object]] = set()
        self.running: set[HttpExchange] = set()  # those whose app has not returned
        self._server: asyncio.Server | None = None
        self._finishing = False
        self._linger_s = 0.0
        self._ended: asyncio.Event
        self._timer: asyncio.TimerHandle | None = None
        self._lifespan = _Lifespan(app, self.state)
        self.direct: Direct | None = None
        self.fast: Fast | None = None
        self.shed: Shed | None = None
        self.asks_first = False  # one of these

    async def serve(self) -> None:
        """Until `finish` and the last response, or `abandon`. Raises what the app's start-up raises."""
        self.loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        await self._lifespan.start()
        self.direct = getattr(self.app, "direct", None)
        self.ask_first(getattr(self.app, "fast", None), getattr(self.app, "shed", None))
        self.pressure.start(self.loop)
        self._server = await self.loop.create_server(lambda: HttpConnection(self), sock=self._sock, backlog=BACKLOG)
        self._timer = self.loop.call_later(self._tick_s, self._tick)
        try:
            await self._ended.wait()
        finally:
            self.stop_accepting()
            self._timer.cancel()
            self.pressure.stop()
        await self._lifespan.stop()

    def ask_first(self, fast: Fast | None, shed: Shed | None) -> None:
        """About every request, before the app."""
        self.fast, self.shed = fast, shed
        self.asks_first = fast is not None or shed is not None

    def stop_accepting(self) -> None:
        """New connections wait in the socket's queue, for other processes that listen on it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def finish(self, linger_s: float = 0.0) -> None:
        """Close connections between two requests, and every other one with its response; then `serve` ends.

        No client has its connection closed within linger_s after an answer that did not say so: what it asks meanwhile
        is answered, and that answer says so.
        """
        self.stop_accepting()
        self._finishing = True
        self._linger_s = linger_s
        # The loop comes to what was sent while this process had no processor only after the timer that ends the linger.
        asking = _unread(connection for connection in self._connections if connection.awaits_request)
        for connection in tuple(self._connections):
            connection.close_after()
            if connection in asking:
                # Of what can be read next to nothing may be left: a blank line is no request.
                self.loop.call_later(max(linger_s, UNREAD_S), connection.close_idle)
            elif connection.is_idle:
                self.let_ask(connection)
        self._end_if_alone()

    @property
    def awaits(self) -> bool:
        """Whether the request of a client may still come, or the rest of its head."""
        return bool(self._opening) or any(connection.awaits_request for connection in self._connections)

    def let_ask(self, connection: HttpConnection) -> None:
        """Close one on which nothing of a request has come, but leave its client the time to ask."""
        is_long_ago = self._since(connection.quiet_since) >= self._linger_s + self._tick_s  # ticks are coarse
        if not self._linger_s or is_long_ago or not connection.awaits_request:
            connection.close()
        else:
            self.loop.call_later(self._linger_s, connection.close_idle)

    def abandon(self) -> None:
        """Leave the clients that do not read."""
        for exchange in self.running:
            if exchange.task is not None:
                exchange.task.cancel()
        for connection in tuple(self._connections):
            connection.break_off()
        self._ended.set()

    def _end_if_alone(self) -> None:
        if self._finishing and not self._connections and not self._opening and not self.running:
            self._ended.set()

    def opened(self, connection: HttpConnection) -> None:
        self._connections.add(connection)
        if self._finishing:
            connection.close_after()
        if len(self._connections) > self._max_connections:
            connection.refuse(503, "too many connections")
        if self._server is not None:
            self._accept_more()

    def _accept_more(self) -> None:
        """Those that wait behind one: uvloop accepts one a turn, however long turns are."""
        for _ in range(ACCEPTS):
            try:
                sock, _peer = self._sock.accept()
            except OSError:  # there are none, or no descriptors: what the loop is told as well
                return
            sock.settimeout(0)
            task = self.loop.create_task(self.loop.connect_accepted_socket(lambda: HttpConnection(self), sock))
            self._opening.add(task)
            task.add_done_callback(self._is_open)

    def _is_open(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.exception()  # it has gone already
        self._end_if_alone()

    def closed(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if self._finishing:
            self._end_if_alone()

    def ended(self, exchange: HttpExchange) -> None:
        """The app has returned; that may be long after its response."""
        self.running.discard(exchange)
        if self._finishing:
            self._end_if_alone()

    def _tick(self) -> None:
        self._timer = self.loop.call_later(self._tick_s, self._tick)
        self.ticks += 1
        self.date = wire.date_line() + b"\r\n"
        for connection in tuple(self._connections):
            self._check(connection)

    def _check(self, connection: HttpConnection) -> None:
        """End a connection whose client has let it wait for too long."""
        head_s, idle_s, body_s, _ = self._patience
        if connection.lingers_since is not None or (connection.exchange is not None and not connection.owes_body):
            self._check_reader(connection)
        elif connection.owes_body:
            if self._since(connection.quiet_since) > body_s:
                connection.transport.abort()
        elif connection.held:
            connection.let_go()
        elif connection.is_idle and connection.served:
            if self._since(connection.quiet_since) > idle_s:
                connection.close()
        elif self._since(connection.begun_at) > head_s:
            connection.refuse(408, "the head of the request did not come")

    def _check_reader(self, connection: HttpConnection) -> None:
        """The same, where the client has to take what was sent."""
        if connection.lingers_since is not None:
            if connection.reads_on():
                connection.lingers_since = self.ticks
            elif self._since(connection.lingers_since) > LINGER_S:
                connection.break_off()
        elif connection.unsent is None or connection.reads_on():
            connection.stuck_since = self.ticks
        elif self._since(connection.stuck_since) > self._patience[3]:
            connection.break_off()

    def _since(self, tick: int) -> float:
        """Seconds."""
        return (self.ticks - tick) * self._tick_s


def _unread(connections: Iterable[HttpConnection]) -> set[HttpConnection]:
    """Those of them for which the system has something that the loop has not read."""
    poll = select.poll()
    of: dict[int, HttpConnection] = {}
    for connection in connections:
        sock = connection.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            of[sock.fileno()] = connection
            poll.register(sock.fileno(), select.POLLIN)
    return {of[fd] for fd, _ in poll.poll(0)}


class _Lifespan:
    """ASGI's lifespan protocol, from the server's side."""

    def __init__(self, app: ASGIApp, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        self._task = asyncio.ensure_future(self._app(scope, self._inbox.get, self._outbox.put))  # type: ignore[arg-type]
        await self._step("startup")

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            await self._step("shutdown")
            await self._task

    async def _step(self, name: str) -> None:
        task = self._task
        assert task is not None
        self._inbox.put_nowait({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait({answer, task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.result()["type"] == f"lifespan.{name}.complete":
            return
        answer.cancel()
        await asyncio.wait({task}, timeout=LAST_WORDS_S)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            msg = f"the app's {name} failed"
            raise RuntimeError(msg)
        # The app's own exception says more than the message that it sends.
        task.result()
        msg = f"the app's {name} failed"
        raise RuntimeError(msg)
