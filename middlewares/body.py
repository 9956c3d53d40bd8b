"""The request body: read once under caps, parsed once, at hand for every later stage as `exchange.view`."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

from tollhouse._native import RequestError, RequestView
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.exchange import route_path
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp, Message, Receive

_GRACE_S = 2.0  # before the minimum rate counts


class IncompleteBody(BadRequest):
    """The body broke off: the client has gone, or (Granian tells it the same way) its chunks are malformed."""

    code = "incomplete_body"


class _SlowReads:
    """Cancels tasks that have been reading for too long. One coarse timer for all, and only while there are any.

    Of one event loop; when that is closed, of the next.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._tick_s = min(0.5, timeout_s / 4)
        self._too_old = ceil(timeout_s / self._tick_s)
        self._began: dict[asyncio.Task[object], int] = {}  # oldest first, in ticks; -1: was cancelled
        self._ticks = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # that ticks

    def add(self, task: asyncio.Task[object]) -> None:
        self._began[task] = self._ticks
        if self._loop is None or self._loop.is_closed():
            self._loop = loop = task.get_loop()
            loop.call_later(self._tick_s, self._tick, loop)

    def discard(self, task: asyncio.Task[object]) -> None:
        del self._began[task]

    def elapsed_s(self, task: asyncio.Task[object]) -> float:
        """Rounded down to whole ticks."""
        return (self._ticks - self._began[task]) * self._tick_s

    def is_late(self, task: asyncio.Task[object]) -> bool:
        """Whether it was cancelled from here."""
        return self._began[task] < 0

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticks += 1
        for task, began in self._began.items():
            if began < 0:
                continue
            if self._ticks - began <= self._too_old:
                break
            self._began[task] = -1
            task.cancel()
        if self._began:
            loop.call_later(self._tick_s, self._tick, loop)
        else:
            self._loop = None


class BodyStage(Stage):
    """Reads and parses the bodies of exchanges whose `kind` is set; the others are left to their handlers.

    `max_bytes` holds for all; only a body that is read to the end is parsed.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 10 * 1024 * 1024,
        read_timeout_s: float = 30.0,
        min_bytes_per_s: int = 1024,
        max_depth: int = 64,
        max_nodes: int = 100_000,
    ) -> None:
        self._max_bytes = max_bytes
        self._slow = _SlowReads(read_timeout_s)
        self._min_rate = min_bytes_per_s
        self._max_depth = max_depth
        self._max_nodes = max_nodes

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        if exchange.kind is None:
            return None
        if exchange.connection is None:
            return self._read(exchange, exchange.kind)
        body = exchange.connection.take_body()  # whose length its server has seen to
        if len(body) > self._max_bytes:
            raise self._too_large()
        self._accept(exchange, exchange.kind, body)
        return None

    def leave(self, exchange: Exchange) -> None:
        """Let go of the body; the exchange may outlive it in a log or a queue."""
        exchange.body = b""
        exchange.view = None

    def _accept(self, exchange: Exchange, kind: str, body: bytes) -> None:
        if exchange.received is not None:
            exchange.received = body
        try:
            exchange.view = RequestView.parse(body, kind, max_depth=self._max_depth, max_nodes=self._max_nodes)
        except RequestError as error:
            raise BadRequest(error.message, param=error.param, code=error.code) from None
        exchange.body = body

    async def _read(self, exchange: Exchange, kind: str) -> None:
        declared = self._declared_length(exchange)
        task = asyncio.current_task()
        assert task is not None
        slow = self._slow
        receive = exchange.receive
        chunks: list[bytes] = []
        size = 0
        slow.add(task)
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise IncompleteBody("the request body ended before it was complete")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > self._max_bytes:
                    raise self._too_large()
                # Enough bytes are enough: one more receive only to hear "no more" is a trip through the server.
                if size == declared or not message.get("more_body", False):
                    break
                chunks.append(chunk)
                elapsed = slow.elapsed_s(task)
                if elapsed > _GRACE_S and size < self._min_rate * elapsed:
                    msg = f"the request body arrived at less than {self._min_rate} bytes per second"
                    raise BadRequest(msg, status=408, code="request_timeout", retry=True)
        except asyncio.CancelledError:
            if not slow.is_late(task):
                raise
            task.uncancel()
            msg = f"the request body did not arrive within {slow.timeout_s:g} s"
            raise BadRequest(msg, status=408, code="request_timeout", retry=True) from None
        finally:
            slow.discard(task)
        self._accept(exchange, kind, b"".join(chunks) + chunk if chunks else bytes(chunk))

    def _declared_length(self, exchange: Exchange) -> int:
        value = exchange.headers.get(b"content-length")
        if value is None:
            return -1
        if not value.isdigit():
            msg = "Content-Length is not a number"
            raise BadRequest(msg, code="invalid_content_length")
        length = int(value)
        if length > self._max_bytes:
            raise self._too_large()
        return length

    def _too_large(self) -> BadRequest:
        msg = f"the request body is larger than {self._max_bytes} bytes"
        return BadRequest(msg, status=413, code="request_too_large")


class BodyMiddleware(StageMiddleware):
    """Reads bodies once, under caps, and replays them to the app; the view is at `scope["tollhouse"].view`.

    `kinds` maps a path to the kind of its body, e.g. {"/v1/chat/completions": "chat"}.
    """

    def __init__(self, app: ASGIApp, *, kinds: Mapping[str, str], max_bytes: int = 10 * 1024 * 1024) -> None:
        super().__init__(app, ReplayedBody(kinds, max_bytes))


class ReplayedBody(BodyStage):
    """Of middlewares around any app, which gets to read the body as well.

    Bodies of other paths than those of `kinds` stay unread, and one that was read further out is not read twice.
    """

    def __init__(self, kinds: Mapping[str, str], max_bytes: int) -> None:
        super().__init__(max_bytes=max_bytes)
        self._kinds = dict(kinds)

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        scope = exchange.scope
        if exchange.view is not None or scope["method"] != "POST":
            return None
        if exchange.kind is None:
            exchange.kind = self._kinds.get(route_path(scope))
        return super().enter(exchange)

    def _accept(self, exchange: Exchange, kind: str, body: bytes) -> None:
        super()._accept(exchange, kind, body)
        exchange.receive = replay(body, exchange.receive)


def replayed_as(exchange: Exchange, body: bytes) -> None:
    """The app inside, and every middleware in between, reads `body` in place of what came."""
    view = exchange.view
    if view is not None and view.body is not body:
        exchange.view = view.replaced(body)
    exchange.body = body
    exchange.receive = replay(body, exchange.receive)
    exchange.scope["headers"] = [
        *((name, value) for name, value in exchange.scope["headers"] if name != b"content-length"),
        (b"content-length", b"%d" % len(body)),
    ]


def replay(body: bytes, receive: Receive) -> Receive:
    """`receive` that tells the whole body first and then goes on with the real one (which knows of disconnects)."""
    told = False

    async def replayed() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
