"""Event streams as upstreams really write them, over sockets; the numbers are those of the list of edge cases.

Cases 21 (disconnects) and 22 (stalled readers) have files of their own; 23 to 25 come with redaction.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.chunks import DONE, USAGE, delta, finish, usage
from tests.support.client import chat_body, checked_error, events_of, post, stream_chat, text_of
from tests.support.gateway import echo_only, model, running_gateway
from tests.support.net import wait_until
from tests.support.sse_scripts import EMOJI, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Answer
    from tests.support.gateway import Gateway
    from tests.support.upstream import ScriptedUpstream

KEEPALIVE_S = 0.2


def pair(first: str, base: str) -> list[dict[str, Any]]:
    """Two deployments of one name: a bad one and a good one."""
    return [model(f"pair/{first}", base, upstream=f"openai/{name}") for name in (first, "fine")]


@pytest.fixture(scope="module")
def lively(upstream: ScriptedUpstream) -> Iterator[Gateway]:
    """A gateway that sends a keepalive after a fifth of a second, with names that have two deployments each."""
    bad = ("error-first", "no-events", "status@500", "status@429", "hang", "late-failure@500")
    pairs = [entry for name in bad for entry in pair(name, upstream.base_url)]
    dead = [model("pair/dead", base, upstream="openai/fine") for base in ("http://127.0.0.1:1/v1", upstream.base_url)]
    config = echo_only(
        model_list=[model("hostile/*", upstream.base_url), *pairs, *dead],
        upstream={"keepalive_s": KEEPALIVE_S, "first_event_s": 1.5, "idle_s": 3},
    )
    with running_gateway(config) as running:
        yield running


def ask(gateway: Gateway, behaviour: str, **more: Any) -> Answer:
    return post(gateway, chat_body(f"hostile/{behaviour}", stream=True, **more))


def good(gateway: Gateway, behaviour: str, **more: Any) -> Answer:
    """A stream that must succeed: complete, every event JSON, headers as they should be."""
    answer = ask(gateway, behaviour, **more)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    for event in answer.events[:-1]:
        assert "error" not in orjson.loads(event)
    return answer


def test_case_01_stream_cut_in_two_at_every_offset_is_identical(gateway: Gateway) -> None:
    whole = PLAIN + usage() + DONE

    def cut_at(offset: int) -> bytes:
        return ask(gateway, f"plain@{offset}").body

    with ThreadPoolExecutor(12) as pool:
        bodies = set(pool.map(cut_at, range(len(whole))))
    assert bodies == {PLAIN + DONE}


def test_case_01_stream_of_single_bytes_is_identical(gateway: Gateway) -> None:
    assert good(gateway, "plain").body == PLAIN + DONE


@pytest.mark.parametrize("ends", ["crlf", "cr", "mixed"])
def test_case_02_every_kind_of_line_end(gateway: Gateway, ends: str) -> None:
    assert good(gateway, f"line-ends@{ends}").events == events_of(PLAIN + DONE)


def test_case_03_data_without_a_space(gateway: Gateway) -> None:
    assert good(gateway, "no-space").events == events_of(PLAIN + DONE)


def test_case_04_two_data_lines_are_one_event(gateway: Gateway) -> None:
    events = good(gateway, "two-data-lines").events
    assert text_of(events) == "two"
    assert b"\n" in events[0]


def test_case_04_byte_order_mark_is_ignored(gateway: Gateway) -> None:
    assert good(gateway, "bom").body == PLAIN + DONE


def test_case_05_comments_and_ids_are_no_events(gateway: Gateway) -> None:
    answer = good(gateway, "not-events")
    assert text_of(answer.events) == "ab"
    assert len(answer.events) == 4
    assert b"\nretry" not in answer.body
    assert b"\nid:" not in answer.body


def test_case_06_emoji_split_into_its_bytes_is_whole_again(gateway: Gateway) -> None:
    events = good(gateway, "emoji-split").events
    assert text_of(events) == f"<{EMOJI}>"
    assert EMOJI.encode() in events[2]
    assert all("\ufffd" not in event.decode() for event in events)


def test_case_06_surrogates_over_two_events_survive(gateway: Gateway) -> None:
    body = ask(gateway, "surrogates-split").body
    assert rb"\uD83D" in body
    assert rb"\uDE00" in body


def test_case_06_invalid_utf8_passes_as_it_is(gateway: Gateway) -> None:
    assert b'"\xff\xc3"' in ask(gateway, "raw-bytes").body


def test_case_07_last_event_without_blank_line_is_flushed(gateway: Gateway) -> None:
    assert good(gateway, "no-blank-line").events[-1] == b"[DONE]"


@pytest.mark.parametrize("behaviour", ["cut-off", "cut-off-connection"])
def test_case_08_stream_that_stops_early_ends_with_an_error(gateway: Gateway, behaviour: str) -> None:
    answer = ask(gateway, behaviour)
    checked_error(answer.events[-1], "upstream_truncated")
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("behaviour", ["finish-without-done", "close-after-finish"])
def test_case_08_finished_stream_is_given_the_done_it_lacks(gateway: Gateway, behaviour: str) -> None:
    assert good(gateway, behaviour).body == PLAIN + DONE


def test_case_08_stream_that_lacks_a_choice_ends_with_an_error(gateway: Gateway) -> None:
    answer = ask(gateway, "one-of-two", n=2)
    checked_error(answer.events[-1], "upstream_truncated")
    assert b"[DONE]" not in answer.body


def test_case_09_overload_in_the_middle_is_shown_and_counted(gateway: Gateway) -> None:
    before = gateway.metric("gateway_upstream_errors_total")
    answer = ask(gateway, "overloaded-mid-stream")
    assert "overloaded" in checked_error(answer.events[-1])["message"]
    assert gateway.metric("gateway_upstream_errors_total") == before + 1


def test_case_10_json_behind_the_last_event_is_the_cause(gateway: Gateway) -> None:
    answer = ask(gateway, "trailing-json-error")
    assert checked_error(answer.events[-1])["message"] == "CUDA out of memory"
    assert b"[DONE]" not in answer.body


def test_case_11_error_inside_a_chunk_is_no_empty_success(gateway: Gateway) -> None:
    assert ask(gateway, "error-in-chunk").error(502)["message"] == "provider failed"


@pytest.mark.parametrize("behaviour", ["error-first", "no-events", "status@500", "status@429", "dead"])
def test_case_12_second_target_answers_when_the_first_fails_early(lively: Gateway, behaviour: str) -> None:
    # Whose turn is first alternates: four requests see both orders twice.
    for _ in range(4):
        answer = post(lively, chat_body(f"pair/{behaviour}", stream=True))
        assert answer.status == 200, answer.body
        assert text_of(answer.events) == "fine"
        assert answer.events[-1] == b"[DONE]"


def test_case_12_fallback_holds_without_a_stream_too(lively: Gateway) -> None:
    for _ in range(4):
        answer = post(lively, chat_body("pair/status@500"))
        assert answer.json["choices"][0]["message"]["content"] == "fine"


def test_case_13_malformed_event_is_left_out_and_counted(gateway: Gateway) -> None:
    before = gateway.metric("gateway_upstream_malformed_events_total")
    assert text_of(good(gateway, "malformed-event").events) == "ab"
    assert gateway.metric("gateway_upstream_malformed_events_total") == before + 1


def test_case_13_malformed_event_inside_a_tool_call_is_an_error(gateway: Gateway) -> None:
    answer = ask(gateway, "malformed-tool-event")
    checked_error(answer.events[-1], "upstream_malformed_event")
    assert b"[DONE]" not in answer.body


def test_case_14_keepalive_is_a_comment_between_events(lively: Gateway) -> None:
    answer = ask(lively, "late@700")
    assert text_of(answer.events) == "ab"
    assert answer.body.count(b": ping\n\n") >= 3
    # Taken out, nothing but the upstream's own events is left.
    assert answer.body.replace(b": ping\n\n", b"") == delta("a") + delta("b") + finish() + DONE


def test_case_15_keepalive_comes_before_the_first_token(lively: Gateway) -> None:
    with stream_chat(lively, "hostile/late@700") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.read_some() == b": ping\n\n"


@pytest.mark.parametrize("behaviour", ["late-failure@500", "hang"])
def test_case_15_fallback_is_still_allowed_after_a_keepalive(lively: Gateway, behaviour: str) -> None:
    for _ in range(2):
        answer = post(lively, chat_body(f"pair/{behaviour}", stream=True))
        assert text_of(answer.events) == "fine"
        assert answer.events[-1] == b"[DONE]"


def test_case_15_failure_after_a_keepalive_is_an_error_event(lively: Gateway) -> None:
    answer = ask(lively, "late-failure@500")
    assert answer.status == 200
    assert answer.body.startswith(b": ping\n\n")
    assert checked_error(answer.events[-1])["message"] == "gave up"
    assert b"[DONE]" not in answer.body


def test_case_15_a_whole_answer_gets_no_keepalive(lively: Gateway) -> None:
    post(lively, chat_body("hostile/late-failure@500")).error(500)


def test_case_16_usage_comes_last_before_done_if_asked_for(gateway: Gateway) -> None:
    events = good(gateway, "fine", stream_options={"include_usage": True}).events
    assert events[-1] == b"[DONE]"
    assert orjson.loads(events[-2])["choices"] == []
    assert orjson.loads(events[-2])["usage"] == USAGE


def test_case_16_usage_is_asked_for_and_stripped_if_the_caller_did_not(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    before = gateway.metric("gateway_tokens_total", kind="completion")
    answer = good(gateway, "fine")
    assert b"usage" not in answer.body
    assert upstream.log.of("fine")[-1].json["stream_options"] == {"include_usage": True}
    assert gateway.metric("gateway_tokens_total", kind="completion") == before + USAGE["completion_tokens"]


def test_case_17_usage_on_every_chunk_is_not_summed(gateway: Gateway) -> None:
    before = gateway.metric("gateway_tokens_total")
    good(gateway, "usage-everywhere")
    assert gateway.metric("gateway_tokens_total") == before + 7 + 3


def test_case_18_missing_usage_is_estimated_and_flagged(gateway: Gateway) -> None:
    before = gateway.metric("gateway_tokens_total", kind="completion")
    answer = good(gateway, "no-usage")
    gained = gateway.metric("gateway_tokens_total", kind="completion") - before
    assert 2 <= gained <= 8, "four words"
    line = logged(gateway, answer)
    assert line["usage_estimated"] is True


def test_case_19_finish_and_content_in_one_chunk(gateway: Gateway) -> None:
    events = good(gateway, "finish-with-content").events
    assert text_of(events) == "all at once"
    assert events[-1] == b"[DONE]"


def test_case_20_interleaved_choices_stay_apart(gateway: Gateway) -> None:
    events = good(gateway, "two-choices", n=2).events
    assert (text_of(events, index=0), text_of(events, index=1)) == ("ab", "xy")


def logged(gateway: Gateway, answer: Answer) -> dict[str, Any]:
    """The line of the access log about this answer."""
    identity = answer.headers["x-request-id"]
    return wait_until(
        lambda: next((line for line in gateway.log_lines if line.get("request_id") == identity), None) or {},
        what="the access log has the request",
    )
