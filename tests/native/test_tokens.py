from __future__ import annotations

import asyncio
import json
import threading
from time import process_time, thread_time

import pytest

from tollhouse._native import RequestView, count_tokens

ENCODINGS = ["cl100k_base", "o200k_base"]


@pytest.mark.parametrize(
    ("text", "cl100k", "o200k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("I'm you're THEY'LL we'd it's don'T 'S", 15, 11),
        ("<|endoftext|>", 7, 7),
        ("a" * 1_000_000, 125_000, 125_000),
        ("\n" * 1_000_000, 31_250, 62_500),
    ],
)
def test_tokens_are_counted_as_tiktoken_does(text, cl100k, o200k):
    assert [count_tokens(text, encoding) for encoding in ENCODINGS] == [cl100k, o200k]


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="unknown encoding"):
        count_tokens("x", "p50k_base")
    with pytest.raises(UnicodeEncodeError):
        count_tokens("\ud800", "o200k_base")
    view = RequestView.parse(b'{"input":"x"}', "responses")
    with pytest.raises(ValueError, match="unknown encoding"):
        view.prompt_tokens("gpt2")


def _long_view(times: int = 20_000) -> RequestView:
    text = "The quick brown fox jumps over the lazy dog, 1234567 times. " * times
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "service_tier": "flex"}
    return RequestView.parse(json.dumps(body).encode(), "chat")


def test_a_prompt_is_counted_and_bounded():
    view = _long_view()
    bound = view.prompt_bound()
    assert bound is not None
    assert len(view.body) < bound < len(view.body) + 300
    for encoding in ENCODINGS:
        assert 300_000 < view.prompt_tokens(encoding) <= bound
    assert view.service_tier == "flex"
    assert RequestView.parse(b'{"input":"x","service_tier":null}', "responses").service_tier is None


def test_an_image_counts_as_much_as_the_caller_says():
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = json.dumps({"messages": [{"role": "user", "content": [part, part]}]}).encode()
    view = RequestView.parse(body, "chat")
    dear, cheap = view.prompt_bound(), view.prompt_bound(tokens_per_image=1445)
    assert dear is not None
    assert cheap is not None
    assert dear - cheap == 2 * (50_000 - 1445)
    assert RequestView.parse(b'{"input":"x","previous_response_id":"r"}', "responses").prompt_bound() is None


@pytest.mark.parametrize("where", ["text", "view"])
def test_the_interpreter_is_free_while_a_long_prompt_is_counted(where):
    """This thread goes on while another is inside the one native call: no step takes as long as half of the call.

    In time of the processor: when neither has one, nobody keeps the other waiting.
    """
    view = _long_view(200_000)  # counted for far longer than a turn at a processor is
    text = view.body.decode()
    took = []

    def count() -> None:
        begun = thread_time()
        if where == "text":
            count_tokens(text, "o200k_base")
        else:
            view.prompt_tokens("o200k_base")
        took.append(thread_time() - begun)

    count_tokens("", "o200k_base")
    worker = threading.Thread(target=count)
    worker.start()
    longest, last = 0.0, process_time()
    while not took:
        now = process_time()
        longest, last = max(longest, now - last), now
    worker.join()
    assert longest < took[0] / 2


async def test_the_event_loop_turns_while_a_thread_counts():
    view = _long_view(200_000)  # counted for far longer than a turn at a processor is
    view.prompt_tokens("o200k_base")
    begun = last = process_time()
    longest = 0.0
    counting = asyncio.create_task(asyncio.to_thread(view.prompt_tokens, "o200k_base"))
    while not counting.done():
        await asyncio.sleep(0)
        now = process_time()
        longest, last = max(longest, now - last), now
    assert await counting > 300_000
    assert longest < (last - begun) / 2
