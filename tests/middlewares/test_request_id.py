from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.support.asgi import request
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.request_id import RequestIdMiddleware


async def _shows_its_id(scope, receive, send):
    exchange = exchange_of(scope)
    assert exchange is not None
    await PlainTextResponse(exchange.request_id)(scope, receive, send)


async def test_a_sane_id_is_echoed_and_known_to_the_app():
    response = await request(RequestIdMiddleware(_shows_its_id), headers=[(b"x-request-id", b"abc-1.2:3_4")])
    assert response.header("x-request-id") == "abc-1.2:3_4"
    assert response.body == b"abc-1.2:3_4"


async def test_without_an_id_a_new_one_is_made_each_time():
    app = RequestIdMiddleware(_shows_its_id)
    ids = {(await request(app)).header("x-request-id") for _ in range(600)}
    assert len(ids) == 600
    assert all(made is not None and made.startswith("req_") and len(made) == 36 for made in ids)


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b"\xff", b'"}\n{"level":"error"'])
async def test_an_id_that_could_forge_a_log_line_is_replaced(given):
    response = await request(RequestIdMiddleware(_shows_its_id), headers=[(b"x-request-id", given)])
    assert response.header("x-request-id") != given.decode("latin-1")
    assert (
        response.header(
            "x-request-id",
        )
        is not None
    )


async def test_the_header_can_be_named():
    app = RequestIdMiddleware(_shows_its_id, header="X-Trace")
    assert (await request(app, headers=[(b"x-trace", b"t1")])).header("x-trace") == "t1"


async def test_it_works_as_starlette_middleware_and_other_scopes_pass():
    app = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("hi"))], middleware=[Middleware(RequestIdMiddleware)]
    )
    assert (await request(app)).header("x-request-id") is not None
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope["type"])

    nothing: Any = None
    await RequestIdMiddleware(inner)({"type": "websocket"}, nothing, nothing)
    assert seen == ["websocket"]
