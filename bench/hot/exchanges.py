"""Exchanges as the chain has them: begun, come so far, and ended."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from bench.gateways.entry import KEY, MODEL
from tollhouse._native import RequestView
from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.exchange import Exchange
from tollhouse.middlewares.quota import Outcome
from tollhouse.middlewares.rulebook import Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.middlewares.stage import Stage
    from tollhouse.middlewares.types import Headers, Message, Scope

ROUTE = "/v1/chat/completions"
CALLER = Principal(id="bench", team="bench", user="kim")
POLICY = Policy([Rule(id="everybody")], version="2026-11-21.1", digest="0" * 64)
_numbers = count()


def scope(body: bytes) -> Scope:
    """As the server makes it of what OpenAI's client sends."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": ROUTE,
        "raw_path": ROUTE.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers(body),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


def headers(body: bytes) -> Headers:
    return [
        (b"host", b"127.0.0.1:8080"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"OpenAI/Python 2.8.1"),
        (b"x-stainless-lang", b"python"),
        (b"x-stainless-retry-count", b"0"),
        (b"authorization", b"Bearer " + KEY.encode()),
        (b"content-length", b"%d" % len(body)),
    ]


def wire(body: bytes) -> bytes:
    """The same request on the wire."""
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers(body))
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (ROUTE.encode(), lines, body)


class Whole:
    """The connection of a request that has come whole, whose answer goes nowhere."""

    def __init__(self, body: bytes) -> None:
        self.watcher: Callable[[], None] | None = None
        self.waited_ns = 0
        self._body = body

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None: ...

    def take_body(self) -> bytes:
        return self._body

    def respond(self, status: int, headers: Headers, body: bytes) -> None: ...

    def carry(self, serving: Awaitable[None]) -> None:
        raise AssertionError("a piece of the hot path has to wait")

    def end(self) -> None: ...


def begun(body: bytes) -> Exchange:
    """No stage has seen it yet."""
    connection = Whole(body)
    exchange = Exchange(scope(body), connection.receive, connection.send)
    exchange.connection = connection
    exchange.kind, exchange.route = "chat", ROUTE
    exchange.request_id = f"req_{next(_numbers):032x}"
    return exchange


def read(body: bytes, *stages: Stage) -> Exchange:
    """Its caller and its body are known; then these stages have let it in."""
    exchange = begun(body)
    exchange.principal = CALLER
    exchange.view = RequestView.parse(body, "chat")
    exchange.body = body
    exchange.model = exchange.asked_model = MODEL
    for stage in stages:
        pending = stage.enter(exchange)
        assert pending is None
    return exchange


def ended(body: bytes = b"{}") -> Exchange:
    """Answered, and paid for."""
    exchange = begun(body)
    exchange.principal = CALLER
    exchange.model = exchange.asked_model = MODEL
    exchange.provider = "openai"
    exchange.verdict = POLICY.verdict(CALLER, ROUTE, MODEL)
    exchange.because(exchange.verdict.why)
    exchange.usage, exchange.cost, exchange.status = (120, 40, 0, 0), 42_000, 200
    exchange.overhead_ns, exchange.upstream_ns = 180_000, 412_000_000
    exchange.outcome, exchange.scanned = Outcome(), True
    return exchange
