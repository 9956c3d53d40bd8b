"""Our middlewares among other people's: under mounts, on WebSockets, with foreign middlewares between them."""

from __future__ import annotations

import gzip
from decimal import Decimal
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import Response as FastAPIResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from tests.support.asgi import Client, Response, http_scope
from tests.support.chunks import completion
from tollhouse._native import PriceTable
from tollhouse.config import price_table
from tollhouse.middlewares.auth import AuthMiddleware
from tollhouse.middlewares.budget import BudgetMiddleware
from tollhouse.middlewares.limits import LimitsMiddleware
from tollhouse.middlewares.request_id import RequestIdMiddleware
from tollhouse.middlewares.scan import ScanMiddleware

CHAT = "/v1/chat/completions"
KEY = "sk-th-ABCDEFGHIJKL-" + "s" * 48
BEARER = [(b"authorization", b"Bearer " + KEY.encode())]
MAIL = "jo.doe@example.org"
Stack = list[tuple[Any, dict[str, Any]]]

AUTH = (AuthMiddleware, {"keys": [KEY], "public": ["/open"], "admin": ["/admin"]})
LIMITS = (LimitsMiddleware, {"rpm": 100, "kinds": {CHAT: "chat"}})
SCAN = (ScanMiddleware, {"paths": ["/v1"]})
IDS: tuple[Any, dict[str, Any]] = (RequestIdMiddleware, {})


async def _reads_the_body(request: Any, call_next: Any) -> Any:
    await request.body()
    return await call_next(request)


async def _passes_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


READER = (BaseHTTPMiddleware, {"dispatch": _reads_the_body})
PASSER = (BaseHTTPMiddleware, {"dispatch": _passes_on})
CORS = (CORSMiddleware, {"allow_origins": ["*"]})


def _budget(usd: str) -> tuple[Any, dict[str, Any]]:
    """A dollar for a million tokens read, two for a million written."""
    table = PriceTable(price_table.table(), {"x/*": {"input": 1_000_000_000, "output": 2_000_000_000}})
    return BudgetMiddleware, {
        "prices": lambda model: table.find("x", model),
        "kinds": {CHAT: "chat"},
        "usd": Decimal(usd),
    }


def _app(stack: Stack) -> Any:
    app = FastAPI()

    @app.post(CHAT)
    async def chat(request: Request) -> Any:
        said = (await request.json())["messages"][0]["content"]
        return FastAPIResponse(completion(said * 3000), media_type="application/json")

    @app.get("/admin/secrets")
    @app.get("/open")
    async def get() -> str:
        return "served"

    @app.websocket("/ws")
    @app.websocket("/open")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("unknown" if websocket.scope["tollhouse"].principal is None else "known")
        await websocket.close()

    for middleware, options in reversed(stack):
        app.add_middleware(middleware, **options)
    return app


def _mounted(stack: Stack) -> Any:
    return Starlette(routes=[Mount("/api", _app(stack))])


async def _post(app: Any, path: str = CHAT, *, headers: Any = (), content: str = "hi", **scope: Any) -> Response:
    body = orjson.dumps({"model": "m", "max_tokens": 10_000, "messages": [{"role": "user", "content": content}]})
    given = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    return await Client(app, http_scope(path, method="POST", headers=given) | scope, [body]).run()


async def _get(app: Any, path: str, *, headers: Any = (), **scope: Any) -> Response:
    return await Client(app, http_scope(path, method="GET", headers=list(headers)) | scope, [b""]).run()


async def _connect(app: Any, path: str, headers: Any = (), **scope: Any) -> list[dict[str, Any]]:
    """What an app says to the handshake of a WebSocket."""
    told: list[dict[str, Any]] = []
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        told.append(message)

    whole = http_scope(path, method="GET", headers=list(headers)) | {"type": "websocket", "subprotocols": []} | scope
    del whole["method"]
    await app(whole, receive, send)
    return told


# --- mounts


@pytest.mark.parametrize("headers", [[], BEARER], ids=["nobody", "anybody"])
async def test_what_is_for_administrators_is_theirs_under_a_mount(headers):
    mounted = _mounted([AUTH])
    assert (await _get(mounted, "/api/admin/secrets", headers=headers)).status == (403 if headers else 401)
    assert (await _get(mounted, "/api/open")).status == 200
    assert (await _post(mounted, f"/api{CHAT}")).status == 401
    assert (await _post(mounted, f"/api{CHAT}", headers=BEARER)).status == 200


async def test_paths_that_are_listed_in_full_count_as_well():
    mounted = _mounted([(AuthMiddleware, {"keys": [KEY], "public": ["/api/open"], "admin": ["/api/admin"]})])
    assert (await _get(mounted, "/api/open")).status == 200
    assert (await _get(mounted, "/api/admin/secrets", headers=BEARER)).status == 403


