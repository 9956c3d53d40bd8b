"""The boundary to the translation between dialects: requests, and answers read for a caller of another dialect."""

from __future__ import annotations

import orjson
import pytest

from tollhouse._native import END, FAULT, RequestError, RequestView, ResponseReader, translate_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "seed": 1}
MESSAGES = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def _view(body, kind="chat"):
    return RequestView.parse(orjson.dumps(body), kind)


def test_a_request_is_translated_and_what_is_lost_is_named():
    body, warnings = translate_request(_view(CHAT), "messages", model="claude")
    assert orjson.loads(body) == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    assert warnings == ["seed"]


@pytest.mark.parametrize(
    ("asked", "limits", "told"),
    [
        (None, {}, 4096),
        (None, {"default_tokens": 9}, 9),
        (None, {"max_tokens": 7, "default_tokens": 9}, 7),
        (20, {"max_tokens": 7, "default_tokens": 9}, 7),
        (5, {"max_tokens": 7, "default_tokens": 9}, 5),
    ],
)
def test_no_more_is_asked_for_than_is_reserved(asked, limits, told):
    view = _view(CHAT | ({"max_tokens": asked} if asked else {}))
    assert orjson.loads(translate_request(view, "messages", model="m", **limits)[0])["max_tokens"] == told


def test_a_count_is_asked_for_with_the_body_of_a_message():
    body, _ = translate_request(_view(MESSAGES, "count_tokens"), "chat", model="gpt")
    assert orjson.loads(body)["messages"] == MESSAGES["messages"]


def test_a_large_request_is_translated_too():
    text = "x" * 200_000
    view = _view(CHAT | {"messages": [{"role": "user", "content": text}]})
    body, _ = translate_request(view, "messages", model="m")
    assert orjson.loads(body)["messages"][0]["content"][0]["text"] == text


def test_what_cannot_be_told_is_an_error_that_names_the_member():
    with pytest.raises(RequestError) as caught:
        translate_request(_view(CHAT | {"n": 3}), "messages", model="m")
    assert (caught.value.param, caught.value.code) == ("n", "unsupported_value")


@pytest.mark.parametrize(
    ("body", "kind", "dialect"), [(CHAT, "chat", "klingon"), ({"input": "a"}, "embeddings", "chat")]
)
def test_dialects_without_words_for_it_are_refused(body, kind, dialect):
    with pytest.raises(ValueError, match="unknown dialect"):
        translate_request(_view(body, kind), dialect, model="m")


@pytest.mark.parametrize(("dialect", "client"), [("klingon", "chat"), ("chat", "klingon"), ("messages", "embeddings")])
def test_readers_know_their_dialects(dialect, client):
    with pytest.raises(ValueError, match="unknown dialect"):
        ResponseReader(dialect, client=client)


def _answer(reader, body, status=b"200 OK"):
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    return reader.feed(head + body)


def test_a_success_is_translated_and_anything_else_is_not():
    reply = {
        "id": "msg_1",
        "type": "message",
        "model": "claude",
        "content": [{"type": "text", "text": "ho"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    reader = ResponseReader("messages", client="chat", created=12)
    assert _answer(reader, orjson.dumps(reply)) & END
    assert reader.translated
    completion = orjson.loads(reader.take())
    assert (completion["created"], completion["choices"][0]["message"]["content"]) == (12, "ho")
    assert reader.usage == (3, 4, 0, 0)
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
    reader = ResponseReader("messages", client="chat")
    assert _answer(reader, error, b"529 Overloaded") & END
    assert reader.take() == error


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"content":[]}'])
def test_a_success_that_is_no_answer_is_a_fault(body):
    reader = ResponseReader("messages", client="chat")
    assert _answer(reader, body) & FAULT
    assert (reader.fault or ("",))[0] == "stream_error"
    assert reader.take() == b""


def test_the_same_dialect_on_both_sides_is_no_translation():
    assert not ResponseReader("messages", client="messages").translated
