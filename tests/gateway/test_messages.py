"""Anthropic's routes and Anthropic's upstream: what passes as it is, what is translated, and how errors are told."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import orjson
import pytest

from tests.support import anthropic_scripts, hostile, sse_scripts
from tests.support.app import ADMIN_KEY, running_app
from tests.support.chunks import DONE, delta, finish, usage
from tests.support.client import events_of, text_of
from tests.support.gateway import KEY, model
from tests.support.upstream import Peer, ScriptedUpstream
from tollhouse.middlewares import quota

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
HELLO = [{"role": "user", "content": "hello there"}]
TOOLS = [{"name": "open_gate", "input_schema": {"type": "object", "properties": {"gate": {"type": "string"}}}}]


async def _slow_start(peer: Peer) -> None:
    """`slow-start@0.5`: so much silence before the first event."""
    await peer.stream_head()
    await peer.pause(float(peer.argument))
    await peer.chunk(delta("b") + finish() + usage() + DONE)
    await peer.end()


async def _slow_failure(peer: Peer) -> None:
    """`slow-failure@0.3`: so much silence, then an error in place of a stream."""
    await peer.stream_head()
    await peer.pause(float(peer.argument))
    await peer.chunk(b'data: {"error":{"message":"no","code":503}}\n\n')
    await peer.end()


@pytest.fixture
def upstream():
    with ScriptedUpstream(
        hostile.SCRIPTS
        | anthropic_scripts.SCRIPTS
        | {"pausing": sse_scripts.pausing, "slow-start": _slow_start, "slow-failure": _slow_failure}
    ) as running:
        yield running


def _claude(upstream: ScriptedUpstream, *behaviours: str, name: str = "m") -> list[dict[str, Any]]:
    bases = [(behaviour, "anthropic" if behaviour.startswith("claude") else "vllm") for behaviour in behaviours]
    return [
        model(name, upstream.base_url, upstream=f"{provider}/{behaviour}", api_key="sk-ant-of-the-tests")
        for behaviour, provider in bases
    ]


def _body(name: str = "m", *, stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": name, "max_tokens": 1000, "messages": HELLO, "stream": stream, **more}


def _named(body: bytes) -> list[dict[str, Any]]:
    """Data of the events of a messages stream, each of which must be named by its type."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append(orjson.loads(lines["data"]))
            assert lines["event"] == found[-1]["type"]
    return found


def _fault(response: Any, status: int, kind: str) -> str:
    body = response.json
    assert response.status == status, body
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == response.header("request-id") == response.header("x-request-id")
    return str(body["error"]["message"])


# --- the same dialect on both sides


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_messages_pass_byte_for_byte(tmp_path, upstream, stream):
    body = b'{"model": "claude",  "max_tokens":9,"stream":%b,"thinking":{"type":"enabled"},"messages":[ %b ]}' % (
        b"true" if stream else b"false",
        orjson.dumps(HELLO[0]),
    )
    async with running_app(tmp_path, model_list=_claude(upstream, "claude", name="claude")) as app:
        headers = [(b"anthropic-beta", b"context-1m"), (b"anthropic-version", b"2024-01-01"), (b"cookie", b"c=1")]
        response = await app.post(body, path=MESSAGES, headers=headers)
    assert response.status == 200
    expected = anthropic_scripts.stream("claude") if stream else orjson.dumps(anthropic_scripts.message("claude"))
    assert response.body == expected
    assert response.header("request-id") == response.header("x-request-id") != "req_theirs"
    assert response.header("x-gateway-warnings") is None
    seen = upstream.log.requests[0]
    assert (seen.path, seen.body) == ("/v1/messages", body)
    sent = seen.headers
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2024-01-01", "context-1m")
    assert sent["x-api-key"] == "sk-ant-of-the-tests"
    assert not {"authorization", "cookie"} & set(sent)


async def test_thoughts_that_nobody_has_signed_are_not_sent(tmp_path, upstream):
    """A model of another provider has thought in this conversation; Anthropic would refuse all of it."""
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = thought | {"signature": anthropic_scripts.SIGNATURE}
    said = {"type": "text", "text": "hi"}
    messages = [*HELLO, {"role": "assistant", "content": [thought, signed, said]}, *HELLO]
    async with running_app(tmp_path, model_list=_claude(upstream, "claude")) as app:
        for path in (MESSAGES, COUNT):
            assert (await app.post(_body(messages=messages), path=path)).status == 200
    for seen in upstream.log.requests:
        assert seen.json["messages"] == [*HELLO, {"role": "assistant", "content": [signed, said]}, *HELLO]


