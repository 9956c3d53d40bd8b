from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse._native import END, RequestView
from tollhouse.providers.ask import Ask
from tollhouse.providers.echo import EchoUpstream, tokens
from tollhouse.providers.timeouts import Timeouts

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "where": {"type": ["null", "object"], "properties": {"x": {"type": "number"}}},
                "tags": {"type": "array"},
                "now": {"type": "boolean"},
            },
        },
    },
}


async def ask(kind="chat", *, stream=False, **members):
    body = json.dumps({"model": "tollhouse/echo", "stream": stream} | members).encode()
    view = RequestView.parse(body, kind)
    call = EchoUpstream(timeouts=Timeouts()).start(
        Ask(kind=kind, view=view, model="tollhouse/echo", stream=stream, include_usage=True, request_id="r")
    )
    assert call.flags & END, call.reader.fault
    return call.reader.status, call.take()


async def ask_json(kind="chat", **members):
    status, body = await ask(kind, **members)
    return status, json.loads(body)


async def events(kind="chat", **members):
    status, body = await ask(kind, stream=True, **members)
    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in body.decode().split("\n\n") if line.startswith("data: {")]


def user(text):
    return [{"role": "user", "content": text}]


async def test_it_says_back_the_last_user_message():
    messages = [
        {"role": "system", "content": "sys"},
        *user("one"),
        {"role": "assistant", "content": "x"},
        *user("two!"),
    ]
    _, answer = await ask_json(messages=messages)
    assert answer["choices"][0]["message"]["content"] == "two!"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["completion_tokens"] == 2


async def test_the_same_request_has_the_same_answer():
    assert await ask(messages=user("x")) == await ask(messages=user("x"))
    assert await ask(messages=user("x")) != await ask(messages=user("y"))


async def test_parts_are_read_and_images_are_not():
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "b"},
    ]
    _, answer = await ask_json(messages=user(parts))
    assert answer["choices"][0]["message"]["content"] == "ab"


async def test_the_limit_cuts_and_says_so():
    _, answer = await ask_json(messages=user("one two three"), max_tokens=2, n=2)
    assert [c["message"]["content"] for c in answer["choices"]] == ["one two"] * 2
    assert [c["finish_reason"] for c in answer["choices"]] == ["length"] * 2


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
async def test_a_tool_is_called_on_demand_with_arguments_of_its_schema(choice):
    _, answer = await ask_json(messages=user("Bern"), tools=[TOOL], tool_choice=choice)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"]) == {
        "city": "Bern",
        "days": 1,
        "unit": "C",
        "where": {"x": 1.0},
        "tags": [],
        "now": True,
    }


async def test_a_tool_is_called_when_it_is_named_and_not_when_forbidden():
    _, answer = await ask_json(messages=user("the weather please"), tools=[TOOL])
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    for extra in ({"tool_choice": "none"}, {"messages": user("hello")}):
        _, answer = await ask_json(**({"messages": user("the weather please"), "tools": [TOOL]} | extra))
        assert answer["choices"][0]["finish_reason"] == "stop"


async def test_work_does_not_grow_with_text_times_tools():
    shape = {"properties": {f"p{i}": {"type": "string"} for i in range(100)}}
    tools = [{"type": "function", "function": {"name": f"ab{i}", "parameters": shape}} for i in range(128)]
    _, answer = await ask_json(messages=user("ab1 " * 100_000), tools=tools)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert len(call["function"]["arguments"]) < 30_000


async def test_a_tools_result_is_said_back():
    messages = [*user("weather"), {"role": "assistant", "content": None}, {"role": "tool", "content": "sunny"}]
    _, answer = await ask_json(messages=messages, tools=[TOOL])
    assert answer["choices"][0]["message"]["content"] == "sunny"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "nope"}}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"messages": user("x" * 70_000), "n": 128}, "n"),
        ({"messages": user("x" * 1_100_000)}, None),
    ],
)
async def test_what_it_cannot_do_is_a_400(members, param):
    status, answer = await ask_json(**({"messages": user("x")} | members))
    assert (status, answer["error"]["param"]) == (400, param)


async def test_a_stream_says_the_same_as_the_whole():
    text = "Hello,  wide\nworld! \N{GRINNING FACE} "
    chunks = await events(messages=user(text), n=2, stream_options={"include_usage": True})
    for index in (0, 1):
        mine = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == index]
        assert "".join(c["delta"].get("content") or "" for c in mine) == text
        assert [c["finish_reason"] for c in mine][-1] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert all(c["usage"] is None for c in chunks[:-1])


async def test_streamed_arguments_join_to_the_whole():
    chunks = await events(messages=user("Bern"), tools=[TOOL], tool_choice="required")
    pieces = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks if c["choices"][0]["delta"].get("tool_calls")]
    assert pieces[0]["function"]["name"] == "weather"
    assert json.loads("".join(p["function"]["arguments"] for p in pieces))["city"] == "Bern"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_long_answer_has_a_bounded_number_of_chunks():
    chunks = await events(messages=user("word " * 5000))
    assert len(chunks) < 600


async def test_completions_in_all_shapes():
    _, answer = await ask_json("completions", prompt=["a b", "c"], n=2, max_tokens=1)
    assert [(c["index"], c["text"], c["finish_reason"]) for c in answer["choices"]] == [
        (0, "a", "length"),
        (1, "a", "length"),
        (2, "c", "stop"),
        (3, "c", "stop"),
    ]
    _, answer = await ask_json("completions", prompt=[1, 2])
    assert answer["choices"][0]["text"] == "1 2"
    chunks = await events("completions", prompt="a b", stream_options={"include_usage": True})
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == "a b"


async def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone():
    _, answer = await ask_json("embeddings", input=["a", "b", "a"], dimensions=100)
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second
    assert len(first) == 100
    assert sum(x * x for x in first) == pytest.approx(1)
    _, packed = await ask_json("embeddings", input="a", dimensions=100, encoding_format="base64")
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<100f", raw)) == pytest.approx(first, abs=1e-6)
    _, tokens_ = await ask_json("embeddings", input=[[1, 2, 3], [4]])
    assert (len(tokens_["data"]), tokens_["usage"]["prompt_tokens"]) == (2, 4)
    status, _ = await ask_json("embeddings", input="a", dimensions=0.5)
    assert status == 400


@settings(deadline=None)
@given(st.text())
def test_tokens_joined_are_the_text(text):
    assert "".join(tokens(text)) == text
