"""A request on its way in: read off the wire, parsed, spliced, and sent to its upstream."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import MODEL
from bench.hot import exchanges, texts
from bench.hot.nowhere import Nowhere, origin
from bench.hot.piece import each, piece, repeated
from tollhouse._native import RequestReader, RequestView
from tollhouse.gateway.server.protocol import HttpConnection
from tollhouse.gateway.server.server import HttpServer
from tollhouse.providers.ask import Ask
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from bench.hot.piece import Piece, Prepare
    from tollhouse.gateway.server.exchange import HttpExchange
    from tollhouse.middlewares.types import Scope

BOUND = (400, "max_tokens")
_UNITS = {"1 KB": 50, "64 KB": 5, "1 MB": 1}


def _head() -> Prepare:
    """What the server asks of the reader for one request."""
    reader, data = RequestReader(), exchanges.wire(texts.body())

    def read() -> None:
        reader.feed(data)
        reader.head()
        reader.take()
        reader.proceed()

    return repeated(read)


class _Answering:
    """An app that answers at once, without a task."""

    async def __call__(self, *_: Any) -> None: ...

    def direct(self, scope: Scope, connection: HttpExchange) -> None:
        body = texts.answer()
        connection.take_body()
        connection.respond(200, [*HEADERS, (b"content-length", b"%d" % len(body))], body)
        connection.end()


HEADERS = [
    (b"content-type", b"application/json"),
    (b"openai-processing-ms", b"412"),
    (b"x-request-id", b"req_0123456789abcdef0123456789abcdef"),
    (b"x-gateway-decision", b"ALLOWED"),
    (b"x-gateway-guards", b"auth;ran, limits;ran, budget;ran, scan;ran"),
    (b"x-gateway-cache", b"bypass"),
    (b"x-gateway-model", MODEL.encode()),
    (b"x-ratelimit-limit-requests", b"100000000"),
    (b"x-ratelimit-remaining-requests", b"99999999"),
    (b"x-ratelimit-reset-requests", b"6ms"),
]


def _server() -> Prepare:
    app: Any = _Answering()
    connection = HttpConnection(_bare_server(app))
    connection.connection_made(Nowhere())
    data = exchanges.wire(texts.body())
    return repeated(lambda: connection.data_received(data))


def _bare_server(app: Any) -> HttpServer:
    server = HttpServer(app, _Unbound())  # type: ignore[arg-type]
    server.loop = asyncio.get_running_loop()
    server.direct = app.direct
    return server


class _Unbound:
    """Nobody listens."""

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 8080


def _parse(size: int) -> Prepare:
    body = texts.body(size)
    return repeated(lambda: RequestView.parse(body, "chat"))


def _splice(size: int) -> Prepare:
    view = RequestView.parse(texts.body(size, stream=True), "chat")
    return repeated(lambda: view.rewrite(model="gpt-4o-mini-2024-07-18", include_usage=True, max_tokens=BOUND))


def _upstream() -> Prepare:
    """What is asked, spliced, with its head, until the transport has it; and the answer that ends the call."""
    place = origin()
    upstream = OpenAIUpstream(origin=place.origin, base_path="/v1", timeouts=Timeouts(), api_key="sk-upstream")
    view = RequestView.parse(texts.body(), "chat")

    def ask() -> Ask:
        return Ask("chat", view, "gpt-4o-mini-2024-07-18", max_output=400, request_id="req_0", headers={})

    data = texts.whole_answer()

    def send(ask: Ask) -> None:
        call = upstream.start(ask)
        place.connection.data_received(data)
        call.take()

    return each(ask, send)


PIECES: list[Piece] = [
    piece("server: head", _head),
    piece("server: request and answer", _server),
    *(piece(f"view: {name}", partial(_parse, size), units=_UNITS[name]) for name, size in texts.SIZES.items()),
    *(piece(f"splice: {name}", partial(_splice, size), units=_UNITS[name]) for name, size in texts.SIZES.items()),
    piece("upstream: ask and answer", _upstream),
]
