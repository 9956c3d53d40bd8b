"""Each middleware inside somebody else's application: FastAPI and Litestar, whole answers and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.responses import StreamingResponse
from litestar import Litestar, get, post
from litestar import Request as LitestarRequest
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from prometheus_client import CollectorRegistry

from tests.support.asgi import Client, Lifespan, Response, http_scope, request
from tollhouse.middlewares.access_log import AccessLogMiddleware
from tollhouse.middlewares.auth import AuthMiddleware
from tollhouse.middlewares.body import BodyMiddleware
from tollhouse.middlewares.edge import EdgeMiddleware
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.metrics import MetricsMiddleware
from tollhouse.middlewares.request_id import RequestIdMiddleware

KEY = "sk-th-ABCDEFGHIJKL-" + "s" * 48
BEARER = [(b"authorization", b"Bearer " + KEY.encode())]
CHAT = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
Layers = list[tuple[Any, dict[str, Any]]]


@dataclass
class Gate:
    """Lets a stream's second chunk go out only once the test has seen the first."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: one\n\n"
            await self.open.wait()
            yield b"data: two\n\n"
        finally:
            self.ended = True


def _seen(scope: Any) -> dict[str, Any]:
    """What a handler finds of what our middlewares left."""
    exchange = exchange_of(scope)
    assert exchange is not None
    principal, view = exchange.principal, exchange.view
    return {
        "request_id": exchange.request_id,
        "principal": principal.id if principal is not None else None,
        "model": view.model if view is not None else None,
    }


def _fastapi(layers: Layers, gate: Gate) -> Any:
    app = FastAPI()

    @app.get("/json")
    async def whole(request: FastAPIRequest) -> dict[str, Any]:
        return _seen(request.scope)

    @app.post("/chat")
    async def chat(request: FastAPIRequest) -> dict[str, Any]:
        return _seen(request.scope) | {"body": (await request.body()).decode()}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(gate.chunks(), media_type="text/event-stream")

    for middleware, options in reversed(layers):  # the one added last is the outermost
        app.add_middleware(middleware, **options)
    return app