async def test_a_version_is_sent_where_the_caller_names_none(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude")) as app:
        await app.post(_body(), path=MESSAGES)
    assert upstream.log.requests[0].headers["anthropic-version"] == "2023-06-01"


async def test_a_key_is_known_by_x_api_key(tmp_path):
    async with running_app(tmp_path) as app:
        headers = [(b"x-api-key", KEY.encode())]
        assert (await app.post(_body("tollhouse/echo"), path=MESSAGES, key=None, headers=headers)).status == 200


async def test_the_query_of_anthropics_clients_goes_with_it(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude")) as app:
        client = app.client(MESSAGES, body=_body())
        client.scope["query_string"] = b"beta=true"
        assert (await client.run()).status == 200
    assert upstream.log.requests[0].path == "/v1/messages?beta=true"


# --- messages to an upstream that speaks chat


async def test_the_built_in_model_answers_messages(tmp_path):
    async with running_app(tmp_path) as app:
        whole = (await app.post(_body("tollhouse/echo"), path=MESSAGES)).json
        response = await app.post(_body("tollhouse/echo", stream=True), path=MESSAGES)
        assert response.header("content-type") == "text/event-stream; charset=utf-8"
        events = _named(response.body)
    assert whole["content"] == [{"type": "text", "text": "hello there"}]
    assert (whole["stop_reason"], whole["usage"]["output_tokens"]) == ("end_turn", 2)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[-2]["usage"]["output_tokens"] == 2
    assert [entry["completion_tokens"] for entry in app.log] == [2, 2]


async def test_what_a_chat_server_cannot_be_told_is_named(tmp_path, upstream):
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    body = _body(system=system, context_management={"edits": []}, tools=TOOLS)
    async with running_app(tmp_path, model_list=_claude(upstream, "fine")) as app:
        response = await app.post(body, path=MESSAGES)
        refused = await app.post(
            _body(messages=[{"role": "user", "content": [{"type": "container_upload"}]}]), path=MESSAGES
        )
    assert response.json["content"] == [{"type": "text", "text": "fine"}]
    assert response.header("x-gateway-warnings") == "cache_control, context_management"
    sent = upstream.log.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.json["messages"][0] == {"role": "system", "content": "be brief"}
    assert "container_upload" in _fault(refused, 400, "invalid_request_error")
    assert len(upstream.log.requests) == 1


async def test_what_claude_code_sends_is_served_by_any_model(tmp_path, upstream):
    kept = {"type": "ephemeral"}
    tool = TOOLS[0] | {"description": "Opens", "eager_input_streaming": True}
    body = _body(
        stream=True,
        system=[
            {"type": "text", "text": "You are a tool."},
            {"type": "text", "text": "Be brief.", "cache_control": kept},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "<reminder>x</reminder>"}]},
            {"role": "user", "content": [{"type": "text", "text": "open_gate", "cache_control": kept}]},
        ],
        tools=[tool],
        metadata={"user_id": "user_" + "0" * 200},
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    )
    headers = [(b"anthropic-beta", b"claude-code-20250219"), (b"anthropic-version", b"2023-06-01"), (b"x-app", b"cli")]
    async with running_app(tmp_path, model_list=_claude(upstream, "fine")) as app:
        echo = app.client(MESSAGES, body=body | {"model": "tollhouse/echo"}, headers=headers)
        echo.scope["query_string"] = b"beta=true"
        events = _named((await echo.run()).body)
        served = await app.post(body, path=MESSAGES, headers=headers)
    assert events[1]["content_block"]["name"] == "open_gate"
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert served.status == 200
    assert served.header("x-gateway-warnings") == "cache_control, tools.eager_input_streaming, context_management"
    sent = upstream.log.requests[0]
    assert sent.json["reasoning_effort"] == "high"
    assert not any(name.startswith("anthropic") for name in sent.headers)


# --- chat to Anthropic


async def test_chat_is_answered_by_anthropic(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude")) as app:
        whole = await app.chat("m", seed=1)
        streamed = await app.chat("m", stream=True, stream_options={"include_usage": True})
        bare = await app.chat("m", stream=True)
    message = whole.json["choices"][0]["message"]
    assert message["content"] == "The weather is wörld 😀"
    assert message["reasoning_content"] == "Let me see"
    assert message["thinking_blocks"][0]["signature"] == anthropic_scripts.SIGNATURE
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"gate":"north"}', "{}"]
    assert whole.header("x-gateway-warnings") == "seed"
    events = events_of(streamed.body)
    assert text_of(events) == message["content"]
    assert orjson.loads(events[-2])["usage"]["prompt_tokens"] == 37
    assert b"usage" not in bare.body
    sent = upstream.log.requests[0]
    assert sent.json["max_tokens"] == 4096
    assert sent.headers["anthropic-version"] == "2023-06-01"


