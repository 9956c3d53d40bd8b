"""One good stream per dialect, as lists of events that tests can break."""

from __future__ import annotations

from typing import Any

import orjson

Events = list[tuple[str | None, Any]]


def wire(events: Events) -> bytes:
    """As bytes; a name is an `event:` line, data that is bytes stays as it is."""
    out = b""
    for name, data in events:
        line = b"" if name is None else b"event: %b\n" % name.encode()
        out += line + b"data: %b\n\n" % (data if isinstance(data, bytes) else orjson.dumps(data))
    return out


def typed(*events: dict[str, Any]) -> Events:
    return [(event["type"], event) for event in events]


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return base | {"choices": list(choices)} | more


def choice(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def call(index: int, arguments: str, **head: Any) -> dict[str, Any]:
    begun = {"id": head["id"], "type": "function"} if head else {}
    name = {"name": "f"} if head else {}
    return {"tool_calls": [{"index": index} | begun | {"function": name | {"arguments": arguments}}]}


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chat() -> Events:
    """0 role, 1 text, 2-3 first call, 4 second call, 5 finish, 6 usage, 7 [DONE]."""
    chunks = [
        chunk(choice({"role": "assistant", "content": ""})),
        chunk(choice({"content": "Hello"})),
        chunk(choice(call(0, '{"a":', id="call_0"))),
        chunk(choice(call(0, "1}"))),
        chunk(choice(call(1, "{}", id="call_1"))),
        chunk(choice({}, "tool_calls")),
        chunk(usage=USAGE),
    ]
    return [*((None, one) for one in chunks), (None, b"[DONE]")]


def completions() -> Events:
    """0-1 text, 2 finish, 3 [DONE]."""

    def one(text: str, reason: str | None = None) -> dict[str, Any]:
        return chunk({"index": 0, "text": text, "finish_reason": reason}, object="text_completion")

    return [(None, one("a")), (None, one("b")), (None, one("", "stop")), (None, b"[DONE]")]


def messages() -> Events:
    """0 start, 1-4 thinking, 5 ping, 6-8 text, 9-11 tool, 12 message_delta, 13 stop."""
    start: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 0},
    }

    def begin(index: int, **block: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def delta(index: int, **delta: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": delta}

    def stop(index: int) -> dict[str, Any]:
        return {"type": "content_block_stop", "index": index}

    return typed(
        {"type": "message_start", "message": start},
        begin(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm"),
        delta(0, type="signature_delta", signature="c2ln"),
        stop(0),
        {"type": "ping"},
        begin(1, type="text", text=""),
        delta(1, type="text_delta", text="Hello"),
        stop(1),
        begin(2, type="tool_use", id="toolu_1", name="f", input={}),
        delta(2, type="input_json_delta", partial_json='{"a":1}'),
        stop(2),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    )


def response(status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
    return base | {
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        **more,
    }


REASONING: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
TEXT = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [TEXT],
}
CALL: dict[str, Any] = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
}
TOKENS = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def responses() -> Events:
    """0-1 start, 2-7 reasoning, 8-14 message, 15-19 call, 20 completed."""
    thought = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    said = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    called = {"item_id": "fc_1", "output_index": 2}
    begun = {"status": "in_progress"}
    part, arguments = "response.content_part", "response.function_call_arguments"
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.in_progress", "response": response("in_progress", [])},
        {"type": "response.output_item.added", "output_index": 0, "item": REASONING | {"summary": []}},
        {"type": "response.reasoning_summary_part.added", **thought, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **thought, "delta": "Hm"},
        {"type": "response.reasoning_summary_text.done", **thought, "text": "Hm"},
        {"type": "response.reasoning_summary_part.done", **thought, "part": REASONING["summary"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
        {"type": "response.output_item.added", "output_index": 1, "item": MESSAGE | begun | {"content": []}},
        {"type": f"{part}.added", **said, "part": TEXT | {"text": ""}},
        {"type": "response.output_text.delta", **said, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", **said, "delta": "lo", "logprobs": []},
        {"type": "response.output_text.done", **said, "text": "Hello", "logprobs": []},
        {"type": f"{part}.done", **said, "part": TEXT},
        {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
        {"type": "response.output_item.added", "output_index": 2, "item": CALL | begun | {"arguments": ""}},
        {"type": f"{arguments}.delta", **called, "delta": '{"a":'},
        {"type": f"{arguments}.delta", **called, "delta": "1}"},
        {"type": f"{arguments}.done", **called, "arguments": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 2, "item": CALL},
        {"type": "response.completed", "response": response("completed", [REASONING, MESSAGE, CALL], usage=TOKENS)},
    ]
    return typed(*(event | {"sequence_number": number} for number, event in enumerate(events)))
