"""The edge cases of event streams that the reader decides, each under the number it has in the list."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse._native import END, FAULT, READY, ResponseReader

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **members: object) -> bytes:
    return event({"choices": [{"index": index, "delta": members, "finish_reason": finish}]})


def usage(prompt: int, completion: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


TEXT = delta(content="a")
FINISH = delta(finish="stop")


@dataclass(frozen=True)
class Result:
    out: bytes
    fault: str | None
    ended: bool
    usage: Any
    malformed: int


def chunked(body: bytes, size: int = 11) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def read(pieces: list[bytes], dialect: str = "chat", *, strip: bool = False, eof: bool = False) -> Result:
    reader = ResponseReader(dialect, strip_usage=strip)
    out = b""
    flags = 0
    for piece in pieces:
        flags = reader.feed(piece)
        if flags & READY:
            out += reader.take()
    if eof:
        flags = reader.eof()
        out += reader.take()
    fault = reader.fault[0] if reader.fault else None
    assert bool(flags & FAULT) == (fault is not None)
    return Result(out, fault, bool(flags & END), reader.usage, reader.malformed_events)


def at_every_split(body: bytes, dialect: str = "chat", *, strip: bool = False) -> Result:
    """The result of a stream, which is the same however its bytes arrive."""
    message = chunked(body)
    whole = read([message], dialect, strip=strip)
    assert read([message[i : i + 1] for i in range(len(message))], dialect, strip=strip) == whole
    for cut in range(1, len(message)):
        assert read([message[:cut], message[cut:]], dialect, strip=strip) == whole, cut
    return whole


def test_case_01_any_stream_cut_anywhere_is_the_same_stream():
    body = TEXT + delta(content="\N{GRINNING FACE} é") + FINISH + DONE
    assert at_every_split(body) == Result(body, None, ended=True, usage=None, malformed=0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_case_02_every_line_end_passes_as_it_is(end):
    body = (TEXT + FINISH + DONE).replace(b"\n", end)
    assert at_every_split(body).out == body


def test_case_02_line_ends_may_be_mixed():
    body = b"data: {}\r\n\ndata: {}\n\r\n" + FINISH.replace(b"\n", b"\r") + DONE
    assert at_every_split(body).out == body


def test_case_03_a_field_needs_no_space():
    body = (TEXT + FINISH + DONE).replace(b"data: ", b"data:")
    assert at_every_split(body) == Result(body, None, ended=True, usage=None, malformed=0)


def test_case_04_two_data_lines_join_and_a_byte_order_mark_is_ignored():
    body = b'data: {"choices":[{"index":0,\ndata: "finish_reason":"stop"}]}\n\n' + DONE
    assert at_every_split(b"\xef\xbb\xbf" + body) == Result(body, None, ended=True, usage=None, malformed=0)


def test_case_05_blocks_without_data_are_never_an_empty_event():
    body = b": hello\n\nretry: 10\n\nid: 7\n\n" + TEXT + b": still here\nid: 8\n\n\n" + FINISH + DONE
    assert at_every_split(body).out == b": hello\n" + TEXT + b": still here\n" + FINISH + DONE


def test_case_06_characters_survive_any_split_and_invalid_ones_pass():
    arguments = '{"smile":"\N{GRINNING FACE}"}'
    call = delta(tool_calls=[{"index": 0, "function": {"arguments": arguments}}])
    raw = json.dumps({"choices": [{"index": 0, "delta": {"content": "\N{GRINNING FACE}"}}]}, ensure_ascii=False)
    halves = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    halves += b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}\n\n'
    invalid = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n'
    body = call + b"data: " + raw.encode() + b"\n\n" + halves + invalid + FINISH + DONE
    assert at_every_split(body) == Result(body, None, ended=True, usage=None, malformed=0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_case_07_a_last_event_without_a_blank_line_is_flushed_as_an_event(end):
    result = at_every_split(TEXT + FINISH + b"data: [DONE]" + end)
    assert result.out.startswith(TEXT + FINISH + b"data: [DONE]")
    assert result.out.endswith((b"\n\n", b"\r\n\n"))
    assert result.ended


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", TEXT),
        ("chat", delta(0, "stop") + delta(1, content="more")),
        ("messages", event({"type": "message_start", "message": {}})),
        ("responses", event({"type": "response.created", "response": {}})),
    ],
)
def test_case_08_an_end_before_the_finish_is_truncation_and_no_done_follows(dialect, body):
    result = at_every_split(body, dialect)
    assert (result.out, result.fault, result.ended) == (body, "truncated", False)


@pytest.mark.parametrize(
    ("dialect", "start"),
    [
        ("chat", b'data: {"error":{'),
        ("messages", b"event: error\ndata: {"),
        ("responses", b'event: error\ndata: {"type":"error","code":"c","message":"m","param":null,"sequence_number":'),
    ],
)
def test_case_08_the_error_that_follows_speaks_the_callers_dialect(dialect, start):
    told = ResponseReader(dialect).fault_event("m", "c")
    assert told.startswith(start)
    assert told.endswith(b"\n\n")
    assert b"[DONE]" not in told
    json.loads(told.split(b"data: ")[1])


def test_case_09_an_overloaded_error_in_the_middle_is_surfaced():
    start = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\n\n'
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    result = at_every_split(start + error, "messages")
    assert (result.out, result.fault, result.usage) == (start, "stream_error", (3, 0, 0, 0))


def test_case_10_plain_json_after_the_last_event_is_the_cause():
    reader = ResponseReader("chat")
    reader.feed(chunked(TEXT + b'{"error": {"message": "out of memory", "code": 500}}'))
    assert reader.fault == ("stream_error", "out of memory")
    assert json.loads(reader.error_event or b"") == {"message": "out of memory", "code": 500}
    assert at_every_split(TEXT + b'{"error":\n {"message": "x"}}\n').fault == "stream_error"


def test_case_11_an_error_in_a_chunk_is_an_error():
    body = TEXT + event({"choices": [], "error": {"message": "no"}}) + DONE
    result = at_every_split(body)
    assert (result.out, result.fault, result.ended) == (TEXT, "stream_error", False)


@pytest.mark.parametrize("body", [b"", b": only comments\n\n", event({"error": {"message": "first"}})])
def test_case_12_nothing_is_ready_before_the_first_event(body):
    result = at_every_split(body)
    assert result.out == b""
    assert result.fault in {"truncated", "stream_error"}


def test_case_13_a_malformed_event_is_left_out_and_counted():
    result = at_every_split(TEXT + b"data: {broken\n\n" + FINISH + DONE)
    assert result == Result(TEXT + FINISH + DONE, None, ended=True, usage=None, malformed=1)


def test_case_13_in_a_tool_call_it_is_an_error():
    broken = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,\n\n'
    result = at_every_split(TEXT + broken + FINISH + DONE)
    assert (result.out, result.fault) == (TEXT, "malformed_event")


def test_case_16_usage_comes_between_the_finish_and_done_and_only_if_asked_for():
    body = TEXT + FINISH + usage(5, 6) + DONE
    assert at_every_split(body) == Result(body, None, ended=True, usage=(5, 6, 0, 0), malformed=0)
    stripped = at_every_split(body, strip=True)
    assert stripped == Result(TEXT + FINISH + DONE, None, ended=True, usage=(5, 6, 0, 0), malformed=0)


def test_case_17_cumulative_usage_is_not_summed():
    body = b"".join(
        event({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 5, "completion_tokens": n}})
        for n in (1, 2, 3)
    )
    assert at_every_split(body + FINISH + DONE).usage == (5, 3, 0, 0)


def test_case_18_absent_usage_is_told_as_absent_with_the_length_of_the_text():
    text = delta(content="h\N{LATIN SMALL LETTER E WITH ACUTE}") + delta(reasoning_content="ab")
    message = chunked(text + FINISH + DONE)
    for cut in range(len(message)):
        reader = ResponseReader("chat")
        reader.feed(message[:cut])
        reader.feed(message[cut:])
        assert (reader.usage, reader.text_bytes) == (None, 5)


def test_case_19_a_finish_reason_may_come_with_content():
    body = delta(content="last words", finish="length") + DONE
    assert at_every_split(body) == Result(body, None, ended=True, usage=None, malformed=0)


def test_case_20_choices_end_independently():
    body = delta(0, content="a") + delta(1, content="b") + delta(1, "stop") + delta(0, content="c")
    assert at_every_split(body).fault == "truncated"
    assert at_every_split(body + delta(0, "stop")).ended


@pytest.mark.parametrize(
    ("dialect", "end"),
    [
        ("chat", FINISH + DONE),
        ("messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
        ("responses", event({"type": "response.completed", "response": {}})),
    ],
)
def test_events_of_no_known_type_pass_in_every_dialect(dialect, end):
    body = b"event: x.y\n" + event({"type": "x.y", "new": [1, {"a": None}]}) + end
    assert at_every_split(body, dialect) == Result(body, None, ended=True, usage=None, malformed=0)


def test_a_connection_that_breaks_is_truncation_unless_done_was_said():
    message = chunked(TEXT + FINISH + DONE)
    assert read([message[:-40]], eof=True).fault in {"truncated", None}
    assert read([chunked(TEXT)[:-5]], eof=True).fault == "truncated"
    said_done = read([message[:-5]], eof=True)
    assert (said_done.out, said_done.fault) == (TEXT + FINISH + DONE, None)


def test_an_event_without_an_end_does_not_grow_without_bound():
    reader = ResponseReader("chat", max_event=10_000)
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ")
    fed = 0
    while not reader.feed(b"x" * 1000) & FAULT:
        fed += 1000
        assert fed < 20_000
    assert reader.fault is not None
    assert reader.fault[0] == "too_large"


pieces = st.sampled_from(
    [
        TEXT,
        FINISH,
        DONE,
        usage(1, 2),
        b": c\n\n",
        b"id: 1\r\n\r\n",
        b"data: {\n\n",
        b"data: x\rdata: y\r\r",
        b"\r",
        b"\n",
    ]
)


@given(st.lists(pieces, max_size=8), st.randoms(use_true_random=False), st.booleans())
def test_random_streams_in_random_pieces_give_what_the_whole_gives(parts, chance, strip):
    message = chunked(b"".join(parts), chance.randint(1, 50))
    whole = read([message], strip=strip)
    cuts = sorted(chance.sample(range(len(message)), k=min(len(message), chance.randint(0, 6))))
    split = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    assert read(split, strip=strip) == whole


def test_many_random_splits():
    """TOLLHOUSE_SPLITS sets how many; the long form is a million."""
    chance = random.Random(7)
    body = TEXT * 3 + delta(content="\N{GRINNING FACE}" * 9) + FINISH + usage(1, 2) + DONE
    message = chunked(body)
    for _ in range(int(os.environ.get("TOLLHOUSE_SPLITS", "2000"))):
        cuts = sorted(chance.sample(range(len(message)), k=chance.randint(1, 30)))
        split = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        assert read(split).out == body


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_can_break_the_reader(data, with_head):
    reader = ResponseReader("chat", max_body=1000, max_event=1000)
    reader.feed((HEAD if with_head else b"") + data)
    reader.eof()
    reader.take()