async def test_the_models_own_limit_is_sent_where_the_caller_sets_none(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude-3-5-haiku-latest")) as app:
        await app.chat("m")
        await app.chat("m", max_completion_tokens=7)
    assert [seen.json["max_tokens"] for seen in upstream.log.requests] == [8192, 7]


async def test_embeddings_at_anthropic_are_refused_by_name(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude")) as app:
        response = await app.post({"model": "m", "input": "x"}, path="/v1/embeddings")
    assert response.status == 400
    assert response.json["error"]["code"] == "unsupported_endpoint"
    assert "'m'" in response.json["error"]["message"]
    assert "/v1/embeddings" in response.json["error"]["message"]


async def test_a_target_that_cannot_is_passed_over(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude", "fine")) as app:
        response = await app.chat("m", n=2)
    assert response.status == 200
    assert response.header("x-gateway-provider") == "vllm"
    assert upstream.log.of("claude") == []


# --- errors in the caller's dialect


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [("400", 400, "invalid_request_error"), ("529", 529, "overloaded_error"), ("401", 502, "api_error")],
)
async def test_errors_of_the_upstream_are_told_in_anthropics_shape(tmp_path, upstream, status, told, kind):
    async with running_app(tmp_path, model_list=_claude(upstream, f"claude-error@{status}")) as app:
        message = _fault(await app.post(_body(), path=MESSAGES), told, kind)
        assert (message == f"no: {status}") is (status != "401")
        chat = await app.chat("m")
        assert (chat.status, set(chat.json)) == (told, {"error"})


@pytest.mark.parametrize(
    ("key", "body", "status", "kind"),
    [
        ("sk-nobody", _body(), 401, "authentication_error"),
        (KEY, _body("nobody"), 404, "not_found_error"),
        (KEY, {"model": "m"}, 400, "invalid_request_error"),
        (KEY, b"{", 400, "invalid_request_error"),
    ],
)
async def test_refusals_of_the_gateway_are_told_in_anthropics_shape(tmp_path, key, body, status, kind):
    async with running_app(tmp_path) as app:
        for path in (MESSAGES, COUNT):
            assert _fault(await app.post(body, path=path, key=key), status, kind)


async def test_a_limit_is_told_in_anthropics_shape(tmp_path):
    keys = [{"name": "slow", "key": KEY, "limits": {"rpm": 1}}]
    async with running_app(tmp_path, keys=keys) as app:
        assert (await app.post(_body("tollhouse/echo"), path=MESSAGES)).status == 200
        response = await app.post(_body("tollhouse/echo"), path=MESSAGES)
        assert _fault(response, 429, "rate_limit_error")
        assert response.header("retry-after")


async def test_an_overloaded_error_mid_stream_is_surfaced(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude-overloaded")) as app:
        last = _named((await app.post(_body(stream=True), path=MESSAGES)).body)[-1]
        assert last["error"] == {"type": "overloaded_error", "message": "Overloaded"}
        chat = await app.chat("m", stream=True)
        assert b"Overloaded" in events_of(chat.body)[-1]
        assert b"[DONE]" not in chat.body
        assert await app.metric("gateway_upstream_errors_total", kind="upstream_stream_error") == 2


async def test_a_stream_cut_short_ends_in_an_error_event(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude-cut")) as app:
        events = _named((await app.post(_body(stream=True), path=MESSAGES)).body)
        chat = await app.chat("m", stream=True)
    assert events[-1]["type"] == "error"
    assert b"[DONE]" not in chat.body
    assert b'"error"' in events_of(chat.body)[-1]


async def test_an_error_as_the_first_event_falls_back(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_claude(upstream, "claude-overloaded-at-once", "fine")) as app:
        events = _named((await app.post(_body(stream=True), path=MESSAGES)).body)
        assert text_of(events_of((await app.chat("m", stream=True)).body)) == "fine"
    assert any(event["type"] == "content_block_delta" for event in events)
    assert events[-1]["type"] == "message_stop"


async def test_silence_is_filled_with_anthropics_pings(tmp_path, upstream):
    models = _claude(upstream, "pausing@0.5")
    async with running_app(tmp_path, model_list=models, upstream={"keepalive_s": 0.1}) as app:
        body = (await app.post(_body(stream=True), path=MESSAGES)).body
    assert any(event["type"] == "ping" for event in _named(body))
    assert not any(line.startswith(b":") for line in body.splitlines())


async def test_a_keepalive_that_begins_the_stream_loses_no_warning(tmp_path, upstream):
    models = _claude(upstream, "slow-start@0.5")
    async with running_app(tmp_path, model_list=models, upstream={"keepalive_s": 0.1}) as app:
        response = await app.post(_body(stream=True, container="c"), path=MESSAGES)
    assert b"ping" in response.body.partition(b"message_start")[0]
    assert response.header("x-gateway-warnings") == "container"


async def test_warnings_of_who_answers_after_a_keepalive_are_a_comment(tmp_path, upstream):
    models = _claude(upstream, "slow-failure@0.3", "claude")
    async with running_app(tmp_path, model_list=models, upstream={"keepalive_s": 0.1}) as app:
        answers = [await app.chat("m", stream=True, seed=1) for _ in range(2)]
    # Who is asked first takes turns.
    told = [answer for answer in answers if b": ping" in answer.body]
    assert told
    for answer in told:
        assert answer.header("x-gateway-warnings") is None
        assert b"\n\n: x-gateway-warnings: seed\n\ndata: {" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")


# --- what is scanned


async def test_answers_are_scanned_in_the_callers_dialect(tmp_path):
    scan = {"request": None, "response": {"pii": "redact"}}
    messages = [{"role": "user", "content": "write to jane.roe@example.com today"}]
    async with running_app(tmp_path, scan=scan) as app:
        response = await app.post(_body("tollhouse/echo", stream=True, messages=messages), path=MESSAGES)
    deltas = [event["delta"] for event in _named(response.body) if event["type"] == "content_block_delta"]
    text = "".join(delta["text"] for delta in deltas)
    assert "jane" not in text
    assert text.startswith("write to ")
    assert text.endswith(" today")


# --- counting


async def test_counts_are_anthropics_own_where_it_serves(tmp_path, upstream):
    body = b'{"model":"claude", "messages":%b}' % orjson.dumps(HELLO)
    async with running_app(tmp_path, model_list=_claude(upstream, "claude", name="claude")) as app:
        response = await app.post(body, path=COUNT)
    assert response.json == {"input_tokens": 123}
    assert (upstream.log.requests[0].path, upstream.log.requests[0].body) == (COUNT, body)


@pytest.mark.parametrize("words", [1, 20_000], ids=["short", "long"])
async def test_counts_are_made_here_where_the_upstream_has_none(tmp_path, upstream, words):
    messages = [{"role": "user", "content": "hello " * words}]
    async with running_app(tmp_path, model_list=_claude(upstream, "fine")) as app:
        response = await app.post({"model": "m", "messages": messages, "tools": TOOLS}, path=COUNT)
    assert words <= response.json["input_tokens"] <= words + 60
    assert upstream.log.requests == []


@pytest.mark.parametrize("upstream_name", ["claude", "fine"])
async def test_counts_are_requests_that_cost_nothing(tmp_path, upstream, upstream_name):
    """Not even where nobody knows what the model costs."""
    keys = [{"name": "slow", "key": KEY, "limits": {"rpm": 2, "tpm": 1}, "budget": {"usd": "0.000001"}}]
    async with running_app(tmp_path, model_list=_claude(upstream, upstream_name), keys=keys) as app:
        for _ in range(2):
            response = await app.post(_body(), path=COUNT)
            assert response.status == 200, response.body
        _fault(await app.post(_body(), path=COUNT), 429, "rate_limit_error")
        admin = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        spent = (await app.send("/admin/usage?by=model", key=None, headers=admin)).json
    assert [(row["requests"], float(row["cost_usd"]), row["unpriced"]) for row in spent["data"]] == [(2, 0, 0)]


# --- money

CLAUDE_PRICE = {"anthropic/*": {"input": "1", "output": "10"}}


@pytest.mark.parametrize(("most", "thinking"), [(2000, {"type": "enabled", "budget_tokens": 1024}), (500, None)])
async def test_thoughts_fit_into_what_a_budget_leaves(tmp_path, upstream, most, thinking):
    """Anthropic refuses a budget for thoughts that is not below `max_tokens`."""
    money = {"usd": f"{most * 10 / 1e6 + 0.0006:f}"}
    keys = [{"name": "paid", "key": KEY, "budget": money}]
    asked = {"type": "enabled", "budget_tokens": 6000}
    async with running_app(tmp_path, model_list=_claude(upstream, "claude"), prices=CLAUDE_PRICE, keys=keys) as app:
        response = await app.post(_body(max_tokens=8000, thinking=asked), path=MESSAGES)
    assert response.status == 200, response.body
    sent = upstream.log.requests[0].json
    assert most / 2 < sent["max_tokens"] < most * 1.2
    if thinking is None:
        assert sent["thinking"] == {"type": "disabled"}
    else:
        assert 1024 <= sent["thinking"]["budget_tokens"] < sent["max_tokens"]


@pytest.mark.parametrize("path", [MESSAGES, "/v1/chat/completions"])
async def test_what_breaks_off_costs_more_than_its_first_report_says(tmp_path, upstream, path):
    """`message_start` tells one token of output, whatever follows."""
    keys = [{"name": "paid", "key": KEY, "budget": {"usd": "1"}}]
    models = _claude(upstream, "claude-long-cut")
    async with running_app(tmp_path, model_list=models, prices=CLAUDE_PRICE, keys=keys) as app:
        await app.post(_body(stream=True), path=path)
        admin = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        row = (await app.send("/admin/usage?by=status", key=None, headers=admin)).json["data"][0]
    assert row["status"] == "incomplete"
    # 800 bytes were said, at most a token each; the bound of the request was 1,000 tokens.
    assert 0.008 <= float(row["cost_usd"]) <= 0.0101


async def test_what_is_asked_to_be_fast_costs_what_that_does(tmp_path, upstream):
    keys = [{"name": "paid", "key": KEY, "budget": {"usd": "1"}}]
    models = _claude(upstream, "claude")
    models[0]["model_info"] = {"base_model": "anthropic/claude-opus-5"}
    costs = []
    async with running_app(tmp_path, model_list=models, keys=keys) as app:
        asks: list[dict[str, Any]] = [{}, {"speed": "standard"}, {"speed": "fast"}]
        for more in asks:
            answer = await app.post(_body(**more), path=MESSAGES)
            costs.append(float(answer.header("x-gateway-cost-usd") or 0))
    assert 0 < costs[0] == costs[1]
    assert costs[2] == pytest.approx(2 * costs[0])


@pytest.mark.parametrize(
    ("asked", "least", "most"), [({"type": "enabled", "budget_tokens": 6000}, 0.08, 0.081), (None, 0.0, 0.001)]
)
async def test_thoughts_that_nobody_saw_cost_more_than_the_first_report_says(
    tmp_path, upstream, monkeypatch, asked, least, most
):
    monkeypatch.setattr(quota, "perf_counter_ns", lambda: perf_counter_ns() + 10 * 10**9)
    keys = [{"name": "paid", "key": KEY, "budget": {"usd": "1"}}]
    body = _body(stream=True, max_tokens=8000) | ({"thinking": asked} if asked else {})
    models = _claude(upstream, "claude-begun")
    async with running_app(tmp_path, model_list=models, prices=CLAUDE_PRICE, keys=keys) as app:
        await app.post(body, path=MESSAGES)
        admin = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        row = (await app.send("/admin/usage?by=status", key=None, headers=admin)).json["data"][0]
    assert row["status"] == "incomplete"
    assert least <= float(row["cost_usd"]) <= most


async def test_costs_are_the_same_whichever_dialect_the_caller_speaks(tmp_path, upstream):
    prices = {
        "anthropic/claude": {
            "input": "3.00",
            "cached": "0.30",
            "cache_write": "3.75",
            "cache_write_1h": "6.00",
            "output": "15.00",
        }
    }
    budget = [{"name": "paid", "key": KEY, "budget": {"usd": "10", "window": "1d"}}]
    sections = {"model_list": _claude(upstream, "claude"), "prices": prices, "keys": budget}
    costs = []
    async with running_app(tmp_path, **sections) as app:
        for response in [await app.post(_body(), path=MESSAGES), await app.chat("m")]:
            assert response.status == 200, response.body
            costs.append(response.header("x-gateway-cost-usd"))
        await app.post(_body(stream=True), path=MESSAGES)
        await app.chat("m", stream=True)
        logged = [(line["prompt_tokens"], line["completion_tokens"]) for line in app.log]
        admin = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        spent = (await app.send("/admin/usage?by=model", key=None, headers=admin)).json
    # 10 read anew, 20 from the cache, 3 and 4 written to it, 42 written.
    assert costs == ["0.00070125"] * 2
    assert [(row["requests"], row["cost_usd"]) for row in spent["data"]] == [(4, "0.002805")]
    assert logged == [(37, 42)] * 4
