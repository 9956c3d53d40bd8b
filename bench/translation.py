"""CPU of a streamed chunk that is translated, beside one that passes: `ResponseReader` alone, a read for every chunk.

python -m bench.translation [CHUNKS]
"""

from __future__ import annotations

import sys
from statistics import median
from time import process_time

from bench.hot import texts
from tollhouse._native import END, ResponseReader

ROUNDS = 9
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
WORD = b" token"


def chat(chunks: int) -> list[bytes]:
    """A stream as OpenAI sends it."""
    return [texts.CHUNK % WORD] * chunks + [texts.CHUNK_END, texts.DONE]


def messages(chunks: int) -> list[bytes]:
    """A stream as Anthropic sends it."""

    def event(name: bytes, rest: bytes) -> bytes:
        return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, rest)

    return [
        texts.DELTAS_START,
        *[texts.DELTA % WORD] * chunks,
        event(b"content_block_stop", b',"index":0'),
        event(b"message_delta", b',"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":99}'),
        event(b"message_stop", b""),
    ]


def measure(pieces: list[bytes], upstream: str, client: str) -> float:
    """Microseconds of CPU per chunk."""
    reader = ResponseReader(upstream, client=client, request_id="r", model="m", strip_usage=True)
    reader.feed(HEAD)
    began = process_time()
    for piece in pieces:
        reader.feed(piece)
        reader.take()
    flags = reader.eof()
    spent = process_time() - began
    assert flags & END, reader.fault
    return spent / len(pieces) * 1e6


def main(chunks: int) -> None:
    for upstream, pieces in (("chat", chat(chunks)), ("messages", messages(chunks))):
        clients = {"chat", "messages", "responses"}
        rounds = [{client: measure(pieces, upstream, client) for client in sorted(clients)} for _ in range(ROUNDS)]
        passed = median(one[upstream] for one in rounds)
        print(f"{upstream} passed on: {passed:.2f} us a chunk")
        for client in sorted(clients - {upstream}):
            more = median(one[client] - one[upstream] for one in rounds)
            print(f"{upstream} told as {client}: {more:.2f} us more")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