def _litestar(layers: Layers, gate: Gate) -> Any:
    @get("/json")
    async def whole(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        return _seen(request.scope)

    @post("/chat", status_code=200)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        return _seen(request.scope) | {"body": (await request.body()).decode()}

    @get("/stream")
    async def stream() -> Stream:
        return Stream(gate.chunks(), media_type="text/event-stream")

    # Made anew for every route.
    own = [DefineMiddleware(middleware, **options) for middleware, options in layers]
    return Litestar([whole, chat, stream], openapi_config=None, middleware=own)


Host = Callable[[Layers, Gate], Any]
HOSTS: dict[str, Host] = {"fastapi": _fastapi, "litestar": _litestar}


def _layer(name: str, lines: list[bytes], registry: CollectorRegistry) -> tuple[Any, dict[str, Any]]:
    layers: dict[str, tuple[Any, dict[str, Any]]] = {
        "request id": (RequestIdMiddleware, {}),
        "metrics": (MetricsMiddleware, {"registry": registry, "prefix": "host"}),
        "access log": (AccessLogMiddleware, {"write": lines.append}),
        "edge": (EdgeMiddleware, {}),
        "auth": (AuthMiddleware, {"keys": [KEY]}),
        "body": (BodyMiddleware, {"kinds": {"/chat": "chat"}, "max_bytes": 1000}),
    }
    return layers[name]


NAMES = ["request id", "metrics", "access log", "edge", "auth", "body"]


@pytest.fixture(params=HOSTS)
def host(request) -> Host:
    return HOSTS[request.param]


async def _streamed(app: Any, gate: Gate, headers: list[tuple[bytes, bytes]]) -> Response:
    """A stream's response, after a check that its chunks come one by one."""
    client = Client(app, http_scope("/stream", headers=headers))
    task = asyncio.create_task(client.run())
    async with asyncio.timeout(5):
        while not client.response.chunks:
            await client.received.wait()
            client.received.clear()
    assert client.response.chunks == [b"data: one\n\n"]
    assert not task.done()
    gate.open.set()
    async with asyncio.timeout(5):
        while not client.response.complete:
            await client.received.wait()
            client.received.clear()
        client.disconnect()  # servers say so when a response has ended, and Litestar waits for it
        response = await task
    assert response.chunks == [b"data: one\n\n", b"data: two\n\n"]
    assert (response.header("content-type") or "").startswith("text/event-stream")
    return response


@pytest.mark.parametrize("name", NAMES)
async def test_each_alone_lets_whole_answers_bodies_and_streams_through(host, name):
    gate, lines, registry = Gate(), list[bytes](), CollectorRegistry()
    app = host([_layer(name, lines, registry)], gate)
    async with Lifespan(app):
        whole = await request(app, "/json", headers=BEARER)
        assert whole.status == 200
        assert whole.json["principal"] == ("ABCDEFGHIJKL" if name == "auth" else None)
        chat = await request(app, "/chat", method="POST", headers=BEARER, body=[CHAT[:9], CHAT[9:]])
        assert (chat.status, chat.json["body"]) == (200, CHAT.decode())
        assert chat.json["model"] == ("m" if name == "body" else None)
        stream = await _streamed(app, gate, BEARER)
    for response in (whole, chat, stream):
        assert (response.header("x-request-id") is not None) == (name == "request id")
    assert len(lines) == (3 if name == "access log" else 0)
    count = registry.get_sample_value(
        "host_requests_total",
        {"route": "unmatched", "status": "200", "model": "", "provider": "", "decision": "ALLOWED"},
    )
    assert count == (3 if name == "metrics" else None)


async def test_all_together_share_one_view_of_the_request(host):
    gate, lines, registry = Gate(), list[bytes](), CollectorRegistry()
    app = host([_layer(name, lines, registry) for name in NAMES], gate)
    async with Lifespan(app):
        chat = await request(app, "/chat", method="POST", headers=[*BEARER, (b"x-request-id", b"r-1")], body=CHAT)
        assert chat.json == {"request_id": "r-1", "principal": "ABCDEFGHIJKL", "model": "m", "body": CHAT.decode()}
        assert chat.header("x-request-id") == "r-1"
        assert (await _streamed(app, gate, BEARER)).header("x-request-id")
        refused = await request(app, "/chat", method="POST", body=CHAT)
        malformed = await request(app, "/chat", method="POST", headers=BEARER, body=b"{")
        large = await request(app, "/chat", method="POST", headers=BEARER, body=b"x" * 2000)
        encoded = await request(app, "/json", headers=[*BEARER, (b"content-encoding", b"gzip")])
    assert [answer.status for answer in (refused, malformed, large, encoded)] == [401, 400, 413, 415]
    for answer in (refused, malformed, large, encoded):
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        assert answer.header("x-request-id"), "even what is refused has an id"
    logged = [orjson.loads(line) for line in lines]
    assert [line["status"] for line in logged] == [200, 200, 401, 400, 413, 415]
    assert logged[0].items() >= {"request_id": "r-1", "key_id": "ABCDEFGHIJKL"}.items()
    assert registry.get_sample_value("host_requests_in_flight") == 0
    assert b"sss" not in b"".join(lines)


async def test_what_the_host_does_not_know_is_its_own_affair(host):
    app = host([_layer("request id", [], CollectorRegistry())], Gate())
    async with Lifespan(app):
        assert (await request(app, "/nowhere")).status == 404
        assert (await request(app, "/json", method="PUT")).status == 405


async def test_a_client_that_goes_ends_the_hosts_stream(host):
    gate, lines = Gate(), list[bytes]()
    app = host([_layer(name, lines, CollectorRegistry()) for name in NAMES], gate)
    async with Lifespan(app):
        client = Client(app, http_scope("/stream", headers=BEARER))
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(5):
            while not client.response.chunks:
                await client.received.wait()
                client.received.clear()
            client.disconnect()
            await task
    assert client.response.chunks == [b"data: one\n\n"]
    assert len(lines) == 1
