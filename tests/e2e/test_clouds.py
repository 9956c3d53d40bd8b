"""Clients through the gateway to Vertex AI and Bedrock with credentials that are lent: Claude, others, embeddings."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.gateway import MASTER_KEY, Gateway, echo_only, running_gateway
from tests.support.net import wait_until
from tests.support.providers import bedrock as aws
from tests.support.providers.aws import ROLE, ROLE_KEY, ROLE_SECRET, ROLE_TOKEN, Sts
from tests.support.providers.bedrock import Bedrock
from tests.support.providers.server import WORDS, Say
from tests.support.providers.vertex import CLIENT, LOCATION, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETING = "".join(WORDS)
VERTEX = {
    "claude": "claude-sonnet-4-5@20250929",
    "llama": "meta/llama-3.3-70b-instruct-maas",
    "flash": "gemini-2.5-flash",
    "text-embedding": "text-embedding-005",
    "gemini-embedding": "gemini-embedding-001",
}
BEDROCK = {
    "titan": "amazon.titan-embed-text-v2:0",
    "cohere": "cohere.embed-multilingual-v3",
    "nova": "amazon.nova-2-multimodal-embeddings-v1:0",
    "haiku": "anthropic.claude-haiku-4-5-20251001-v1:0",
}
EMBEDDINGS = ("text-embedding", "gemini-embedding", "titan", "cohere", "nova")
PRICES = {
    "vertex_ai/meta/*": {"input": "1", "output": "2"},
    "vertex_ai/text-embedding-005": {"input": "0.1"},
    "vertex_ai/gemini-embedding-001": {"input": "0.15"},
    "bedrock/cohere.embed-*": {"input": "0.1"},
    "bedrock/amazon.nova-2-*": {"input": "0.135"},
    "bedrock/amazon.titan-embed-text-v2:0": {"input": "0.02"},
}


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    with Vertex() as server:
        yield server


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with Bedrock(token=f"{ROLE_TOKEN}1", access_key=ROLE_KEY, secret_key=ROLE_SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(vertex: Vertex, bedrock: Bedrock) -> Iterator[Gateway]:
    user = json.dumps({"type": "authorized_user", "token_uri": f"{vertex.url}/token", **CLIENT})
    place = {"api_base": vertex.url, "vertex_project": "p", "vertex_location": "l", "vertex_credentials": user}
    with Sts() as sts:
        role = {
            "aws_access_key_id": aws.ACCESS_KEY,
            "aws_secret_access_key": aws.SECRET_KEY,
            "aws_role_name": ROLE,
            "aws_sts_endpoint": sts.url,
            "aws_region_name": aws.REGION,
            "api_base": bedrock.url,
        }
        models = [
            *(
                {"model_name": name, "litellm_params": {"model": f"vertex_ai/{m}", **place}}
                for name, m in VERTEX.items()
            ),
            *({"model_name": name, "litellm_params": {"model": f"bedrock/{m}", **role}} for name, m in BEDROCK.items()),
        ]
        checks = {"interval": 60, "timeout": 5, "require_backend_healthy": True}
        with running_gateway(echo_only(model_list=models, prices=PRICES, health_checks=checks)) as running:
            yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=10) as made:
        yield made


@pytest.mark.parametrize("model", ["claude", "llama", "flash"])
def test_models_of_all_publishers_answer_every_client(client, gateway, model):
    messages: Any = [{"role": "user", "content": "hello"}]
    assert client.chat.completions.create(model=model, messages=messages).choices[0].message.content == GREETING
    with client.chat.completions.create(model=model, messages=messages, stream=True) as stream:
        said = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(said) == GREETING
    assert client.responses.create(model=model, input="hello").output_text == GREETING
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as anthropic:
        answer = anthropic.messages.create(model=model, max_tokens=900, messages=messages)
        assert [block.text for block in answer.content if block.type == "text"] == [GREETING]
        with anthropic.messages.stream(model=model, max_tokens=900, messages=messages) as streamed:
            assert streamed.get_final_text() == GREETING


def test_messages_reach_claude_as_they_are_but_for_the_models_name(gateway, vertex):
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as client:
        text: Any = [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        client.beta.messages.create(
            model="claude", max_tokens=900, messages=[{"role": "user", "content": text}], betas=["b-1"]
        )
    asked = vertex.last
    path = f"{LOCATION}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    assert (asked.path, asked.headers["anthropic-beta"]) == (path, "b-1")
    assert "x-api-key" not in asked.headers
    assert asked.json == {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 900,
        "messages": [{"role": "user", "content": text}],
    }


def test_claude_is_asked_for_counts_and_other_models_are_counted_here(gateway, vertex):
    messages: Any = [{"role": "user", "content": "hello"}]
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as client:
        assert client.messages.count_tokens(model="claude", messages=messages).input_tokens == 42
        assert vertex.last.path == f"{LOCATION}/publishers/anthropic/models/count-tokens:rawPredict"
        assert vertex.last.json["model"] == VERTEX["claude"]
        asked = len(vertex.asked)
        for model in ("flash", "llama"):
            assert 0 < client.messages.count_tokens(model=model, messages=messages).input_tokens < 20
        assert len(vertex.asked) == asked


@pytest.mark.parametrize("model", EMBEDDINGS)
def test_embeddings_of_one_text_and_of_several(client, model):
    # The client asks for base64 unless it is told otherwise.
    for form in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model=model, input=["hello", "hi", "h\u00e9"], **form)
        assert [one.embedding[0] for one in answer.data] == [5, 2, 2]
        assert [one.index for one in answer.data] == [0, 1, 2]
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (9, 9)
    assert client.embeddings.create(model=model, input="hello").data[0].embedding == [5, 0]


def test_dimensions_are_told_in_each_models_words(client, vertex, bedrock):
    for model in EMBEDDINGS:
        client.embeddings.create(model=model, input="hello", dimensions=256)
    sent = [asked.json for asked in vertex.asked if "predict" in asked.path][-2:]
    assert [body["parameters"]["outputDimensionality"] for body in sent] == [256, 256]
    titan, cohere, nova = (asked.json for asked in bedrock.asked[-3:])
    assert (titan["dimensions"], cohere["output_dimension"]) == (256, 256)
    assert nova["singleEmbeddingParams"]["embeddingDimension"] == 256


def test_tokens_are_no_input_and_chats_are_no_embeddings(client):
    for model in EMBEDDINGS:
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model=model, input=[1, 2, 3])
        assert (caught.value.param, caught.value.code) == ("input", "unsupported_value")
    for model in ("claude", "flash", "haiku"):
        with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
            client.embeddings.create(model=model, input="hello")


@pytest.mark.parametrize("model", ["text-embedding", "titan", "cohere"])
def test_a_refusal_has_its_status_and_words(client, model):
    with pytest.raises(openai.RateLimitError, match=r"quota is used up|Too many requests"):
        client.embeddings.create(model=model, input=[Say.THROTTLE, "b"])


def test_embeddings_and_claude_are_in_the_ledger_at_their_price(client, gateway):
    def spent() -> dict[str, int]:
        status, body = gateway.get("/admin/usage?by=model", **{"x-admin-api-key": MASTER_KEY})
        assert status == 200
        return {row["model"]: int(Decimal(row["cost_usd"]) * 10**9) for row in json.loads(body)["data"]}

    before = spent()
    for model in EMBEDDINGS:
        client.embeddings.create(model=model, input=["hello", "hi"])
    client.chat.completions.create(model="claude", messages=[{"role": "user", "content": "hello"}])
    # Seven letters of each pair; of Claude 20 tokens read, 4 of them from the cache, and 5 written.
    wanted = {"text-embedding": 700, "gemini-embedding": 1050, "titan": 140, "cohere": 700, "nova": 945}
    wanted["claude"] = 20 * 3000 + 4 * 300 + 5 * 15000

    def is_booked() -> bool:
        now = spent()
        return all(now.get(model, 0) - before.get(model, 0) == cost for model, cost in wanted.items())

    wait_until(is_booked, what="all answers are in the ledger")


def test_health_is_checked_with_the_credentials_and_costs_nothing(gateway, vertex, bedrock):
    assert gateway.get("/health/ready")[0] == 200
    probed = {asked.path for asked in (*vertex.asked, *bedrock.asked) if asked.body == b"{}"}
    assert f"{LOCATION}/publishers/google/models/gemini-2.5-flash:generateContent" in probed
    assert f"{LOCATION}/publishers/google/models/text-embedding-005:predict" in probed
    assert f"{LOCATION}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict" in probed
    assert f"{LOCATION}/endpoints/openapi/chat/completions" in probed
    assert "/model/amazon.titan-embed-text-v2%3A0/invoke" in probed
    assert all("authorization" in asked.headers for asked in (*vertex.asked, *bedrock.asked) if asked.body == b"{}")


def test_no_credential_is_in_the_log(gateway):
    for secret in (ROLE_TOKEN, ROLE_SECRET, aws.SECRET_KEY, CLIENT["client_secret"], CLIENT["refresh_token"], "ya29."):
        assert secret not in gateway.output
