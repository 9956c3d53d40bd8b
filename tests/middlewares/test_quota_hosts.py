"""LimitsMiddleware and BudgetMiddleware in somebody else's application, over real sockets: FastAPI and Litestar."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.responses import Response as FastAPIResponse
from fastapi.responses import StreamingResponse
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar.middleware import DefineMiddleware
from litestar.response import Stream

from tests.support.chunks import DONE, completion, delta, finish, usage
from tests.support.client import events_of
from tests.support.served import served
from tollhouse._native import PriceTable
from tollhouse.config import price_table
from tollhouse.middlewares.auth import AuthMiddleware
from tollhouse.middlewares.budget import Allowance, BudgetMiddleware, BudgetRule, dollars
from tollhouse.middlewares.limits import LimitsMiddleware
from tollhouse.middlewares.stores.embedded import EmbeddedQuota

CHAT = "/v1/chat/completions"
STREAM = "/v1/streams"
KINDS = {CHAT: "chat", STREAM: "chat"}
Stack = list[tuple[Any, dict[str, Any]]]
SEEN: list[dict[str, Any]] = []


async def _pieces() -> AsyncIterator[bytes]:
    yield delta("fi")
    yield delta("ne") + finish()
    yield usage() + DONE


def _fastapi(stack: Stack) -> Any:
    app = FastAPI()

    @app.post(CHAT)
    async def chat(request: FastAPIRequest) -> Any:
        SEEN.append(await request.json())
        return FastAPIResponse(completion(), media_type="application/json")

    @app.post(STREAM)
    async def stream(request: FastAPIRequest) -> Any:
        SEEN.append(await request.json())
        return StreamingResponse(_pieces(), media_type="text/event-stream")

    @app.post("/note")
    async def note(request: FastAPIRequest) -> Any:
        return {"length": len(await request.body())}

    for middleware, options in reversed(stack):
        app.add_middleware(middleware, **options)
    return app


def _litestar(stack: Stack) -> Any:
    @post(CHAT, status_code=200)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> LitestarResponse[bytes]:
        SEEN.append(await request.json())
        return LitestarResponse(completion(), media_type="application/json")

    @post(STREAM, status_code=200)
    async def stream(request: LitestarRequest[Any, Any, Any]) -> Stream:
        SEEN.append(await request.json())
        return Stream(_pieces(), media_type="text/event-stream")

    @post("/note", status_code=200)
    async def note(request: LitestarRequest[Any, Any, Any]) -> dict[str, int]:
        return {"length": len(await request.body())}

    layers = [DefineMiddleware(middleware, **options) for middleware, options in stack]
    return Litestar([chat, stream, note], openapi_config=None, middleware=layers)


HOSTS: dict[str, Callable[[Stack], Any]] = {"fastapi": _fastapi, "litestar": _litestar}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Callable[[Stack], Any]:
    SEEN.clear()
    return HOSTS[request.param]


def _prices() -> Callable[[str], Any]:
    table = PriceTable(price_table.table(), {"x/*": {"input": 1_000_000_000, "output": 2_000_000_000}})
    return lambda model: table.find("x", model) if model != "free-of-price" else None


def _chat(model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]} | more


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_requests_are_limited_for_each_key_and_told_as_openai_does(host):
    keys = {"keys": ["sk-th-aaaaaaaaaaaa-1", "sk-th-bbbbbbbbbbbb-2"]}
    with served(host([(AuthMiddleware, keys), (LimitsMiddleware, {"rpm": 2})])) as client:
        for key in keys["keys"]:
            headers = {"authorization": f"Bearer {key}"}
            answers = [client.post("/note", content=b"abc", headers=headers) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[0].json() == {"length": 3}
            assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"
            assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
            assert int(answers[2].headers["retry-after"]) > 50


def test_tokens_are_counted_as_the_answer_says_whole_or_streamed(host):
    store = EmbeddedQuota(keeps_charges=False)
    limits = {"tpm": 1000, "kinds": KINDS, "store": store, "refill": "interval"}
    with served(host([(LimitsMiddleware, limits)])) as client:
        for path, left in ((CHAT, 990), (STREAM, 980)):
            answer = client.post(path, json=_chat())
            assert answer.status_code == 200
            if path == STREAM:
                assert events_of(answer.content)[-1] == b"[DONE]"
            # The client has its answer before the app has returned.
            _until(lambda: store.open_holds == 0)
            probe = client.post("/note", content=b"x")
            assert probe.headers["x-ratelimit-remaining-tokens"] == str(left)
        refused = client.post(CHAT, json=_chat(max_tokens=5000))
        assert refused.status_code == 429
        assert "has a limit of 1000 tokens per minute" in refused.json()["error"]["message"]


def test_a_budget_lowers_what_is_asked_for_and_then_refuses(host):
    store = EmbeddedQuota()
    own = Allowance("key", "", budgets=(BudgetRule(1_000_000),))
    budget = {"prices": _prices(), "kinds": KINDS, "allowances": [own], "store": store}
    with served(host([(BudgetMiddleware, budget)])) as client:
        first = client.post(STREAM, json=_chat(max_tokens=10_000))
        assert first.status_code == 200
        _until(lambda: store.open_holds == 0)
        assert 16 <= SEEN[0]["max_tokens"] < 400
        statuses = []
        for _ in range(60):
            statuses.append(client.post(CHAT, json=_chat(max_tokens=20)).status_code)
            _until(lambda: store.open_holds == 0)
        assert set(statuses) == {200, 429}
        refused = client.post(CHAT, json=_chat(max_tokens=20))
        assert refused.json()["error"]["code"] == "budget_exceeded"
        spent = sum(charge.amount for charge in store.charges(1000))
        # 7 tokens read and 3 written, each time.
        assert spent == 13_000 * (1 + statuses.count(200)) <= 1_000_000
        assert store.accounts() == [("key:anonymous:usd:total", 0, spent, 0)]
        unpriced = client.post(CHAT, json=_chat("free-of-price"))
        assert (unpriced.status_code, unpriced.json()["error"]["code"]) == (403, "model_unpriced")
        assert client.post("/note", content=b"x").status_code == 200


def test_both_may_be_stacked_and_each_settles_its_own(host):
    limited, paid = EmbeddedQuota(), EmbeddedQuota()
    stack = [
        (LimitsMiddleware, {"parallel": 1, "kinds": KINDS, "store": limited}),
        (BudgetMiddleware, {"prices": _prices(), "kinds": KINDS, "usd": 1, "store": paid}),
    ]
    with served(host(stack)) as client:
        for path in (CHAT, STREAM, CHAT):
            assert client.post(path, json=_chat()).status_code == 200
            _until(lambda: not limited.open_holds + paid.open_holds)
    assert (limited.open_holds, paid.open_holds) == (0, 0)
    assert paid.accounts() == [("key:anonymous:usd:total", 0, 39_000, 0)]


def test_what_cannot_be_read_is_refused_before_it_is_counted(host):
    store = EmbeddedQuota()
    budget = {"prices": _prices(), "kinds": KINDS, "usd": 1, "store": store}
    with served(host([(BudgetMiddleware, budget)])) as client:
        refused = client.post(CHAT, content=b"{oops", headers={"content-type": "application/json"})
        assert refused.status_code == 400
        assert orjson.loads(refused.content)["error"]["code"] == "invalid_json"
    assert (store.open_holds, store.charges(9)) == (0, [])


def test_an_amount_that_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="nano-USD"):
        dollars(10**9)
