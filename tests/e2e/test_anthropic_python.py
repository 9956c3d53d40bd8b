"""The official `anthropic` client against the gateway, in front of Anthropic, of llama.cpp's server and of the built-in
model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import pytest
from anthropic import Anthropic

from tests.support import anthropic_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthropic.types import Message, MessageParam, ToolParam
    from openai import OpenAI

    from tests.support.gateway import Gateway
    from tests.support.model_server import ModelServer

ECHO = "tollhouse/echo"
TINY = "tiny"
CLAUDE = "claude"
COLD = {"temperature": 0}  # which the client has forgotten, and model servers have not
HELLO: list[MessageParam] = [{"role": "user", "content": "Say it, nicely: wörld 😀"}]
TOOL: ToolParam = {
    "name": "open_gate",
    "description": "Opens a gate",
    "input_schema": {
        "type": "object",
        "properties": {"gate": {"type": "string"}, "minutes": {"type": "integer"}},
        "required": ["gate", "minutes"],
    },
}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10) as made:
        yield made


def _said(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


class TestAnthropic:
    """The upstream speaks the client's own dialect."""

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_every_kind_of_block_arrives(self, client: Anthropic, *, stream: bool) -> None:
        if stream:
            with client.messages.stream(model=CLAUDE, max_tokens=99, messages=HELLO) as events:
                assert "".join(events.text_stream) == "The weather is wörld 😀"
                message: Message = events.get_final_message()
        else:
            message = client.messages.create(model=CLAUDE, max_tokens=99, messages=HELLO)
        expected = anthropic_scripts.message(CLAUDE)
        assert message.model_dump(exclude_none=True, mode="json")["content"] == expected["content"]
        assert message.stop_reason == "tool_use"
        assert message.usage.cache_read_input_tokens == 20
        assert message.usage.output_tokens == anthropic_scripts.WRITTEN

    def test_tokens_are_counted(self, client: Anthropic) -> None:
        assert client.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens == 123

    def test_an_overloaded_upstream_is_told_as_such(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="claude-error", max_tokens=9, messages=HELLO)
        assert caught.value.status_code == 529
        assert "no: 529" in caught.value.message
        assert caught.value.request_id

    def test_an_error_in_the_stream_is_raised(self, client: Anthropic) -> None:
        with client.messages.stream(model="claude-overloaded", max_tokens=9, messages=HELLO) as events:
            assert next(iter(events.text_stream)) == "so far"
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                events.until_done()


class TestChatServer:
    """The upstream speaks chat."""

    def test_an_answer_is_what_the_server_says(self, client: Anthropic, model_server: ModelServer) -> None:
        import openai

        message = client.messages.create(model=TINY, max_tokens=12, messages=HELLO, extra_body=COLD)
        with openai.OpenAI(base_url=model_server.base_url, api_key=model_server.api_key, timeout=10) as direct:
            straight = _straight(direct)
        assert (_said(message), message.usage.output_tokens) == straight
        assert message.stop_reason == "max_tokens"

    def test_a_stream_is_what_the_whole_answer_is(self, client: Anthropic) -> None:
        whole = client.messages.create(model=TINY, max_tokens=12, messages=HELLO, extra_body=COLD)
        with client.messages.stream(model=TINY, max_tokens=12, messages=HELLO, extra_body=COLD) as events:
            streamed = events.get_final_message()
        assert _said(streamed) == _said(whole)
        assert streamed.stop_reason == whole.stop_reason
        assert streamed.usage.output_tokens == whole.usage.output_tokens == 12
        assert streamed.usage.input_tokens + (streamed.usage.cache_read_input_tokens or 0) > 0

    def test_tools_are_called_in_a_stream_and_answered(self, client: Anthropic) -> None:
        asked: list[MessageParam] = [{"role": "user", "content": "open_gate, please"}]
        with client.messages.stream(model=ECHO, max_tokens=99, messages=asked, tools=[TOOL]) as events:
            kinds = [event.type for event in events]
            message = events.get_final_message()
        call = message.content[0]
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("open_gate", {"gate": "open_gate, please", "minutes": 1})
        assert message.stop_reason == "tool_use"
        assert kinds.count("input_json") > 1
        answered: list[MessageParam] = [
            *asked,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "it is open"}]},
        ]
        reply = client.messages.create(model=ECHO, max_tokens=99, messages=answered, tools=[TOOL])
        assert _said(reply) == "it is open"

    def test_tokens_are_counted_by_the_gateway(self, client: Anthropic) -> None:
        few = client.messages.count_tokens(model=ECHO, messages=HELLO).input_tokens
        more = client.messages.count_tokens(model=ECHO, messages=HELLO, tools=[TOOL]).input_tokens
        assert 5 < few < more


class TestErrors:
    def test_an_unknown_key_is_an_authentication_error(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.with_options(api_key="sk-nobody").messages.create(model=ECHO, max_tokens=9, messages=HELLO)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["type"] == "authentication_error"

    def test_an_unknown_model_is_not_found(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.NotFoundError, match="no-such-model"):
            client.messages.create(model="no-such-model", max_tokens=9, messages=HELLO)

    def test_an_unreachable_upstream_is_an_api_error(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.InternalServerError) as caught:
            client.messages.create(model="unreachable", max_tokens=9, messages=HELLO)
        assert caught.value.status_code == 502

    def test_a_call_without_a_result_is_refused_at_anthropic_by_its_id(self, gateway: Gateway) -> None:
        import openai

        call = {"id": "call_7", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        with (
            openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=10) as chat,
            pytest.raises(openai.BadRequestError, match="call_7"),
        ):
            chat.chat.completions.create(
                model=CLAUDE,
                messages=[
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "tool_calls": [call]},  # type: ignore[list-item]
                    {"role": "user", "content": "y"},
                ],
            )


def _straight(direct: OpenAI) -> tuple[str | None, int | None]:
    reply = direct.chat.completions.create(
        model=TINY, messages=[{"role": "user", "content": "Say it, nicely: wörld 😀"}], max_tokens=12, temperature=0
    )
    return reply.choices[0].message.content, reply.usage.completion_tokens if reply.usage else None