async def test_a_path_that_is_public_in_full_is_no_administrators_path_within():
    app = _app([(AuthMiddleware, {"keys": [KEY], "public": ["/admin/admin/secrets"], "admin": ["/admin"]})])
    assert (await _get(app, "/admin/admin/secrets", headers=BEARER, root_path="/admin")).status == 403


async def test_a_root_path_of_a_server_is_one_as_well():
    assert (await _get(_app([AUTH]), "/api/admin/secrets", headers=BEARER, root_path="/api")).status == 403
    # What only begins alike is no part of it.
    assert (await _get(_app([AUTH]), "/admin/secrets", headers=BEARER, root_path="/ad")).status == 403


async def test_a_mounted_budget_is_charged_and_a_mounted_scan_scans():
    mounted = _mounted([_budget("0.00001")])
    assert (await _post(mounted, f"/api{CHAT}")).status == 429
    mounted = _mounted([SCAN])
    answer = await _post(mounted, f"/api{CHAT}", content=f"I am {MAIL}")
    assert MAIL.encode() not in answer.body


# --- WebSockets


async def test_a_websocket_needs_a_key():
    app = _app([AUTH])
    (told,) = await _connect(app, "/ws")
    assert (told["type"], told["code"]) == ("websocket.close", 1008)
    (told,) = await _connect(app, "/ws", [(b"authorization", b"Bearer sk-th-unknown")])
    assert told["type"] == "websocket.close"
    (told,) = await _connect(app, "/admin/ws", BEARER)
    assert told["type"] == "websocket.close"
    assert [one["type"] for one in await _connect(_mounted([AUTH]), "/api/ws")] == ["websocket.close"]


async def test_a_websocket_with_a_key_knows_whose_it_is():
    accepted, said, _ = await _connect(_app([AUTH]), "/ws", BEARER)
    assert (accepted["type"], said["text"]) == ("websocket.accept", "known")
    accepted, said, _ = await _connect(_app([AUTH]), "/open")
    assert (accepted["type"], said["text"]) == ("websocket.accept", "unknown")


# --- others between ours


@pytest.mark.parametrize("inner", [AUTH, LIMITS, SCAN], ids=["auth", "limits", "scan"])
@pytest.mark.parametrize("outer", [[IDS, READER], [READER], [IDS, PASSER], [READER, IDS]])
async def test_a_body_that_another_middleware_has_read_comes_all_the_same(outer, inner):
    answer = await _post(_app([*outer, inner]), headers=BEARER)
    assert (answer.status, answer.complete) == (200, True)
    assert answer.json["choices"][0]["message"]["content"] == "hi" * 3000


@pytest.mark.parametrize("outer", [[IDS, PASSER], [PASSER], [IDS, READER]])
async def test_a_refusal_is_an_answer_to_those_around(outer):
    answer = await _post(_app([*outer, AUTH]))
    assert (answer.status, answer.complete) == (401, True)
    assert answer.json["error"]["code"]
    names = [name for name, _ in answer.headers]
    assert names.count(b"content-length") == names.count(b"content-type") == 1
    assert names.count(b"x-request-id") == (IDS in outer)


async def test_a_refusal_can_be_read_across_origins():
    answer = await _post(_app([IDS, CORS, AUTH]), headers=[(b"origin", b"https://a.test")])
    assert answer.status == 401
    assert dict(answer.headers)[b"access-control-allow-origin"] == b"*"


async def test_who_is_refused_behind_a_budget_owes_nothing():
    app = _app([_budget("0.05"), AUTH])
    assert [(await _post(app)).status for _ in range(5)] == [401] * 5
    assert (await _post(app, headers=BEARER)).status == 200


# --- answers that cannot be read


def _encoded(app: Any) -> Any:
    """Around an app: all of its answers are encoded, whatever was asked for."""

    async def encoded(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-encoding", b"gzip")]
            elif message.get("body"):
                message["body"] = gzip.compress(message["body"])[: len(message["body"])].ljust(
                    len(message["body"]), b"x"
                )
            await send(message)

        await app(scope, receive, sent)

    return encoded


@pytest.mark.parametrize("encoding", [b"identity", b"gzip"])
async def test_an_answer_costs_as_much_in_whatever_encoding_it_was_wanted(encoding):
    # Two requests of two cents each may be open at a time; each answer comes to much less.
    app = _app([_budget("0.041"), (GZipMiddleware, {"minimum_size": 1})])
    answers = [await _post(app, headers=[(b"accept-encoding", encoding)]) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].header("content-encoding") is None


async def test_an_answer_that_is_encoded_nevertheless_is_charged_by_its_bound():
    app = _app([_budget("0.041"), (_encoded, {})])
    assert [(await _post(app)).status for _ in range(3)] == [200, 200, 429]
