"""OpenAI's and Anthropic's clients through the gateway to providers of other dialects: Gemini, Bedrock, Ollama."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.gateway import MASTER_KEY, Gateway, echo_only, running_gateway
from tests.support.net import wait_until
from tests.support.providers import bedrock as aws
from tests.support.providers import gemini as google
from tests.support.providers.bedrock import Bedrock
from tests.support.providers.gemini import Gemini
from tests.support.providers.ollama import Ollama
from tests.support.providers.server import THOUGHT, WORDS, Provider, Say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

GREETING = "".join(WORDS)
CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"
MODELS = ("gemini", "bedrock", "ollama")
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "open_gate",
        "description": "Opens a gate",
        "parameters": {
            "type": "object",
            "properties": {"gate": {"$ref": "#/$defs/Gate"}, "minutes": {"type": "integer"}},
            "required": ["gate", "minutes"],
            "$defs": {"Gate": {"type": "string"}},
        },
    },
}


def _params(model: str, **params: str) -> dict[str, Any]:
    return {"model_name": params.pop("name"), "litellm_params": {"model": model, **params}}


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, Provider]]:
    with Gemini() as gemini, Bedrock(token=aws.SESSION_TOKEN) as bedrock, Ollama() as ollama:
        yield {"gemini": gemini, "bedrock": bedrock, "ollama": ollama}


@pytest.fixture(scope="module")
def gateway(providers: dict[str, Provider]) -> Iterator[Gateway]:
    keys = {
        "aws_access_key_id": aws.ACCESS_KEY,
        "aws_secret_access_key": aws.SECRET_KEY,
        "aws_session_token": aws.SESSION_TOKEN,
        "aws_region_name": aws.REGION,
        "api_base": providers["bedrock"].url,
    }
    google_base = f"{providers['gemini'].url}/v1beta"
    models = [
        _params("gemini/gemini-2.5-flash", name="gemini", api_base=google_base, api_key=google.KEY),
        _params("gemini/gemini-2.5-flash", name="gemini-badly-keyed", api_base=google_base, api_key="AIza-wrong"),
        _params(f"bedrock/converse/{CLAUDE}", name="bedrock", **keys),
        _params(f"bedrock/{PROFILE}", name="bedrock-profile", **keys),
        _params(f"bedrock/{CLAUDE}", name="bedrock-badly-keyed", **keys | {"aws_secret_access_key": "wrong"}),
        _params(
            f"bedrock/{CLAUDE}",
            name="bedrock-bearer",
            api_base=keys["api_base"],
            aws_region_name="eu-west-1",
            api_key=aws.API_KEY,
        ),
        _params("ollama/llama3.2", name="ollama", api_base=providers["ollama"].url),
    ]
    prices = {"ollama/*": {"input": "0.01", "output": "0.02"}}
    with running_gateway(echo_only(model_list=models, prices=prices)) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=10) as made:
        yield made


def _body(error: openai.APIError | anthropic.APIError) -> dict[str, Any]:
    assert isinstance(error.body, dict)
    return error.body


def _user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def _streamed(client: OpenAI, model: str, text: str, **more: Any) -> tuple[list[Any], Any]:
    """The chunks, and the choice that they make together."""
    with client.chat.completions.stream(model=model, messages=_user(text), **more) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        return chunks, stream.get_final_completion()


# Of the usage that each provider tells: prompt, cached, completion; and what that costs in nano-USD.
BILLS = {
    "gemini": (20, 4, 12, 16 * 300 + 4 * 30 + 12 * 2500),
    "bedrock": (1020, 1000, 5, 20 * 1100 + 1000 * 110 + 5 * 5500),
    "ollama": (26, 0, 282, 26 * 10 + 282 * 20),
}


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_answer_says_what_the_model_said(client, gateway, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=_user("hello"))
    answer = raw.parse()
    assert answer.choices[0].message.content == GREETING
    assert answer.choices[0].finish_reason == "stop"
    prompt, cached, completion, nano_usd = BILLS[model]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, completion)
    assert answer.usage.total_tokens == prompt + completion
    if cached:
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == cached
    assert Decimal(raw.headers["x-gateway-cost-usd"]) * 10**9 == nano_usd
    assert raw.headers["x-gateway-provider"] == model


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_says_the_same(client, model):
    chunks, answer = _streamed(client, model, "hello", stream_options={"include_usage": True})
    assert answer.choices[0].message.content == GREETING
    assert answer.choices[0].finish_reason == "stop"
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == len(WORDS)
    prompt, _, completion, nano_usd = BILLS[model]
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)
    assert Decimal(chunks[-1].x_gateway_cost_usd) * 10**9 == nano_usd


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_loop_of_parallel_calls_works(client, providers, model, is_streamed):
    messages = _user("open both")
    if is_streamed:
        _, answer = _streamed(client, model, "open both", tools=[TOOL])
    else:
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["open_gate"] * 2
    assert [json.loads(call.function.arguments)["gate"] for call in calls] == ["N\u00f6rd", "S"]
    assert len({call.id for call in calls}) == 2
    messages.append(choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    # In another order than they were asked for.
    messages.extend({"role": "tool", "tool_call_id": call.id, "content": call.id} for call in reversed(calls))
    # Without tools: they were told once.
    final = client.chat.completions.create(model=model, messages=messages)
    assert final.choices[0].message.content == GREETING
    sent = providers[model].last.json
    ids = [call.id for call in calls]
    if model == "gemini":
        assert sent["contents"][1]["parts"][0]["thoughtSignature"] == google.SIGNATURE
        responses = [part["functionResponse"]["response"]["result"] for part in sent["contents"][2]["parts"]]
        assert responses == ids
    elif model == "bedrock":
        assert [block["toolResult"]["toolUseId"] for block in sent["messages"][2]["content"]] == ids
        assert [tool["toolSpec"]["name"] for tool in sent["toolConfig"]["tools"]] == ["open_gate"]
    else:
        assert [message["content"] for message in sent["messages"][-2:]] == ids


@pytest.mark.parametrize("model", ["gemini", "bedrock", "ollama"])
def test_thoughts_reach_the_caller(client, providers, model):
    answer = client.chat.completions.create(model=model, messages=_user(Say.THINK), reasoning_effort="low")
    assert answer.choices[0].message.reasoning_content == THOUGHT
    sent = providers[model].last.json
    if model == "gemini":
        assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 1024, "includeThoughts": True}
    elif model == "bedrock":
        thinking = sent["additionalModelRequestFields"]["thinking"]
        assert thinking["budget_tokens"] < sent["inferenceConfig"]["maxTokens"]
    else:
        assert sent["think"] is True


@pytest.mark.parametrize("model", ["gemini", "bedrock"])
def test_what_a_provider_refuses_is_filtered_content(client, model):
    answer = client.chat.completions.create(model=model, messages=_user(Say.REFUSE))
    assert answer.choices[0].finish_reason == "content_filter"
    with pytest.raises(openai.ContentFilterFinishReasonError):  # the client's word for it
        _streamed(client, model, Say.REFUSE)


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_answer_is_a_valid_message(client, model):
    answer = client.chat.completions.create(model=model, messages=_user(Say.EMPTY))
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "stop")
    assert not answer.choices[0].message.content


@pytest.mark.parametrize(
    ("model", "error", "code", "words"),
    [
        ("gemini", openai.RateLimitError, "RESOURCE_EXHAUSTED", "quota is used up"),
        ("bedrock", openai.RateLimitError, "ThrottlingException", "Too many requests"),
        ("ollama", openai.InternalServerError, None, "server busy"),
    ],
)
def test_errors_have_the_status_and_the_words_of_the_provider(client, model, error, code, words):
    for stream in (False, True):
        with pytest.raises(error) as caught:
            client.chat.completions.create(model=model, messages=_user(Say.THROTTLE), stream=stream)
        assert words in caught.value.message
        assert _body(caught.value)["code"] == code
        assert {"message", "type", "param", "code"} <= set(_body(caught.value))


@pytest.mark.parametrize("model", ["gemini", "bedrock"])
def test_a_malformed_call_is_an_error_and_never_an_answer(client, model):
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=model, messages=_user(Say.BAD_CALL), stream=stream)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("say", [Say.FAIL, Say.BREAK])
def test_a_stream_that_fails_in_the_middle_raises(client, model, say):
    text = ""
    with client.chat.completions.create(model=model, messages=_user(say), stream=True) as stream:
        chunks = iter(stream)
        with pytest.raises(openai.APIError) as caught:  # noqa: PT012 - the last of them
            while chunk := next(chunks):
                text += chunk.choices[0].delta.content or ""
                assert chunk.choices[0].finish_reason is None
    assert text == WORDS[0]
    assert _body(caught.value)["code"]


@pytest.mark.parametrize("model", ["gemini-badly-keyed", "bedrock-badly-keyed"])
def test_refused_credentials_are_no_fault_of_the_caller_and_are_not_shown(client, model):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=_user("hello"))
    assert (caught.value.status_code, _body(caught.value)["code"]) == (502, "upstream_auth")
    told = caught.value.response.text + str(caught.value.response.headers)
    for secret in ("AIza", aws.SESSION_TOKEN, aws.SECRET_KEY, aws.ACCESS_KEY):
        assert secret not in told


def test_a_bedrock_key_is_a_bearer_token_and_an_arn_is_one_step_of_the_path(client, providers):
    for model in ("bedrock-bearer", "bedrock-profile"):
        for stream in (False, True):
            answer = client.chat.completions.create(model=model, messages=_user("hello"), stream=stream)
            if stream:
                assert "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices) == GREETING
        asked = providers["bedrock"].last
        if model == "bedrock-bearer":
            assert asked.headers["authorization"] == f"Bearer {aws.API_KEY}"
            assert "x-amz-date" not in asked.headers
        else:
            assert Bedrock.model(asked) == PROFILE


def test_the_key_is_never_in_the_url_and_the_callers_key_goes_nowhere(client, gateway, providers):
    for model in MODELS:
        client.chat.completions.create(model=model, messages=_user("hello"))
        asked = providers[model].last
        head = asked.path + str(asked.headers)
        assert gateway.key not in head
        assert google.KEY not in asked.path
    assert "authorization" not in providers["gemini"].last.headers
    assert "authorization" not in providers["ollama"].last.headers


def test_what_cannot_be_told_is_named_in_a_header(client):
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "gemini": ("logit_bias, user", {"user": "me", "logit_bias": {"1": 1}, "seed": 1}),
        "bedrock": ("seed", {"seed": 1, "temperature": 0.5}),
        "ollama": ("tool_choice", {"tools": [TOOL], "tool_choice": "required", "seed": 1}),
    }
    for model, (expected, more) in cases.items():
        raw = client.chat.completions.with_raw_response.create(model=model, messages=_user("hello"), **more)
        assert sorted(raw.headers["x-gateway-warnings"].split(", ")) == sorted(expected.split(", "))
        plain = client.chat.completions.with_raw_response.create(model=model, messages=_user("hello"))
        assert "x-gateway-warnings" not in plain.headers


def test_what_would_be_missed_is_refused_before_anybody_is_asked(client, providers):
    image: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
    ]
    for model in ("bedrock", "ollama"):
        before = len(providers[model].asked)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=image)
        assert "image" in caught.value.message
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=_user("hello"), n=2)
        assert caught.value.param == "n"
        assert len(providers[model].asked) == before


def test_an_endpoint_that_a_provider_does_not_have_is_a_clear_400(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="bedrock", input="hello")
    assert "bedrock" in caught.value.message
    assert "/v1/embeddings" in caught.value.message


@pytest.mark.parametrize("model", ["gemini", "bedrock"])
def test_a_prompt_is_completed_by_models_that_converse(client, model):
    assert client.completions.create(model=model, prompt="hello").choices[0].text == GREETING


def test_embeddings_of_ollama_pass_as_they_are(client, providers):
    answer = client.embeddings.create(model="ollama", input="hello", encoding_format="float")
    assert answer.data[0].embedding == [0.5, -1.5]
    assert providers["ollama"].last.path == "/v1/embeddings"


@pytest.mark.parametrize("model", MODELS)
def test_anthropics_client_is_served_as_well(gateway, model):
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as client:
        messages: list[Any] = [{"role": "user", "content": "hello"}]
        answer = client.messages.create(model=model, max_tokens=900, messages=messages)
        assert [block.text for block in answer.content if block.type == "text"] == [GREETING]
        assert answer.stop_reason == "end_turn"
        with client.messages.stream(model=model, max_tokens=900, messages=messages) as stream:
            assert stream.get_final_text() == GREETING
        schema = {"type": "object", "properties": {"gate": {"type": "string"}}}
        tool: Any = {"name": "open_gate", "input_schema": schema}
        with client.messages.stream(model=model, max_tokens=900, messages=messages, tools=[tool]) as stream:
            final = stream.get_final_message()
        assert [block.input["gate"] for block in final.content if block.type == "tool_use"] == ["N\u00f6rd", "S"]
        assert final.stop_reason == "tool_use"
        throttled: list[Any] = [{"role": "user", "content": Say.THROTTLE}]
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model=model, max_tokens=900, messages=throttled)
        assert _body(caught.value)["type"] == "error"


def test_signed_thoughts_of_bedrock_are_replayed_byte_for_byte(gateway, providers):
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as client:
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        asked: Any = {
            "role": "user",
            "content": [{"type": "text", "text": Say.THINK, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        }
        with client.messages.stream(model="bedrock", max_tokens=9000, messages=[asked], thinking=thinking) as stream:
            answer = stream.get_final_message()
        kinds = [block.type for block in answer.content]
        assert kinds == ["thinking", "redacted_thinking", "text"]
        assert answer.content[0].to_dict()["signature"] == aws.SIGNATURE
        again: Any = [asked, {"role": "assistant", "content": answer.content}, {"role": "user", "content": "and?"}]
        client.messages.create(model="bedrock", max_tokens=9000, messages=again, thinking=thinking)
        sent = providers["bedrock"].last.json
        assert sent["messages"][0]["content"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
        assert sent["messages"][1]["content"][:2] == [
            {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": aws.SIGNATURE}}},
            {"reasoningContent": {"redactedContent": aws.SEALED}},
        ]
        assert sent["additionalModelRequestFields"]["thinking"] == thinking


def test_every_answer_is_in_the_ledger_at_its_price(client, gateway):
    def spent() -> dict[str, int]:
        status, body = gateway.get("/admin/usage?by=model", **{"x-admin-api-key": MASTER_KEY})
        assert status == 200
        return {row["model"]: int(Decimal(row["cost_usd"]) * 10**9) for row in json.loads(body)["data"]}

    before = spent()
    for model in MODELS:
        client.chat.completions.create(model=model, messages=_user("hello"))
        _streamed(client, model, "hello")

    def is_booked() -> bool:
        now = spent()
        return all(now.get(model, 0) - before.get(model, 0) == 2 * BILLS[model][3] for model in MODELS)

    wait_until(is_booked, what="all answers are in the ledger")
