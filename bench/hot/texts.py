"""Requests and answers of the hot pieces. Always the same bytes, whatever corpora the machine has."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from bench.detection.texts import cut, synthetic
from bench.gateways.entry import MODEL

KB = 1024
MB = 1024 * KB
TURN = 900  # bytes of text in a message of a conversation
SIZES = {"1 KB": KB, "64 KB": 64 * KB, "1 MB": MB}
SECRETIVE = "Write to jo@example.com or call +1 212 555 0142. "
ANSWER_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\ncontent-type: application/json\r\n"
    b"openai-processing-ms: 412\r\nx-request-id: req_0123456789abcdef\r\ncontent-length: %d\r\n\r\n"
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
# Streams as OpenAI and Anthropic send them, with a place for the word of an event.
CHUNK_START = (
    b'data: {"id":"chatcmpl-BXn8XqXJ6a9yO0gXc3m7bKc1","object":"chat.completion.chunk","created":1747641977,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0392822090",'
)
CHUNK = CHUNK_START + b'"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":null}]}\n\n'
CHUNK_END = CHUNK_START + b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
DELTAS_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant",'
    b'"model":"claude","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"%b"}}\n\n'
)
WORDS = (
    b" the",
    b" quick",
    b" brown",
    b" fox",
    b" jumps",
    b" over",
    b" a",
    b" lazy",
    b" dog",
    b".",
    b" And",
    b" again",
)


@cache
def text(size: int) -> str:
    """About `size` bytes of chat in which nothing is found."""
    return cut(synthetic(size), size)[0]


@cache
def body(size: int = KB, *, before: str = "", stream: bool = False) -> bytes:
    """A chat of about `size` bytes; `before` is how its last message begins."""
    turns = cut(text(max(size - 100, 1)), TURN)
    messages = [{"role": ("assistant", "user")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    messages[-1] = {"role": "user", "content": before + turns[-1]}
    more: dict[str, Any] = {"stream": True} if stream else {}
    return orjson.dumps({"model": MODEL, "messages": messages, "temperature": 0.2, "max_tokens": 500} | more)


@cache
def answer() -> bytes:
    """What a provider says to it, 0.6 KB."""
    return orjson.dumps(
        {
            "id": "chatcmpl-BXn8XqXJ6a9yO0gXc3m7bKc1",
            "object": "chat.completion",
            "created": 1_747_641_977,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text(250)}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 200, "completion_tokens": 60, "total_tokens": 260},
        }
    )


def whole_answer() -> bytes:
    """The same on the wire."""
    return ANSWER_HEAD % len(answer()) + answer()


def chunks(count: int) -> list[bytes]:
    """Events of a streamed chat."""
    return [CHUNK % WORDS[i % len(WORDS)] for i in range(count)]


def framed(events: list[bytes]) -> list[bytes]:
    """Each as a chunk of HTTP."""
    return [b"%x\r\n%b\r\n" % (len(event), event) for event in events]


def whole_stream(count: int) -> bytes:
    """A stream on the wire, its end included."""
    usage = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":200,"completion_tokens":60,"total_tokens":260}}\n\n'
    return STREAM_HEAD + b"".join(framed([*chunks(count), CHUNK_END, usage, DONE])) + b"0\r\n\r\n"


def deltas(count: int) -> list[bytes]:
    """Events of a streamed answer in Anthropic's dialect."""
    return [DELTA % WORDS[i % len(WORDS)] for i in range(count)]
