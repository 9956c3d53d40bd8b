"""What Anthropic's API answers, in the shapes that it has: scripts for tests.support.upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from tests.support.upstream import Peer, Script

USAGE: dict[str, Any] = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 20,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 1,
    "service_tier": "standard",
}
SIGNATURE = "EqQBCgIYAhIM+/abc=="
WRITTEN = 42  # output tokens at the end


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind} | members))


def start(model: str) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    }
    return event("message_start", message=message)


def block(index: int, first: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    return (
        event("content_block_start", index=index, content_block=first)
        + b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
        + event("content_block_stop", index=index)
    )


def text(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def tool(index: int, id_: str, name: str, *pieces: str) -> bytes:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": "tool_use", "id": id_, "name": name, "input": {}}, *deltas)


def thinking(index: int) -> bytes:
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "see"},
        {"type": "signature_delta", "signature": SIGNATURE},
    )


def end(reason: str = "end_turn") -> bytes:
    return event(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": WRITTEN}
    ) + event("message_stop")


def stream(model: str) -> bytes:
    """A thought with its proof, a sealed one, text, two calls."""
    return b"".join(
        [
            start(model),
            event("ping"),
            thinking(0),
            block(1, {"type": "redacted_thinking", "data": "sealed=="}),
            text(2, "The weather", " is wörld 😀"),
            tool(3, "toolu_1", "open_gate", "", '{"gate": ', '"north"}'),
            tool(4, "toolu_2", "now"),
            end("tool_use"),
        ]
    )


def message(model: str) -> dict[str, Any]:
    """The same as a whole answer."""
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [
            {"type": "thinking", "thinking": "Let me see", "signature": SIGNATURE},
            {"type": "redacted_thinking", "data": "sealed=="},
            {"type": "text", "text": "The weather is wörld 😀"},
            {"type": "tool_use", "id": "toolu_1", "name": "open_gate", "input": {"gate": "north"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE | {"output_tokens": WRITTEN},
    }


async def _claude(peer: Peer) -> None:
    """Everything at once, streamed or whole, or a count."""
    if peer.seen.path.endswith("/count_tokens"):
        await peer.answer(b'{"input_tokens":123}', "request-id: req_theirs")
    elif peer.seen.json.get("stream"):
        await peer.stream_head("request-id: req_theirs")
        data = stream(peer.seen.model)
        for at in range(0, len(data), 97):
            await peer.chunk(data[at : at + 97])
        await peer.end()
    else:
        await peer.answer(orjson.dumps(message(peer.seen.model)), "request-id: req_theirs")


async def _failing(peer: Peer) -> None:
    """`claude-error@529`: an error of that status."""
    types = {"529": "overloaded_error", "400": "invalid_request_error", "401": "authentication_error"}
    fault = {"type": types.get(peer.argument, "api_error"), "message": f"no: {peer.argument}"}
    body = orjson.dumps({"type": "error", "error": fault, "request_id": "req_theirs"})
    await peer.answer(body, status=f"{peer.argument} Oops")


async def _overloaded(peer: Peer) -> None:
    """The beginning of a stream, then an error."""
    await peer.stream_head()
    await peer.chunk(start(peer.seen.model) + text(0, "so far"))
    await peer.chunk(event("error", error={"type": "overloaded_error", "message": "Overloaded"}))
    await peer.end()


async def _overloaded_at_once(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(event("error", error={"type": "overloaded_error", "message": "Overloaded"}))
    await peer.end()


async def _cut(peer: Peer) -> None:
    """A stream that ends in the middle."""
    await peer.stream_head()
    await peer.chunk(start(peer.seen.model) + text(0, "so far"))
    await peer.end()


async def _begun(peer: Peer) -> None:
    """A stream that ends before anything was said."""
    await peer.stream_head()
    await peer.chunk(start(peer.seen.model))
    await peer.end()


async def _long_cut(peer: Peer) -> None:
    """A stream that ends after 800 bytes of text."""
    await peer.stream_head()
    await peer.chunk(start(peer.seen.model) + text(0, *["ten bytes "] * 80))
    await peer.end()


SCRIPTS: dict[str, Script] = {
    "claude": _claude,
    "claude-3-5-haiku-latest": _claude,
    "claude-error": _failing,
    "claude-overloaded": _overloaded,
    "claude-overloaded-at-once": _overloaded_at_once,
    "claude-begun": _begun,
    "claude-cut": _cut,
    "claude-long-cut": _long_cut,
}
