"""Several calls told as one: how many are sent, and what comes of it when one of them fails or nobody waits."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.net import free_port
from tests.support.providers.bedrock import API_KEY, Bedrock
from tests.support.providers.server import Answer, Asked, Say, as_json
from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers import embeddings
from tollhouse.providers.ask import Ask
from tollhouse.providers.errors import (
    UpstreamCannot,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamShutdown,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tollhouse.providers.call import Call

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"


class _Hanging(Bedrock):
    """Answers the first call, and no other."""

    def answer(self, asked: Asked) -> Answer:
        if len(self.asked) == 1:
            return super().answer(asked)
        return Answer([b"{"], is_cut=False, headers={"content-encoding": "gzip"})


_FACTORIES: list[UpstreamFactory] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    while _FACTORIES:
        _FACTORIES.pop().close()


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    with Bedrock() as server:
        yield server


def _started(url: str, model: str, texts: Any, *, timeouts: Timeouts | None = None, **more: Any) -> Call:
    _FACTORIES.append(UpstreamFactory())
    upstream = _FACTORIES[-1].make("bedrock", api_base=url, timeouts=timeouts or Timeouts(), api_key=API_KEY)
    view = RequestView.parse(orjson.dumps({"model": "m", "input": texts, **more}), "embeddings")
    return upstream.start(Ask(kind="embeddings", view=view, model=model, request_id="r-1"))


async def _ended(call: Call) -> Call:
    assert call.opening is not None
    await call.opening
    assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
    return call


async def test_a_text_is_a_call_and_the_order_is_the_callers(bedrock):
    texts = ["x" * size for size in range(1, 31)]
    call = await _ended(_started(bedrock.url, TITAN, texts))
    answer = orjson.loads(call.take())
    assert [one["embedding"][0] for one in answer["data"]] == list(range(1, 31))
    assert [one["index"] for one in answer["data"]] == list(range(30))
    assert len(bedrock.asked) == 30
    assert call.reader.usage == (sum(range(1, 31)), 0, 0, 0)
    assert answer["model"] == TITAN
    assert {asked.path for asked in bedrock.asked} == {"/model/amazon.titan-embed-text-v2%3A0/invoke"}


async def test_a_batch_is_a_call_and_its_head_tells_the_tokens(bedrock):
    call = await _ended(_started(bedrock.url, COHERE, ["a"] * 100, encoding_format="base64", user="me"))
    answer = orjson.loads(call.take())
    assert sorted(len(asked.json["texts"]) for asked in bedrock.asked) == [4, 96]
    assert struct.unpack("<2f", base64.b64decode(answer["data"][95]["embedding"])) == (1.0, 95.0)
    assert struct.unpack("<2f", base64.b64decode(answer["data"][96]["embedding"])) == (1.0, 0.0)
    assert (call.reader.usage, call.warnings) == ((100, 0, 0, 0), ("user",))


async def test_a_large_answer_is_put_together_in_a_thread(bedrock, monkeypatch):
    monkeypatch.setattr(embeddings, "_AT_ONCE_BYTES", 1)
    call = await _ended(_started(bedrock.url, TITAN, ["a", "b"]))
    assert len(orjson.loads(call.take())["data"]) == 2


async def test_a_refusal_of_the_first_call_is_told_as_it_is_and_no_other_is_made(bedrock):
    call = await _ended(_started(bedrock.url, TITAN, [Say.THROTTLE, "a", "b"]))
    assert (call.reader.status, len(bedrock.asked)) == (429, 1)
    assert orjson.loads(call.take())["message"] == "Too many requests, please wait."
    errors = dict(call.reader.headers)
    assert errors[b"x-amzn-errortype"].startswith(b"ThrottlingException")


async def test_a_later_refusal_is_an_error_that_may_be_billed(bedrock):
    call = await _ended(_started(bedrock.url, TITAN, ["a", Say.THROTTLE, "b"]))
    error = call.cause()
    assert (type(error), error.status, error.retryable) == (UpstreamError, 429, True)
    assert call.reader.status == 0


async def test_who_cannot_be_reached_is_told_before_anything_is_sent():
    call = _started(f"http://127.0.0.1:{free_port()}", TITAN, ["a", "b"])
    with pytest.raises(UpstreamUnreachable):
        await _ended(call)


async def test_a_later_answer_that_is_none_is_an_error():
    with _Hanging() as server:
        call = await _ended(_started(server.url, TITAN, ["a", "b", "c"]))
        assert isinstance(call.cause(), UpstreamProtocolError)


async def test_an_answer_without_vectors_is_an_error(bedrock, monkeypatch):
    monkeypatch.setattr(Bedrock, "answer", lambda self, asked: as_json({"embedding": "none"}))
    call = await _ended(_started(bedrock.url, TITAN, "a"))
    assert "not one of embeddings" in call.cause().message


async def test_answers_are_bounded_together(bedrock, monkeypatch):
    monkeypatch.setattr(embeddings, "_MOST", 100)
    call = await _ended(_started(bedrock.url, TITAN, ["a"] * 9))
    assert call.cause().code == "upstream_too_large"


async def test_all_calls_together_have_the_time_of_one(bedrock):
    timeouts = Timeouts(total_s=0.000001)
    call = await _ended(_started(bedrock.url, TITAN, ["a", "b"], timeouts=timeouts))
    assert isinstance(call.cause(), UpstreamTimeout)


async def test_when_nobody_waits_no_further_call_is_made(bedrock):
    call = _started(bedrock.url, TITAN, ["a"] * 50)
    assert call.opening is not None
    await call.opening
    call.fail(UpstreamShutdown("over"))
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    assert len(bedrock.asked) <= 1
    assert isinstance(call.cause(), UpstreamShutdown)


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (TITAN, {"texts": [1, 2, 3]}, "input"),
        ("amazon.titan-embed-text-v1", {"texts": "a", "dimensions": 256}, "dimensions"),
        ("amazon.nova-pro-v1:0", {"texts": "a"}, "model"),
    ],
)
def test_what_a_model_cannot_be_asked_is_refused_by_name(model, body, param):
    with pytest.raises(UpstreamCannot) as caught:
        _started("http://127.0.0.1:1", model, **body)
    assert caught.value.param == param
