"""The official `openai` client against the gateway, in front of llama.cpp's server and of the built-in model.

Everything runs under both servers that the app is meant for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.gateway import NARROW_KEY
from tests.support.net import wait_until
from tests.support.sdk import witnessed_openai

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    from tests.support.gateway import Gateway
    from tests.support.model_server import ModelServer
    from tests.support.upstream import ScriptedUpstream

ECHO = "tollhouse/echo"
TINY = "tiny"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say it, nicely: wörld 😀"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "open_gate",
        "description": "Opens a gate",
        "parameters": {
            "type": "object",
            "properties": {"gate": {"type": "string"}, "minutes": {"type": "integer"}, "all": {"type": "boolean"}},
            "required": ["gate", "minutes"],
        },
    },
}
OTHER: ChatCompletionToolParam = {"type": "function", "function": {"name": "shut_gate", "parameters": {}}}
_numbers = count()


@pytest.fixture
def client(any_gateway: Gateway) -> Iterator[OpenAI]:
    with witnessed_openai(any_gateway) as made:
        yield made


@pytest.fixture
def direct(model_server: ModelServer) -> Iterator[OpenAI]:
    """The same client, straight to the model server."""
    with OpenAI(base_url=model_server.base_url, api_key=model_server.api_key, max_retries=0, timeout=10) as made:
        yield made


class TestModels:
    def test_list_holds_the_concrete_names(self, client: OpenAI) -> None:
        names = {model.id for model in client.models.list()}
        assert {ECHO, TINY, "renamed"} <= names
        assert not any("*" in name for name in names)

    def test_list_is_filtered_by_the_key(self, client: OpenAI) -> None:
        narrow = client.with_options(api_key=NARROW_KEY)
        assert [model.id for model in narrow.models.list()] == [ECHO]

    def test_retrieve(self, client: OpenAI) -> None:
        assert client.models.retrieve(TINY).id == TINY
        assert client.models.retrieve(ECHO).owned_by == "tollhouse"

    def test_retrieve_of_an_unknown_model_is_not_found(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("no-such-model")
        assert caught.value.code == "model_not_found"


class TestChat:
    def test_answer_is_the_model_servers_own(self, client: OpenAI, direct: OpenAI) -> None:
        def ask(with_client: OpenAI) -> dict[str, Any]:
            reply = with_client.chat.completions.create(model=TINY, messages=HELLO, max_tokens=12, temperature=0)
            return {"choices": reply.choices, "tokens": reply.usage and reply.usage.completion_tokens}

        through, straight = ask(client), ask(direct)
        assert through == straight
        assert through["tokens"] == 12

    def test_echo_says_it_back(self, client: OpenAI) -> None:
        reply = client.chat.completions.create(model=ECHO, messages=HELLO)
        assert reply.choices[0].message.content == HELLO[0].get("content")
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage is not None
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens

    def test_model_is_renamed_on_its_way(self, client: OpenAI) -> None:
        reply = client.chat.completions.create(model="renamed", messages=HELLO, max_tokens=2)
        assert reply.model == TINY
        assert reply.choices[0].message.content

    def test_several_choices(self, client: OpenAI) -> None:
        assert len(client.chat.completions.create(model=ECHO, messages=HELLO, n=3).choices) == 3

    def test_max_tokens_reaches_the_model(self, client: OpenAI) -> None:
        reply = client.chat.completions.create(model=ECHO, messages=HELLO, max_completion_tokens=2)
        assert reply.choices[0].finish_reason == "length"
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 2

    def test_headers_tell_who_answered(self, client: OpenAI) -> None:
        raw = client.chat.completions.with_raw_response.create(model=TINY, messages=HELLO, max_tokens=1)
        assert raw.headers["x-gateway-model"] == TINY
        assert raw.headers["x-gateway-provider"] == "openai"
        assert raw.headers["x-gateway-decision"] == "ALLOWED"
        assert "auth;ran" in raw.headers["x-gateway-guards"]
        assert int(raw.headers["x-gateway-overhead-us"]) >= 0

    def test_unicode_and_parts_pass(self, client: OpenAI) -> None:
        content: Any = [{"type": "text", "text": "Grüße, "}, {"type": "text", "text": "日本 😀\u0000\u2028"}]
        reply = client.chat.completions.create(model=ECHO, messages=[{"role": "user", "content": content}])
        assert reply.choices[0].message.content == "Grüße, 日本 😀\u0000\u2028"


class TestStream:
    @pytest.mark.parametrize("model", [TINY, ECHO])
    def test_stream_says_what_the_whole_answer_says(self, client: OpenAI, model: str) -> None:
        whole = client.chat.completions.create(model=model, messages=HELLO, max_tokens=20, temperature=0)
        chunks = list(
            client.chat.completions.create(model=model, messages=HELLO, max_tokens=20, temperature=0, stream=True)
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
        assert len(chunks) > 3

    @pytest.mark.parametrize("model", [TINY, ECHO])
    def test_usage_comes_if_asked_for(self, client: OpenAI, model: str) -> None:
        chunks = list(
            client.chat.completions.create(
                model=model, messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
            )
        )
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 5
        assert all(chunk.usage is None for chunk in chunks[:-1])

    @pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}], ids=["absent", "false"])
    @pytest.mark.parametrize("model", [TINY, ECHO])
    def test_usage_is_stripped_if_not(self, client: OpenAI, model: str, options: dict[str, Any]) -> None:
        stream = client.chat.completions.create(model=model, messages=HELLO, max_tokens=5, stream=True, **options)
        for chunk in stream:
            assert chunk.choices
            assert chunk.usage is None

    def test_tokens_arrive_one_by_one(self, client: OpenAI) -> None:
        model = f"hostile/counting@5,40-{next(_numbers)}"
        times = [time.monotonic() for _ in client.chat.completions.create(model=model, messages=HELLO, stream=True)]
        assert times[-1] - times[0] > 0.1, "a stream that is held back arrives all at once"

    def test_error_in_the_middle_is_raised(self, client: OpenAI) -> None:
        stream = client.chat.completions.create(model="hostile/overloaded-mid-stream", messages=HELLO, stream=True)
        chunks = iter(stream)
        assert next(chunks).choices
        with pytest.raises(openai.APIError) as caught:
            next(chunks)
        assert "overloaded" in caught.value.message

    def test_leaving_early_is_fine(self, client: OpenAI, any_gateway: Gateway, upstream: ScriptedUpstream) -> None:
        with client.chat.completions.create(model="hostile/ticking@5", messages=HELLO, stream=True) as stream:
            next(iter(stream))
        wait_until(lambda: upstream.log.of("ticking@5")[-1].closed_at, what="the upstream was let go")
        any_gateway.wait_idle()


class TestTools:
    def test_required_call(self, client: OpenAI) -> None:
        reply = client.chat.completions.create(model=ECHO, messages=HELLO, tools=[TOOL, OTHER], tool_choice="required")
        assert reply.choices[0].finish_reason == "tool_calls"
        (call,) = reply.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "open_gate"
        assert json.loads(call.function.arguments) == {"gate": HELLO[0].get("content"), "minutes": 1}

    def test_named_call(self, client: OpenAI) -> None:
        choice: Any = {"type": "function", "function": {"name": "shut_gate"}}
        reply = client.chat.completions.create(model=ECHO, messages=HELLO, tools=[TOOL, OTHER], tool_choice=choice)
        (call,) = reply.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == ("shut_gate", "{}")

    def test_no_call_unless_wanted(self, client: OpenAI) -> None:
        for choice in ("auto", "none"):
            reply = client.chat.completions.create(model=ECHO, messages=HELLO, tools=[TOOL], tool_choice=choice)
            assert not reply.choices[0].message.tool_calls

    def test_arguments_are_streamed_in_pieces(self, client: OpenAI) -> None:
        with client.chat.completions.stream(model=ECHO, messages=HELLO, tools=[TOOL], tool_choice="required") as stream:
            pieces = [event.arguments_delta for event in stream if event.type == "tool_calls.function.arguments.delta"]
            final = stream.get_final_completion()
        (call,) = final.choices[0].message.tool_calls or []
        assert len(pieces) > 2
        assert "".join(pieces) == call.function.arguments
        assert json.loads(call.function.arguments)["gate"] == HELLO[0].get("content")

    def test_result_of_a_tool_ends_the_round(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model=ECHO, messages=HELLO, tools=[TOOL], tool_choice="required")
        call = (first.choices[0].message.tool_calls or [])[0]
        again: Any = [*HELLO, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "opened"}]
        reply = client.chat.completions.create(model=ECHO, messages=again, tools=[TOOL])
        assert reply.choices[0].message.content == "opened"


class TestCompletionsAndEmbeddings:
    def test_completion(self, client: OpenAI, direct: OpenAI) -> None:
        through = client.completions.create(model=TINY, prompt="to", max_tokens=6, temperature=0)
        straight = direct.completions.create(model=TINY, prompt="to", max_tokens=6, temperature=0)
        assert through.choices[0].text == straight.choices[0].text

    @pytest.mark.parametrize("model", [TINY, ECHO])
    def test_completion_stream(self, client: OpenAI, model: str) -> None:
        whole = client.completions.create(model=model, prompt="to ll ho", max_tokens=6, temperature=0)
        stream = client.completions.create(model=model, prompt="to ll ho", max_tokens=6, temperature=0, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text

    def test_embeddings(self, client: OpenAI, direct: OpenAI) -> None:
        texts = ["gateway", "toll house"]
        through = client.embeddings.create(model=TINY, input=texts, encoding_format="float")
        straight = direct.embeddings.create(model=TINY, input=texts, encoding_format="float")
        assert [item.index for item in through.data] == [0, 1]
        for ours, theirs in zip(through.data, straight.data, strict=True):
            assert ours.embedding == pytest.approx(theirs.embedding, abs=1e-5)

    def test_embeddings_of_echo_in_both_encodings(self, client: OpenAI) -> None:
        floats = client.embeddings.create(model=ECHO, input="x", encoding_format="float", dimensions=16)
        packed = client.embeddings.create(model=ECHO, input="x", encoding_format="base64", dimensions=16)
        encoded: Any = packed.data[0].embedding
        assert list(struct.unpack("<16f", base64.b64decode(encoded))) == pytest.approx(floats.data[0].embedding)
        # The client asks for base64 by itself and unpacks it.
        assert client.embeddings.create(model=ECHO, input="x", dimensions=16).data[0].embedding == pytest.approx(
            floats.data[0].embedding
        )


class TestErrors:
    def test_bad_key(self, client: OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.with_options(api_key="sk-th-wrongwrongwr-nope").chat.completions.create(model=ECHO, messages=HELLO)
        assert caught.value.code == "invalid_api_key"
        assert caught.value.type == "invalid_request_error"

    def test_unknown_model(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="no-such-model", messages=HELLO)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert "no-such-model" in caught.value.message

    def test_model_outside_the_keys_list(self, client: OpenAI) -> None:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.with_options(api_key=NARROW_KEY).chat.completions.create(model=TINY, messages=HELLO)
        assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")

    def test_wrong_type_is_named(self, client: OpenAI) -> None:
        wrong: Any = "not a list"
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=ECHO, messages=wrong)
        assert caught.value.param == "messages"

    def test_error_of_the_model_server_passes(self, client: OpenAI) -> None:
        long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "to " * 3000}]
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=TINY, messages=long)
        assert "context size" in caught.value.message
        assert caught.value.code == "400", "llama.cpp sends a number; clients expect a string"

    def test_body_over_the_limit(self, client: OpenAI, any_gateway: Gateway) -> None:
        long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x" * (11 * 1024 * 1024)}]
        with pytest.raises(openai.APIStatusError) as caught:
            # The answer comes while the body is still being sent, which no wire in between survives.
            client.with_options(base_url=any_gateway.base_url).chat.completions.create(model=ECHO, messages=long)
        assert caught.value.status_code == 413

    def test_unreachable_upstream(self, client: OpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="unreachable", messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_unreachable")


class TestRetries:
    def test_client_retries_what_may_pass(self, client: OpenAI, upstream: ScriptedUpstream) -> None:
        model = f"flaky@2-{next(_numbers)}"
        patient = client.with_options(max_retries=2)
        reply = patient.chat.completions.create(model=f"hostile/{model}", messages=HELLO)
        assert reply.choices[0].message.content == "fine"
        assert len(upstream.log.of(model)) == 3

    def test_client_gives_up_after_its_retries(self, client: OpenAI, upstream: ScriptedUpstream) -> None:
        model = f"flaky@9-{next(_numbers)}"
        with pytest.raises(openai.InternalServerError):
            client.with_options(max_retries=1).chat.completions.create(model=f"hostile/{model}", messages=HELLO)
        # Twice by the client, and each time the gateway asks its one upstream three times.
        assert len(upstream.log.of(model)) == 2 * 3

    def test_unknown_model_is_not_retried(self, client: OpenAI, any_gateway: Gateway) -> None:
        labels = {"route": "/v1/chat/completions", "status": "404"}
        before = any_gateway.metric("gateway_requests_total", **labels)
        with pytest.raises(openai.NotFoundError) as caught:
            client.with_options(max_retries=2).chat.completions.create(model="no-such-model", messages=HELLO)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert any_gateway.metric("gateway_requests_total", **labels) == before + 1

    def test_client_timeout_lets_the_upstream_go(
        self, client: OpenAI, any_gateway: Gateway, upstream: ScriptedUpstream
    ) -> None:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3).chat.completions.create(model="hostile/hang", messages=HELLO)
        wait_until(lambda: upstream.log.of("hang")[-1].closed_at, what="the upstream was let go")
        any_gateway.wait_idle()


class TestHeaders:
    def test_request_id_is_echoed_and_passed_on(self, client: OpenAI, upstream: ScriptedUpstream) -> None:
        identity = f"req-of-the-tests.{next(_numbers)}"
        raw = client.chat.completions.with_raw_response.create(
            model="hostile/fine", messages=HELLO, extra_headers={"x-request-id": identity}
        )
        assert raw.headers["x-request-id"] == identity
        assert raw.parse()._request_id == identity
        assert upstream.log.of("fine")[-1].headers["x-request-id"] == identity

    def test_request_id_is_made_when_there_is_none(self, client: OpenAI) -> None:
        first, second = (client.chat.completions.create(model=ECHO, messages=HELLO)._request_id for _ in range(2))
        assert first
        assert first != second

    def test_request_id_that_could_forge_a_log_line_is_replaced(self, client: OpenAI) -> None:
        raw = client.models.with_raw_response.list(extra_headers={"x-request-id": "a b{}"})
        assert raw.headers["x-request-id"] != "a b{}"

    def test_callers_credentials_never_reach_the_upstream(
        self, client: OpenAI, any_gateway: Gateway, upstream: ScriptedUpstream
    ) -> None:
        client.chat.completions.create(
            model="hostile/fine",
            messages=HELLO,
            extra_headers={"cookie": "a=b", "x-api-key": any_gateway.key, "x-custom": "1", "openai-beta": "assistants"},
        )
        seen = upstream.log.of("fine")[-1]
        assert seen.headers["authorization"] == "Bearer sk-up"
        assert any_gateway.key.encode() not in seen.head
        assert "cookie" not in seen.headers
        assert "x-custom" not in seen.headers
        assert seen.headers["openai-beta"] == "assistants"
        assert seen.headers["accept-encoding"] == "identity"

    def test_key_may_come_as_x_api_key(self, any_gateway: Gateway) -> None:
        headers: dict[str, Any] = {"x-api-key": any_gateway.key, "Authorization": openai.Omit()}
        with OpenAI(base_url=any_gateway.base_url, api_key="unused") as client:
            assert client.models.list(extra_headers=headers).data

    def test_extra_fields_reach_the_upstream_untouched(self, client: OpenAI, upstream: ScriptedUpstream) -> None:
        extra = {"vendor_option": {"b": 1, "a": [1.50, 1e3, "\u00e9"]}}
        client.chat.completions.create(model="hostile/fine", messages=HELLO, extra_body=extra)
        assert upstream.log.of("fine")[-1].json["vendor_option"] == extra["vendor_option"]


class TestAsync:
    async def test_many_at_once(self, any_gateway: Gateway) -> None:
        async with AsyncOpenAI(base_url=any_gateway.base_url, api_key=any_gateway.key, timeout=10) as client:

            async def ask(i: int) -> str | None:
                messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"number {i}"}]
                reply = await client.chat.completions.create(model=ECHO, messages=messages)
                return reply.choices[0].message.content

            assert await asyncio.gather(*map(ask, range(50))) == [f"number {i}" for i in range(50)]

    async def test_streams_side_by_side(self, any_gateway: Gateway) -> None:
        async with AsyncOpenAI(base_url=any_gateway.base_url, api_key=any_gateway.key, timeout=10) as client:

            async def ask(model: str) -> str:
                stream = await client.chat.completions.create(
                    model=model, messages=HELLO, max_tokens=20, temperature=0, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            texts = await asyncio.gather(*(ask(model) for model in (TINY, ECHO) * 8))
        assert len(set(texts)) == 2

    async def test_cancelled_request_is_cancelled_upstream(
        self, any_gateway: Gateway, upstream: ScriptedUpstream
    ) -> None:
        async with AsyncOpenAI(base_url=any_gateway.base_url, api_key=any_gateway.key) as client:
            before = len(upstream.log.of("hang"))
            task = asyncio.create_task(client.chat.completions.create(model="hostile/hang", messages=HELLO))
            await asyncio.to_thread(
                wait_until, lambda: len(upstream.log.of("hang")) > before, what="the upstream has the request"
            )
            task.cancel()
            await asyncio.to_thread(
                wait_until, lambda: upstream.log.of("hang")[-1].closed_at, what="the upstream was let go"
            )
