from __future__ import annotations

import gc
import hmac
import weakref
from typing import Any

import pytest

from tollhouse._native import DigestedSend, KeyedDigest


class Send:
    """An ASGI `send` that is done when it returns."""

    is_eager = True

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def __call__(self, message: Any) -> Any:
        self.messages.append(message)
        return "to be awaited"


@pytest.mark.parametrize("key", [b"k", bytes(range(32)), b"x" * 64, b"y" * 200])
def test_it_is_what_the_library_makes_of_it(key):
    for content in (b"", b"a", b"b" * 1000, b"c" * 100_000):
        assert KeyedDigest(key).of(content) == hmac.digest(key, content, "sha256").hex()


def test_a_key_is_needed_and_is_not_shown():
    with pytest.raises(ValueError, match="not empty"):
        KeyedDigest(b"")
    assert repr(KeyedDigest(b"secret")) == "KeyedDigest(***)"


def test_what_passes_is_digested_and_handed_on_as_it_is():
    send = Send()
    passing = KeyedDigest(b"key").passing(send)
    messages: list[Any] = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"one ", "more_body": True},
        {"type": "http.response.body", "body": bytearray(b"two "), "more_body": True},
        {"type": "http.response.body", "body": memoryview(b"three"), "more_body": True},
        {"type": "http.response.body"},
    ]
    answers: list[Any] = [passing(message) for message in messages]
    assert answers == ["to be awaited"] * 5
    assert all(got is given for got, given in zip(send.messages, messages, strict=True))
    assert passing.sent == 13
    assert passing.hexdigest() == hmac.digest(b"key", b"one two three", "sha256").hex()
    assert (passing.inner, passing.is_eager) == (send, True)
    assert KeyedDigest(b"key").passing(lambda _: None).is_eager is False  # type: ignore[arg-type,return-value]


def test_what_is_behind_it_may_call_it_again_and_may_fail():
    calls: list[Any] = []

    def again(message: Any) -> Any:
        calls.append(message)
        if len(calls) == 1:
            passing({"body": b"b"})
        else:
            raise ConnectionError

    passing: DigestedSend = KeyedDigest(b"key").passing(again)
    with pytest.raises(ConnectionError):
        passing({"body": b"a"})
    assert passing.sent == 2


def test_a_circle_through_it_is_collected():
    send = Send()
    send.messages.append(KeyedDigest(b"key").passing(send))
    gone = weakref.ref(send)
    del send
    gc.collect()
    assert gone() is None
