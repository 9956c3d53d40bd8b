"""Pieces of OpenAI's streams, as a well-behaved upstream writes them."""

from __future__ import annotations

from typing import Any

import orjson

BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(payload: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(payload)


def delta(text: str, *, index: int = 0, **more: Any) -> bytes:
    """A chunk with a piece of text."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
    return event(BASE | {"choices": [choice]} | more)


def finish(reason: str = "stop", *, index: int = 0, **more: Any) -> bytes:
    return event(BASE | {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]} | more)


def usage(**more: int) -> bytes:
    """The chunk that is sent only with `include_usage`."""
    return event(BASE | {"choices": [], "usage": USAGE | more})


def tool_delta(arguments: str, *, name: str | None = None, index: int = 0) -> bytes:
    """A chunk with a piece of a tool call's arguments; the first one of a call has its name."""
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        call |= {"id": f"call_{index}", "type": "function"}
        call["function"]["name"] = name
    return event(BASE | {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})


def completion(text: str = "fine") -> bytes:
    """A whole answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps(BASE | {"object": "chat.completion", "choices": [choice], "usage": USAGE})
