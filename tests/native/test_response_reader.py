from __future__ import annotations

import gzip

import pytest

from tollhouse._native import END, FAULT, HEAD, READY, ResponseReader


def test_a_json_answer_in_one_read_is_ready_at_once():
    reader = ResponseReader("chat")
    body = b'{"usage":{"prompt_tokens":2,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}'
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A: b\r\nConnection: keep-alive\r\n"
        b"content-length: %d\r\n\r\n"
    )
    assert reader.feed(head % len(body) + body) == HEAD | READY | END
    assert (reader.status, reader.reusable, reader.is_event_stream) == (200, True, False)
    assert (b"x-a", b"b") in reader.headers
    assert not any(name == b"connection" for name, _ in reader.headers)
    assert reader.pending == len(body)
    assert reader.take() == body
    assert reader.take() == b""
    assert reader.usage == (2, 3, 1, 0)
    assert reader.fault is None


def test_an_error_answer_of_a_stream_is_a_plain_body():
    reader = ResponseReader("chat")
    flags = reader.feed(b"HTTP/1.1 429 No\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\n{}")
    assert flags == HEAD | READY | END
    assert reader.take() == b"{}"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * (1 << 20), "too_large"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 50, "protocol"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"{}", mtime=0), "encoding"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3000, "too_large"),
    ],
)
def test_hostile_answers_are_typed_faults(message, kind):
    reader = ResponseReader("chat", max_body=2000)
    assert reader.feed(message) & FAULT
    assert reader.fault is not None
    assert reader.fault[0] == kind
    assert not reader.reusable
    assert reader.feed(b"more") & FAULT
    assert reader.take() == b""


@pytest.mark.parametrize("message", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
def test_an_answer_cut_short_is_truncated(message):
    reader = ResponseReader("chat")
    reader.feed(message)
    assert reader.eof() & FAULT
    assert reader.fault is not None
    assert reader.fault[0] == "truncated"


def test_a_raw_reader_looks_into_nothing():
    reader = ResponseReader("raw")
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 14\r\n\r\ndata: broken\n\n")
    assert reader.take() == b"data: broken\n\n"
    assert (reader.events, reader.usage) == (0, None)


def test_an_unknown_dialect_is_a_mistake():
    with pytest.raises(ValueError, match="dialect"):
        ResponseReader("klingon")


def test_ready_bytes_can_be_taken_in_pieces():
    reader = ResponseReader("chat")
    event = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event * 3)
    assert reader.take(10) == event[:10]
    assert reader.pending == 3 * len(event) - 10
    assert reader.feed(event) & READY
    assert reader.take(20) + reader.take() == (event * 4)[10:]
    assert (reader.pending, reader.take(5)) == (0, b"")
