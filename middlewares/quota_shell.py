"""Limits and budgets around any ASGI app: the request is read and admitted, and its answer tells what it came to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tollhouse._native import END, FAULT, ResponseReader
from tollhouse.middlewares.body import ReplayedBody, replayed_as
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import Exchange, exchange_for
from tollhouse.middlewares.quota import QuotaStage
from tollhouse.middlewares.quota_errors import unavailable
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tollhouse.middlewares.allowances import Allowances
    from tollhouse.middlewares.quota import Outcome, Quoter, Store
    from tollhouse.middlewares.types import ASGIApp, Message, Receive, Scope, Send

EXPIRES_IN_MS = 3_600_000


class QuotaShell:
    """One stage in front of `app`.

    kinds: paths whose bodies are those of model APIs, with the API; others count as requests without tokens or cost.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowances: Allowances,
        quote: Quoter,
        kinds: Mapping[str, str],
        store: Store | None,
        max_bytes: int,
        expires_in_ms: int = EXPIRES_IN_MS,
        price_version: str = "",
    ) -> None:
        self.app = app
        self._body = ReplayedBody(kinds, max_bytes)
        own: Any = EmbeddedQuota(keeps_charges=False)
        self._store: Any = own if store is None else store
        self.stage = QuotaStage(
            self._store, allowances, quote, expires_in_ms=expires_in_ms, price_version=price_version
        )
        # A store that was given is opened and closed by whoever gave it.
        self._is_own = store is None
        self._opening: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, send = exchange_for(scope, receive, send)
        try:
            await self._open()
            pending = self._body.enter(exchange)
            if pending is not None:
                await pending
            view = exchange.view
            if view is not None and view.model:
                exchange.model = view.model
            pending = self.stage.enter(exchange)
            if pending is not None:
                await pending
            _lower(exchange)
        except Refusal as refusal:
            await exchange.refuse(refusal, send)
            return
        except StoreUnavailable:
            await exchange.refuse(unavailable(), send)
            return
        charge, outcome = exchange.charge, exchange.outcome
        try:
            if charge is None or outcome is None:
                await self.app(scope, exchange.receive, send)
            else:
                outcome.asked = True
                outcome.price = charge.quote.price  # type: ignore[assignment]  # one model, one price
                if exchange.kind is not None:
                    # What is encoded cannot be read.
                    scope["headers"] = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
                await self.app(scope, exchange.receive, _Tap(exchange, outcome, send))
        finally:
            # Another of these further in has put its own there.
            exchange.charge, exchange.outcome = charge, outcome
            self.stage.leave(exchange)

    async def _open(self) -> None:
        """Once, in the loop that serves."""
        if not self._is_own:
            return
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._store.open())
        if not self._opening.done():
            await asyncio.shield(self._opening)


def _lower(exchange: Exchange) -> None:
    """Where less was reserved than was asked for, the app is asked for less."""
    charge, view = exchange.charge, exchange.view
    if charge is None or charge.output is None or view is None:
        return
    replayed_as(exchange, view.rewrite(max_tokens=(charge.output, "max_tokens")))


class _Tap:
    """The `send` of one request: passes everything on, and sees what the answer came to."""

    def __init__(self, exchange: Exchange, outcome: Outcome, send: Send) -> None:
        self._outcome = outcome
        self._send = send
        self._reader: ResponseReader | None = None
        if exchange.kind is not None:
            self._reader = ResponseReader(exchange.kind if exchange.kind != "embeddings" else "completions")
        self._exchange = exchange

    async def __call__(self, message: Message) -> None:
        outcome, reader = self._outcome, self._reader
        if message["type"] == "http.response.start":
            status = message["status"]
            outcome.refused = status >= 300
            headers = message.get("headers", ())
            # What an answer that is encoded nevertheless came to, nobody can say: it is charged by its bound.
            is_read = reader is None or not _is_encoded(headers)
            outcome.answered = not outcome.refused and is_read
            if not is_read:
                self._reader = None
            elif reader is not None:
                reader.feed(_head(status, headers))
        elif message["type"] == "http.response.body":
            is_last = not message.get("more_body", False)
            if reader is not None:
                self._see(reader, bytes(message.get("body", b"")), is_last=is_last)
            elif is_last:
                outcome.completed = outcome.answered
        await self._send(message)

    def _see(self, reader: ResponseReader, chunk: bytes, *, is_last: bool) -> None:
        flags = reader.feed(chunk)
        if is_last:
            flags = reader.eof()
        if reader.is_event_stream or flags & END:
            reader.take()
        outcome = self._outcome
        outcome.tokens = reader.tokens
        outcome.text_bytes = reader.text_bytes
        if is_last:
            outcome.completed = outcome.answered and not flags & FAULT
            self._exchange.usage = reader.usage


def _is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers)


def _head(status: int, headers: object) -> bytes:
    """A head that says of the answer what the tap has to know."""
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")  # type: ignore[attr-defined]
    return b"HTTP/1.1 %d \r\ncontent-type: %b\r\nconnection: close\r\n\r\n" % (status, bytes(kind))
