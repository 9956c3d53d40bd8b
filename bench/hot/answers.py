"""An answer on its way out: framed, tapped, translated and scanned, read by read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.gateways.tollhouse import SCAN
from bench.hot import exchanges, texts
from bench.hot.piece import piece, repeated
from tollhouse._native import END, ResponseReader, Scanner
from tollhouse.middlewares.guard import AnswerGuard, Guard

if TYPE_CHECKING:
    from bench.hot.piece import Block, Piece, Prepare


def _whole() -> Prepare:
    data = texts.whole_answer()

    def read() -> None:
        reader = ResponseReader("chat")
        flags = reader.feed(data)
        assert flags & END
        reader.take()
        reader.usage  # noqa: B018 - worked out when asked for

    return repeated(read)


def _chunks(upstream: str, client: str | None = None) -> Prepare:
    """A read for each event, of a stream that has begun."""
    events = texts.chunks if upstream == "chat" else texts.deltas

    def prepare(units: int) -> Block:
        reader = ResponseReader(upstream, client=client, request_id="req_0", model="m", strip_usage=True)
        reader.feed(texts.STREAM_HEAD)
        if upstream == "messages":
            reader.feed(b"".join(texts.framed([texts.DELTAS_START])))
            reader.take()
        pieces = texts.framed(events(units))

        def run() -> None:
            for one in pieces:
                reader.feed(one)
                reader.take()

        return run

    return prepare


def _at_once() -> Prepare:
    """A whole stream of 64 chunks in one read."""
    data = texts.whole_stream(64)

    def read() -> None:
        reader = ResponseReader("chat", strip_usage=True)
        flags = reader.feed(data)
        assert flags & END
        reader.take()

    return repeated(read)


def _scanned() -> Prepare:
    guard = Guard(request=SCAN["request"], response=SCAN["response"], pseudonym_key="0" * 64)
    exchange, body = exchanges.ended(), texts.answer()
    one = AnswerGuard(guard, Scanner(SCAN["response"]), None)
    return repeated(lambda: one.check(exchange, body))


def _redacted() -> Prepare:
    made = Scanner(SCAN["response"])

    def prepare(units: int) -> Block:
        feed = made.event_redactor("chat").feed
        events = texts.chunks(units)

        def run() -> None:
            for event in events:
                feed(event)

        return run

    return prepare


PIECES: list[Piece] = [
    piece("answer: whole", _whole),
    piece("answer: chunk", partial(_chunks, "chat"), units=100),
    piece("answer: stream in one read", _at_once, units=5),
    piece("answer: chunk, messages told as chat", partial(_chunks, "messages", "chat"), units=100),
    piece("answer: chunk, chat told as messages", partial(_chunks, "chat", "messages"), units=100),
    piece("answer: chunk, chat told as responses", partial(_chunks, "chat", "responses"), units=100),
    piece("scan: answer", _scanned, units=20),
    piece("scan: chunk of an answer", _redacted, units=100),
]
