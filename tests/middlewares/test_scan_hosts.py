"""ScanMiddleware in somebody else's application, over real sockets: FastAPI and Litestar under uvicorn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
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
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware

from tests.support.chunks import DONE, delta, finish
from tests.support.client import events_of, text_of
from tests.support.served import served
from tollhouse.middlewares.scan import ScanMiddleware

EMAIL = "kim.doe@example.com"
KINDS = {"/chat": "chat"}
Options = dict[str, Any]
MADE: list[str] = []
HELD: list[bool] = []
SCAN: Any = ScanMiddleware  # Litestar has types of its own for ASGI


class Note(BaseModel):
    text: str


async def _pieces() -> AsyncIterator[bytes]:
    for piece in ("write to kim", ".doe@exam", "ple.com", " now"):
        yield delta(piece)
    yield finish() + DONE


async def _endless() -> AsyncIterator[bytes]:
    try:
        for piece in ("a ", f"{EMAIL} ", *["b "] * 100_000):
            MADE.append(piece)
            yield delta(piece)
    finally:
        HELD.append(True)


def _fastapi(options: Options) -> Any:
    app = FastAPI()

    @app.post("/note")
    async def note(given: Note) -> dict[str, Any]:
        return {"given": given.text, "own": EMAIL}

    @app.post("/chat")
    async def chat(request: FastAPIRequest) -> StreamingResponse:
        assert EMAIL.encode() not in await request.body()
        return StreamingResponse(_pieces(), media_type="text/event-stream")

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        return StreamingResponse(_endless(), media_type="text/event-stream")

    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(ScanMiddleware, **options)
    return app


def _litestar(options: Options) -> Any:
    @post("/note", status_code=200)
    async def note(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        return {"given": (await request.json())["text"], "own": EMAIL}

    @post("/chat", status_code=200)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> Stream:
        assert EMAIL.encode() not in await request.body()
        return Stream(_pieces(), media_type="text/event-stream")

    @get("/endless")
    async def endless() -> Stream:
        return Stream(_endless(), media_type="text/event-stream")

    return Litestar([note, chat, endless], openapi_config=None, middleware=[DefineMiddleware(SCAN, **options)])


HOSTS: dict[str, Callable[[Options], Any]] = {"fastapi": _fastapi, "litestar": _litestar}


@pytest.mark.parametrize("host", HOSTS)
def test_bodies_are_redacted_both_ways(host: str) -> None:
    with served(HOSTS[host]({"kinds": KINDS})) as client:
        response = client.post("/note", json={"text": f"é {EMAIL}"})
        assert response.json() == {"given": "é <EMAIL_ADDRESS>", "own": "<EMAIL_ADDRESS>"}
        assert response.headers["x-gateway-decision"] == "TRANSFORMED"
        assert response.headers["content-length"] == str(len(response.content))
        assert "content-encoding" not in response.headers
        assert client.post("/note", content=b"{", headers={"content-type": "application/json"}).status_code == 400


@pytest.mark.parametrize("host", HOSTS)
def test_streams_are_redacted_as_they_flow(host: str) -> None:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": EMAIL}]}
    with served(HOSTS[host]({"kinds": KINDS})) as client:
        response = client.post("/chat", content=orjson.dumps(body), headers={"content-type": "application/json"})
        assert response.headers["content-type"].startswith("text/event-stream")
        assert text_of(events_of(response.content)) == "write to <EMAIL_ADDRESS> now"
        assert response.content.endswith(DONE)


@pytest.mark.parametrize("host", HOSTS)
def test_a_block_ends_the_stream_and_the_application_stops(host: str) -> None:
    MADE.clear()
    with served(HOSTS[host]({"response": {"pii": "block"}})) as client:
        response = client.get("/endless")
        *events, last = events_of(response.content)
        assert text_of(events) == "a "
        assert orjson.loads(last)["error"]["code"] == "content_policy_violation"
    assert len(MADE) < 10


@pytest.mark.parametrize("host", HOSTS)
def test_a_client_that_goes_stops_the_application(host: str) -> None:
    HELD.clear()
    with served(HOSTS[host]({})) as client:
        with client.stream("GET", "/endless") as response:
            next(response.iter_bytes())
        # Longer than it takes even where others have the processors for seconds.
        deadline = time.monotonic() + 30
        while not HELD and time.monotonic() < deadline:
            time.sleep(0.01)
        assert HELD


@pytest.mark.parametrize("host", HOSTS)
def test_a_refusal_is_one_in_every_host(host: str) -> None:
    with served(HOSTS[host]({"request": {"pii": "block"}})) as client:
        response = client.post("/note", json={"text": EMAIL})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "content_policy_violation"
        assert EMAIL not in response.text
