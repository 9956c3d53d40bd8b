"""Embeddings that take several calls: one request, one charge, one row of the ledger, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.app import running_app
from tests.support.gateway import MASTER_KEY
from tests.support.net import free_port
from tests.support.providers.bedrock import API_KEY, REGION, Bedrock
from tests.support.providers.server import Say

ALICE = "sk-alice-0000000000"
EMBEDDINGS = "/v1/embeddings"
# A dollar per million tokens: a token is 1,000 nano-USD.
PAID: dict[str, Any] = {
    "prices": {"bedrock/*": {"input": 1}, "tollhouse/*": {"input": 0}},
    "keys": [{"name": "alice", "key": ALICE, "budget": {"usd": "1"}}],
}


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    with Bedrock() as server:
        yield server


def _titan(url: str, name: str = "m") -> dict[str, Any]:
    params = {"model": "bedrock/amazon.titan-embed-text-v2:0", "api_key": API_KEY, "aws_region_name": REGION}
    return {"model_name": name, "litellm_params": params | {"api_base": url}}


async def _rows(app):
    rows = (await app.send("/admin/usage?by=status", key=MASTER_KEY)).json["data"]
    return {row["status"]: (row["requests"], row["input"], row["cost_usd"]) for row in rows}


async def test_several_calls_are_one_charge(tmp_path, bedrock):
    async with running_app(tmp_path, model_list=[_titan(bedrock.url)], **PAID) as app:
        answer = await app.post({"model": "m", "input": ["hello"] * 20}, path=EMBEDDINGS, key=ALICE)
        assert (answer.status, len(bedrock.asked)) == (200, 20)
        assert answer.header("x-gateway-cost-usd") == "0.0001"
        assert await _rows(app) == {"complete": (1, 100, "0.0001")}


async def test_what_is_refused_at_once_costs_nothing(tmp_path, bedrock):
    async with running_app(tmp_path, model_list=[_titan(bedrock.url)], **PAID) as app:
        answer = await app.post({"model": "m", "input": [Say.THROTTLE, "a"]}, path=EMBEDDINGS, key=ALICE)
        assert answer.status == 429
        # Tried again, and never gone on with.
        assert {asked.json["inputText"] for asked in bedrock.asked} == {Say.THROTTLE}
        assert {status: row[2] for status, row in (await _rows(app)).items()} == {"failed": "0.00"}


async def test_what_fails_after_a_part_was_answered_is_charged_as_it_was_reserved(tmp_path, bedrock):
    async with running_app(tmp_path, model_list=[_titan(bedrock.url)], **PAID) as app:
        answer = await app.post({"model": "m", "input": ["hello", Say.THROTTLE]}, path=EMBEDDINGS, key=ALICE)
        assert answer.status == 429
        rows = await _rows(app)
        assert list(rows) == ["incomplete"]
        assert float(rows["incomplete"][2]) * 1e6 >= len("hello")


async def test_who_was_never_reached_is_not_paid(tmp_path):
    entries = [_titan(f"http://127.0.0.1:{free_port()}")]
    async with running_app(tmp_path, model_list=entries, **PAID) as app:
        assert (await app.post({"model": "m", "input": "hello"}, path=EMBEDDINGS, key=ALICE)).status == 502
        assert await _rows(app) == {}


async def test_tokens_go_to_a_target_that_takes_them(tmp_path, bedrock):
    echo = {"model_name": "m", "litellm_params": {"model": "tollhouse/echo"}}
    async with running_app(tmp_path, model_list=[_titan(bedrock.url), echo], **PAID) as app:
        for _ in range(4):
            answer = await app.post({"model": "m", "input": [1, 2, 3]}, path=EMBEDDINGS, key=ALICE)
            assert (answer.status, answer.header("x-gateway-provider")) == (200, "tollhouse")
    assert bedrock.asked == []
