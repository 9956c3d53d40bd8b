"""The request body: read once under caps, parsed once, at hand for every later stage as `exchange.view`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse._native import RequestError, RequestView
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.stage import StageMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp, Message, Receive

_GRACE_S = 2.0  # before the minimum rate counts


class IncompleteBody(BadRequest):
    """The body broke off: the client has gone, or (Granian tells it the same way) its chunks are malformed."""

    code = "incomplete_body"


class BodyStage:
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
        self._timeout_s = read_timeout_s
        self._min_rate = min_bytes_per_s
        self._max_depth = max_depth
        self._max_nodes = max_nodes

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        if exchange.kind is None:
            return None
        return self._read_and_parse(exchange, exchange.kind)

    def leave(self, exchange: Exchange) -> None:
        """Let go of the body; the exchange may outlive it in a log or a queue."""
        exchange.body = b""
        exchange.view = None

    async def _read_and_parse(self, exchange: Exchange, kind: str) -> None:
        exchange.body = body = await self._read(exchange)
        try:
            exchange.view = RequestView.parse(body, kind, max_depth=self._max_depth, max_nodes=self._max_nodes)
        except RequestError as error:
            raise BadRequest(error.message, param=error.param, code=error.code) from None

    async def _read(self, exchange: Exchange) -> bytes:
        declared = self._declared_length(exchange)
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        timer = loop.call_later(self._timeout_s, task.cancel)
        started = loop.time()
        deadline = started + self._timeout_s
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await exchange.receive()
                if message["type"] != "http.request":
                    raise IncompleteBody("the request body ended before it was complete")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > self._max_bytes:
                    raise self._too_large()
                # Enough bytes are enough: one more receive only to hear "no more" is a trip through the server.
                if not message.get("more_body", False) or size == declared:
                    return b"".join(chunks) + chunk if chunks else bytes(chunk)
                chunks.append(chunk)
                elapsed = loop.time() - started
                if elapsed > _GRACE_S and size < self._min_rate * elapsed:
                    msg = f"the request body arrived at less than {self._min_rate} bytes per second"
                    raise BadRequest(msg, status=408, code="request_timeout", retry=True)
        except asyncio.CancelledError:
            if loop.time() < deadline:
                raise
            task.uncancel()
            msg = f"the request body did not arrive within {self._timeout_s:g} s"
            raise BadRequest(msg, status=408, code="request_timeout", retry=True) from None
        finally:
            timer.cancel()

    def _declared_length(self, exchange: Exchange) -> int:
        value = exchange.header(b"content-length")
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
        super().__init__(app, _ReplayedBody(kinds, max_bytes))


class _ReplayedBody(BodyStage):
    def __init__(self, kinds: Mapping[str, str], max_bytes: int) -> None:
        super().__init__(max_bytes=max_bytes)
        self._kinds = kinds

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        scope = exchange.scope
        if exchange.view is not None or scope["method"] != "POST":
            return None
        exchange.kind = self._kinds.get(scope["path"])
        return super().enter(exchange)

    async def _read_and_parse(self, exchange: Exchange, kind: str) -> None:
        await super()._read_and_parse(exchange, kind)
        exchange.receive = _replay(exchange.body, exchange.receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` that tells the whole body first and then goes on with the real one (which knows of disconnects)."""
    told = False

    async def replayed() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
