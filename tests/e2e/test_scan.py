"""The scan inside the gateway, over sockets: the numbers are those of the list of edge cases of streams."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import openai
import orjson
import pytest

from tests.support.chunks import DONE, completion, delta, finish, tool_delta
from tests.support.client import chat_body, checked_error, events_of, post, stream_chat, text_of
from tests.support.gateway import echo_only, model, running_gateway
from tests.support.net import wait_until
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Answer
    from tests.support.gateway import Gateway
    from tests.support.upstream import Peer

EMAIL = "kim.doe@example.com"
OTHER = "alex.roe@example.org"
# Put together here, so that nothing in this repository looks like a credential.
TOKEN = "acme_" + "k9Qz" * 5
RULES = [
    {"id": "acme-token", "family": "secrets", "type": "SECRET", "literals": ["acme_"], "regex": "acme_[0-9A-Za-z]{20}"}
]
# What the upstream is to stream, by name; the tests fill it in.
PLANS: dict[str, list[bytes]] = {}


async def _plan(peer: Peer) -> None:
    await peer.stream_head()
    for chunk in PLANS[peer.argument]:
        await peer.chunk(chunk)
        await peer.pause(0.002)
    if peer.argument.startswith("hang"):
        await peer.until_gone()
        return
    await peer.end()


def _said(peer: Peer) -> str:
    content: str = peer.seen.json["messages"][-1]["content"]
    return content


async def _echo(peer: Peer) -> None:
    text = _said(peer)
    if not peer.seen.json.get("stream"):
        await peer.answer(completion(text))
        return
    await peer.stream_head()
    for i in range(0, len(text), 3):
        await peer.chunk(delta(text[i : i + 3]))
    await peer.chunk(finish() + DONE)
    await peer.end()


async def _echo_in_a_call(peer: Peer) -> None:
    arguments = orjson.dumps({"text": f'"{_said(peer)}"'}).decode()
    await peer.stream_head()
    await peer.chunk(tool_delta("", name="note"))
    for character in arguments:
        await peer.chunk(tool_delta(character))
    await peer.chunk(finish("tool_calls") + DONE)
    await peer.end()


async def _fail(peer: Peer) -> None:
    body = orjson.dumps({"error": {"message": f"no {EMAIL} here", "type": "x", "param": None, "code": None}})
    await peer.answer(body, status="400 Bad Request")


async def _tell_a_secret(peer: Peer) -> None:
    await peer.answer(completion(f"the key is {TOKEN}"))


SCRIPTS = {"plan": _plan, "echo": _echo, "call": _echo_in_a_call, "fail": _fail, "secret": _tell_a_secret}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPTS) as server:
        yield server


def config(upstream: ScriptedUpstream, **scan: Any) -> dict[str, Any]:
    return echo_only(
        model_list=[model("up/*", upstream.base_url)],
        scan={"rules": RULES, **scan},
        logging={"level": "debug"},
        upstream={"keepalive_s": 0.5, "idle_s": 10},
    )


@pytest.fixture(scope="module", params=["builtin", "granian", "uvicorn"])
def redacting(request: pytest.FixtureRequest, upstream: ScriptedUpstream) -> Iterator[Gateway]:
    """Redacts personal data both ways, and blocks secrets."""
    policy = {"pii": "redact", "secrets": "block", "injection": "allow"}
    with running_gateway(config(upstream, request=policy, response=policy), server=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[Gateway]:
    policy = {"pii": "redact", "secrets": "block", "injection": "allow"}
    with running_gateway(config(upstream, request=policy, response=policy)) as running:
        yield running


@pytest.fixture(scope="module")
def pseudonymising(upstream: ScriptedUpstream) -> Iterator[Gateway]:
    with running_gateway(config(upstream, request={"pii": "pseudonymise", "injection": "allow"})) as running:
        yield running


def planned(gateway: Gateway, name: str, *chunks: bytes) -> Answer:
    PLANS[name] = list(chunks)
    return post(gateway, chat_body(f"up/plan@{name}", stream=True))


def arguments_of(events: list[bytes], *, choice: int = 0) -> str:
    return "".join(
        call["function"].get("arguments") or ""
        for event in events
        if event != b"[DONE]"
        for one in orjson.loads(event).get("choices", ())
        if one["index"] == choice
        for call in one["delta"].get("tool_calls") or ()
    )


def test_requests_are_redacted_on_their_way_and_the_rest_stays_as_it_was(redacting, upstream):
    body = b'{"model" : "up/echo", "messages":[{"role":"user","content":"\\u0074o %b."}], "seed": 1}' % EMAIL.encode()
    answer = post(redacting, body)
    assert answer.headers["x-gateway-decision"] == "TRANSFORMED"
    assert "scan;ran" in answer.headers["x-gateway-guards"]
    sent = upstream.log.of("echo")[-1].body
    assert sent == body.replace(EMAIL.encode(), b"<EMAIL_ADDRESS>").replace(b'"up/echo"', b'"echo"')
    assert answer.json["choices"][0]["message"]["content"] == "to <EMAIL_ADDRESS>."


def test_clean_requests_reach_the_upstream_byte_for_byte(redacting, upstream):
    body = b'{"model": "up/echo", "messages":[ {"role":"user","content":"hi"}] }'
    answer = post(redacting, body)
    assert answer.headers["x-gateway-decision"] == "ALLOWED"
    assert upstream.log.of("echo")[-1].body == body.replace(b"up/echo", b"echo")


def test_a_blocked_request_is_a_400_that_no_upstream_sees(redacting, upstream):
    before = len(upstream.log.requests)
    answer = post(redacting, chat_body("up/echo", content=f"my key is {TOKEN}"))
    fault = answer.error(400, "content_policy_violation")
    assert "SECRET" in fault["message"]
    assert answer.headers["x-gateway-decision"] == "BLOCKED"
    assert answer.headers["x-should-retry"] == "false"
    assert len(upstream.log.requests) == before
    assert TOKEN.encode() not in answer.body


def test_case_19_and_23_a_value_in_a_stream_is_redacted_however_it_is_cut(redacting):
    def cut(at: int) -> str:
        pieces = [delta("write to "), delta(EMAIL[:at]), delta(EMAIL[at:]), delta(", she said"), finish() + DONE]
        return text_of(planned(redacting, f"cut-{at}", *pieces).events)

    with ThreadPoolExecutor(8) as pool:
        texts = set(pool.map(cut, range(1, len(EMAIL))))
    assert texts == {"write to <EMAIL_ADDRESS>, she said"}


def test_case_23_bytes_of_a_stream_may_be_cut_anywhere(gateway):
    whole = delta("é write to kim.do") + delta("e@example.com 😀") + finish() + DONE
    answers = [planned(gateway, "bytes", *(whole[i : i + size] for i in range(0, len(whole), size))) for size in (1, 7)]
    for answer in answers:
        assert text_of(answer.events) == "é write to <EMAIL_ADDRESS> 😀"


def test_case_23_from_text_to_a_call_nothing_leaks(gateway):
    arguments = orjson.dumps({"to": EMAIL}).decode()
    for at in range(1, len(arguments)):
        calls = [tool_delta("", name="send"), tool_delta(arguments[:at]), tool_delta(arguments[at:])]
        answer = planned(gateway, "tool", delta(f"to {EMAIL[:9]}"), *calls, finish("tool_calls") + DONE)
        assert orjson.loads(arguments_of(answer.events)) == {"to": "<EMAIL_ADDRESS>"}
        assert text_of(answer.events) == f"to {EMAIL[:9]}"
        assert answer.events[-1] == b"[DONE]"


def test_case_20_choices_have_windows_of_their_own(gateway):
    chunks = [delta(piece, index=i) for piece in ("kim.", "doe@", "example.com", " x") for i in (0, 1, 2)]
    answer = planned(gateway, "choices", *chunks, *(finish(index=i) for i in (0, 1, 2)), DONE)
    for i in (0, 1, 2):
        assert text_of(answer.events, index=i) == "<EMAIL_ADDRESS> x"


def test_case_24_what_was_held_and_is_harmless_comes_once_and_in_order(gateway):
    words = ["kim", ".doe@", " is", " no", " address", ",", " kim.doe@", "example"]
    answer = planned(gateway, "harmless", *map(delta, words), finish() + DONE)
    assert text_of(answer.events) == "".join(words)
    assert answer.headers["x-gateway-decision"] == "ALLOWED"


def test_a_block_in_a_stream_ends_it_with_an_error_and_closes_the_upstream(redacting, upstream):
    chunks = [delta("the key: "), delta(TOKEN[:9]), delta(TOKEN[9:] + " "), delta("and more"), finish() + DONE]
    answer = planned(redacting, "hang-blocked", *chunks)
    events = answer.events
    assert text_of(events[:-1]) == "the key: "
    checked_error(events[-1], "content_policy_violation")
    assert TOKEN[:9].encode() not in answer.body
    seen = upstream.log.of("plan@hang-blocked")[-1]
    wait_until(lambda: seen.closed_at, what="the upstream is closed")
    redacting.wait_idle()


def test_a_blocked_answer_that_is_no_stream_is_a_400(redacting, upstream):
    answer = post(redacting, chat_body("up/secret", content="which key?"))
    fault = answer.error(400, "content_policy_violation")
    assert "SECRET" in fault["message"]
    assert answer.headers["x-gateway-decision"] == "BLOCKED"
    assert answer.headers["x-should-retry"] == "false"
    assert len(upstream.log.of("secret")) >= 1
    assert TOKEN[:9].encode() not in answer.body


def test_what_an_upstream_says_of_its_failure_is_redacted(redacting):
    answer = post(redacting, chat_body("up/fail", content="x"))
    assert EMAIL.encode() not in answer.body
    assert "<EMAIL_ADDRESS>" in answer.error(400)["message"]


def test_a_client_that_goes_while_something_is_held_frees_everything(redacting, upstream):
    PLANS["hang-held"] = [delta("write to "), delta("kim.doe@exam")]
    with stream_chat(redacting, "up/plan@hang-held") as stream:
        stream.read_until(b"write")
        stream.reset()
    seen = upstream.log.of("plan@hang-held")[-1]
    wait_until(lambda: seen.closed_at, what="the upstream is closed")
    redacting.wait_idle()


def test_a_stream_that_breaks_off_says_so_after_what_was_held(gateway):
    answer = planned(gateway, "broken", delta("plain "), delta("text kim.doe@exam"))
    events = answer.events
    assert text_of(events[:-1]) == "plain text kim.doe@exam"
    checked_error(events[-1])
    assert b"[DONE]" not in answer.body


def test_while_a_long_call_is_held_the_client_gets_signs_of_life(gateway):
    pieces = [tool_delta("x" * 10) for _ in range(600)]
    PLANS["long"] = [tool_delta('{"a":"', name="f"), *pieces, tool_delta('"}'), finish("tool_calls") + DONE]
    started = time.monotonic()
    answer = post(gateway, chat_body("up/plan@long", stream=True), timeout_s=30)
    assert time.monotonic() - started > 1
    assert b": ping\n\n" in answer.body
    assert orjson.loads(arguments_of(answer.events)) == {"a": "x" * 6000}


@pytest.mark.parametrize("stream", [False, True])
def test_case_25_pseudonyms_round_trip(pseudonymising, upstream, stream):
    content = f'{EMAIL} wrote to {OTHER}; é "<EMAIL_ADDRESS_00c0ffee>" \\ <EMAIL_ADDRESS> {EMAIL}'
    answer = post(pseudonymising, chat_body("up/echo", content=content, stream=stream))
    sent = upstream.log.of("echo")[-1].json["messages"][0]["content"]
    assert EMAIL not in sent
    assert OTHER not in sent
    assert sent.count("<EMAIL_ADDRESS_") == 3
    got = text_of(answer.events) if stream else answer.json["choices"][0]["message"]["content"]
    assert got == content


def test_case_25_pseudonyms_round_trip_inside_tool_arguments(pseudonymising):
    content = f'{EMAIL} "quoted" \\ {OTHER}'
    answer = post(pseudonymising, chat_body("up/call", content=content, stream=True))
    assert orjson.loads(arguments_of(answer.events)) == {"text": f'"{content}"'}


def test_pseudonyms_are_stable_for_a_caller_and_differ_between_callers(pseudonymising, upstream):
    def sent(key: str) -> str:
        post(pseudonymising, chat_body("up/echo", content=EMAIL), key=key)
        content: str = upstream.log.of("echo")[-1].json["messages"][0]["content"]
        return content

    assert sent(pseudonymising.key) == sent(pseudonymising.key)
    assert sent(pseudonymising.key) != sent("sk-master-of-the-tests")


def test_the_python_client_sees_ordinary_answers_and_ordinary_errors(gateway):
    PLANS["hang-sdk"] = [delta("a "), delta(TOKEN + " "), delta("b")]
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="up/echo", messages=[{"role": "user", "content": TOKEN}])
        assert refused.value.code == "content_policy_violation"
        chunks = client.chat.completions.create(
            model="up/echo", messages=[{"role": "user", "content": f"to {EMAIL} now"}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "to <EMAIL_ADDRESS> now"
        broken = client.chat.completions.create(
            model="up/plan@hang-sdk", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError, match="policy"):
            list(broken)


def test_values_are_in_no_log_and_no_metric(redacting):
    post(redacting, chat_body("up/echo", content=f"{TOKEN} {EMAIL}"))
    post(redacting, chat_body("up/echo", content=EMAIL))
    planned(redacting, "logged", delta(f"{EMAIL} "), delta(f"{TOKEN} "), finish() + DONE)
    redacting.wait_idle()
    assert redacting.metric("gateway_scan_findings_total", type="EMAIL_ADDRESS", direction="request") >= 2
    assert redacting.metric("gateway_scan_findings_total", type="SECRET", action="block", direction="response") >= 1
    metrics = redacting.get("/metrics")[1].decode()
    lines = [line for line in redacting.log_lines if line.get("findings")]
    assert any(line["findings"].get("SECRET") and line["decision"] == "BLOCKED" for line in lines)
    for value in (EMAIL, TOKEN, OTHER, TOKEN[:12]):
        assert value not in metrics
        assert value not in redacting.output


def test_events_are_events(gateway):
    """Whatever is done to them: every one is JSON, and the stream ends as streams end."""
    chunks = [delta(f"a {EMAIL} b"), delta(" c", index=1), finish(), finish(index=1)]
    answer = planned(gateway, "well-formed", *chunks, DONE)
    *events, last = events_of(answer.body)
    assert last == b"[DONE]"
    assert all(isinstance(orjson.loads(event), dict) for event in events)
