"""The Responses API and legacy completions to an upstream that speaks Anthropic's dialect, and passed on as they are.

Every stream has been held to its grammar by the time a test reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support import anthropic_scripts, hostile
from tests.support.anthropic_scripts import SIGNATURE, USAGE, WRITTEN
from tests.support.app import App, running_app
from tests.support.client import events_of
from tests.support.gateway import model
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.upstream import Peer

RESPONSES, COMPLETIONS = "/v1/responses", "/v1/completions"
TOOLS = [
    {"type": "function", "name": "open_gate", "parameters": {"type": "object", "properties": {}}},
    {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}},
]
BEGUN = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":%b}\n\n'
RESPONSE = b'{"id":"resp_theirs","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]}'


async def _breaks_off(peer: Peer) -> None:
    """A stream of the Responses API that ends in the middle."""
    await peer.stream_head()
    await peer.chunk(BEGUN % RESPONSE)
    await peer.end()


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripts = hostile.SCRIPTS | anthropic_scripts.SCRIPTS | {"breaks-off": _breaks_off}
    with ScriptedUpstream(scripts) as running:
        yield running


@pytest.fixture
async def app(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[App]:
    names = ("claude", "claude-overloaded", "claude-cut", "claude-error@529")
    listed = [model(name, upstream.base_url, upstream=f"anthropic/{name}", api_key="sk-ant") for name in names]
    async with running_app(tmp_path, model_list=[*listed, model("openai/*", upstream.base_url)]) as running:
        yield running


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "claude", "input": "hello", "max_output_tokens": 2000, "tools": TOOLS} | more


async def last_of(app: App, name: str) -> dict[str, Any]:
    response = await app.post(ask(model=name, stream=True), path=RESPONSES)
    assert response.status == 200
    event: dict[str, Any] = orjson.loads(events_of(response.body)[-1])
    return event


async def test_thought_text_and_calls_come_whole_and_streamed_alike(app: App) -> None:
    whole = (await app.post(ask(), path=RESPONSES)).json
    streamed = await app.post(ask(stream=True), path=RESPONSES)
    last = orjson.loads(events_of(streamed.body)[-1])
    assert last["type"] == "response.completed"
    assert streamed.header("content-type") == "text/event-stream; charset=utf-8"
    for said in (whole, last["response"]):
        kinds = [item["type"] for item in said["output"]]
        assert kinds == ["reasoning", "reasoning", "message", "function_call", "function_call"]
        assert said["output"][0]["summary"][0]["text"] == "Let me see"
        assert said["output"][2]["content"][0]["text"] == "The weather is wörld 😀"
        calls = [(call["call_id"], call["name"], orjson.loads(call["arguments"])) for call in said["output"][3:]]
        assert calls == [("toolu_1", "open_gate", {"gate": "north"}), ("toolu_2", "now", {})]
        read = USAGE["input_tokens"] + USAGE["cache_creation_input_tokens"] + USAGE["cache_read_input_tokens"]
        assert said["usage"]["input_tokens"] == read
        assert said["usage"]["input_tokens_details"]["cached_tokens"] == USAGE["cache_read_input_tokens"]
        assert said["usage"]["output_tokens"] == WRITTEN
        assert (said["model"], said["tools"]) == ("claude", TOOLS)


async def test_what_was_answered_goes_back_byte_for_byte(app: App, upstream: ScriptedUpstream) -> None:
    said = (await app.post(ask(), path=RESPONSES)).json["output"]
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": f"did {item['name']}"}
        for item in said
        if item["type"] == "function_call"
    ]
    again = ask(input=[{"role": "user", "content": "hello"}, *said, *results], reasoning={"effort": "high"})
    assert (await app.post(again, path=RESPONSES)).status == 200
    user, assistant, answered = upstream.log.requests[-1].json["messages"]
    assert user["role"] == "user"
    thinking, sealed, text, *calls = assistant["content"]
    assert thinking == {"type": "thinking", "thinking": "Let me see", "signature": SIGNATURE}
    assert sealed == {"type": "redacted_thinking", "data": "sealed=="}
    assert text["text"] == "The weather is wörld 😀"
    assert [call["id"] for call in calls] == ["toolu_1", "toolu_2"]
    assert [block["tool_use_id"] for block in answered["content"]] == ["toolu_1", "toolu_2"]


async def test_a_call_without_its_result_is_a_clear_400(app: App, upstream: ScriptedUpstream) -> None:
    call = {"type": "function_call", "call_id": "call_7", "name": "now", "arguments": "{}"}
    response = await app.post(ask(input=[{"role": "user", "content": "x"}, call]), path=RESPONSES)
    assert response.status == 400
    assert "call_7" in response.json["error"]["message"]
    assert not upstream.log.requests


@pytest.mark.parametrize(
    ("name", "code", "told", "words"),
    [
        ("claude-overloaded", "upstream_stream_error", "server_is_overloaded", "Overloaded"),
        ("claude-cut", "upstream_truncated", "server_error", "before it was complete"),
    ],
)
async def test_case_08_and_09_a_stream_that_fails_ends_with_response_failed(
    app: App, name: str, code: str, told: str, words: str
) -> None:
    last = await last_of(app, name)
    assert last["type"] == "response.failed"
    assert words in last["response"]["error"]["message"]
    assert last["response"]["error"]["code"] == told
    # What was said before stands in the events, and is what a client keeps.
    assert app.log[-1]["error"] == code


async def test_case_08_a_response_that_is_passed_on_fails_under_its_own_id(app: App) -> None:
    last = await last_of(app, "openai/breaks-off")
    assert last["type"] == "response.failed"
    assert last["response"]["id"] == "resp_theirs"
    assert last["response"]["error"]["code"] == "upstream_truncated"


async def test_an_error_before_the_first_event_has_its_status_and_openais_shape(app: App) -> None:
    for stream in (False, True):
        response = await app.post(ask(model="claude-error@529", stream=stream), path=RESPONSES)
        assert response.status == 529
        assert response.json["error"]["message"] == "no: 529"


class TestCompletions:
    async def test_one_prompt_is_answered_by_a_model_that_converses(self, app: App, upstream: ScriptedUpstream) -> None:
        body = {"model": "claude", "prompt": "Once", "max_tokens": 50}
        whole = (await app.post(body, path=COMPLETIONS)).json
        options = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = await app.post(body | options, path=COMPLETIONS)
        chunks = [orjson.loads(event) for event in events_of(streamed.body)[:-1]]
        texts = [choice["text"] for chunk in chunks for choice in chunk["choices"]]
        assert "".join(texts) == whole["choices"][0]["text"] == "The weather is wörld 😀"
        assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == WRITTEN
        sent = upstream.log.requests[-1].json
        assert [turn["role"] for turn in sent["messages"]] == ["user"]
        assert "Once" in str(sent["messages"][0]["content"])
        assert sent["max_tokens"] == 50

    async def test_several_prompts_are_refused_by_name(self, app: App, upstream: ScriptedUpstream) -> None:
        response = await app.post({"model": "claude", "prompt": ["a", "b"]}, path=COMPLETIONS)
        assert (response.status, response.json["error"]["param"]) == (400, "prompt")
        assert not upstream.log.requests

    async def test_embeddings_are_refused_where_there_are_none(self, app: App, upstream: ScriptedUpstream) -> None:
        response = await app.post({"model": "claude", "input": "x"}, path="/v1/embeddings")
        assert (response.status, response.json["error"]["code"]) == (400, "unsupported_endpoint")
        assert "/v1/embeddings" in response.json["error"]["message"]
        assert not upstream.log.requests
