"""Forwarding over real sockets: which upstream is asked, what it gets, and what the client gets of its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.support import hostile, sse_scripts
from tests.support.app import running_app
from tests.support.chunks import DONE, completion, delta, event, finish, usage
from tests.support.client import CHAT, chat_body, checked_error, events_of, text_of
from tests.support.gateway import MASTER_KEY, NARROW_KEY, model
from tests.support.net import free_port
from tests.support.upstream import Peer, Script, ScriptedUpstream

ANSWER = completion()


async def _error_event(peer: Peer) -> None:
    """A stream whose first event is an error, of the code in the name."""
    await peer.stream_head()
    await peer.chunk(event({"error": {"message": "no place left", "type": "server_error", "code": int(peer.argument)}}))
    await peer.end()


async def _late(peer: Peer) -> None:
    """`late@0.3`: silence for so many seconds, then a good answer."""
    await peer.pause(float(peer.argument))
    await hostile.fine(peer)


async def _late_status(peer: Peer) -> None:
    """`late-status@0.3`: silence, then an error."""
    await peer.pause(float(peer.argument))
    await peer.answer(b'{"error":{"message":"late and bad"}}', status="500 Oops")


async def _late_json(peer: Peer) -> None:
    """`late-json@0.3`: silence, then a whole answer with a status of which no stream is made."""
    await peer.pause(float(peer.argument))
    await peer.answer(ANSWER, status="201 Created")


async def _no_usage(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("x" * 10) + delta("y" * 11) + finish() + DONE)
    await peer.end()


async def _malformed(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("a") + b"data: {oops\n\n" + delta("b") + finish() + usage() + DONE)
    await peer.end()


async def _talkative(peer: Peer) -> None:
    """Headers that concern the client, and some that do not."""
    lines = ["openai-processing-ms: 12", "openai-version: 2020-10-01", "set-cookie: a=b", "server: secret/1.0"]
    await peer.answer(
        ANSWER, *lines, "x-request-id: theirs", "x-ratelimit-limit-requests: 7", "x-gateway-model: forged"
    )


SCRIPTS: dict[str, Script] = hostile.SCRIPTS | {
    "error-event": _error_event,
    "late": _late,
    "late-status": _late_status,
    "late-json": _late_json,
    "pausing": sse_scripts.pausing,
    "no-usage": _no_usage,
    "malformed": _malformed,
    "talkative": _talkative,
}


@pytest.fixture
def upstream():
    with ScriptedUpstream(SCRIPTS) as running:
        yield running


def _models(upstream: ScriptedUpstream, *behaviours: str, name: str = "m") -> list[dict[str, Any]]:
    """Deployments of one model, in the order in which they are asked; each of a provider of its own."""
    providers = ("openai", "vllm", "groq", "mistral", "xai")
    bases = [f"http://127.0.0.1:{free_port()}/v1" if b == "closed-port" else upstream.base_url for b in behaviours]
    return [
        model(name, base, upstream=f"{provider}/{behaviour}", api_key=f"sk-of-{provider}")
        for provider, base, behaviour in zip(providers, bases, behaviours, strict=False)
    ]


def _one(upstream: ScriptedUpstream) -> list[dict[str, Any]]:
    """Whatever the caller asks for."""
    return [model("*", upstream.base_url)]


# --- another upstream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        ("status@500", "http_500"),
        ("status@503", "http_503"),
        ("status@429", "http_429"),
        ("closed-port", "upstream_unreachable"),
        ("close-at-once", "upstream_truncated"),
        ("bad-chunk-size", "upstream_protocol"),
        ("gzip", "upstream_encoding"),
    ],
)
async def test_the_next_upstream_is_asked_when_the_first_fails(tmp_path, upstream, failing, kind, stream):
    async with running_app(tmp_path, model_list=_models(upstream, failing, "fine")) as app:
        response = await app.chat("m", stream=stream)
        assert response.status == 200
        text = text_of(events_of(response.body)) if stream else response.json["choices"][0]["message"]["content"]
        assert text == "fine"
        assert (response.header("x-gateway-model"), response.header("x-gateway-provider")) == ("m", "vllm")
        assert [len(upstream.log.of(name)) for name in (failing, "fine")] == [int(failing != "closed-port"), 1]
        assert await app.metric("gateway_upstream_errors_total", model="m", provider="openai", kind=kind) == 1
        assert await app.metric("gateway_upstream_errors_total") == 1
        assert upstream.log.of("fine")[0].headers["authorization"] == "Bearer sk-of-vllm"


async def test_a_stream_that_begins_with_an_error_counts_as_failed(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "error-event@503", "fine")) as app:
        response = await app.chat("m", stream=True)
        assert (response.status, text_of(events_of(response.body))) == (200, "fine")
        assert await app.metric("gateway_upstream_errors_total", kind="upstream_stream_error") == 1


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_the_callers_own_mistakes_are_not_tried_elsewhere(tmp_path, upstream, status):
    async with running_app(tmp_path, model_list=_models(upstream, f"status@{status}", "fine")) as app:
        response = await app.chat("m")
        assert response.status == status
        error = checked_error(response.body, str(status))
        assert error["message"] == f"upstream says {status}"
        assert not upstream.log.of("fine")


async def test_after_the_first_byte_no_other_upstream_is_asked(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "reset-mid-stream", "fine")) as app:
        response = await app.chat("m", stream=True)
        events = events_of(response.body)
        assert (response.status, text_of(events[:1])) == (200, "a")
        checked_error(events[-1])
        assert b"[DONE]" not in response.body
        assert not upstream.log.of("fine")
        assert app.log[-1]["error"].startswith("upstream_")


async def test_a_whole_answer_that_breaks_off_is_tried_elsewhere_and_never_shown(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "reset-mid-body", "length-short", "fine")) as app:
        response = await app.chat("m")
        assert (response.status, response.json["choices"][0]["message"]["content"]) == (200, "fine")


async def test_when_all_fail_the_last_answer_is_told(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "status@500", "closed-port", "status@429")) as app:
        response = await app.chat("m")
        assert (response.status, response.header("retry-after")) == (429, "7")
        assert checked_error(response.body)["message"] == "upstream says 429"
        assert await app.metric("gateway_upstream_errors_total") == 3
    async with running_app(tmp_path, model_list=_models(upstream, "status@500", "closed-port")) as app:
        response = await app.chat("m")
        assert response.status == 502
        assert "127.0.0.1" in checked_error(response.body, "upstream_unreachable")["message"]
        assert await app.metric("gateway_requests_total", model="m", provider="", status="502") == 0
        assert await app.metric("gateway_requests_total", model="m", status="502") == 1


async def test_at_most_three_are_asked(tmp_path, upstream):
    behaviours = ("status@500", "status@501", "status@502", "fine")
    async with running_app(tmp_path, model_list=_models(upstream, *behaviours)) as app:
        assert (await app.chat("m")).status == 502
        assert [seen.model for seen in upstream.log.requests] == list(behaviours[:3])


async def test_turns_are_taken(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "fine", "fine")) as app:
        providers = [(await app.chat("m")).header("x-gateway-provider") for _ in range(4)]
        assert providers == ["openai", "vllm", "openai", "vllm"]


async def test_a_stale_connection_costs_one_more_try_at_the_same_upstream(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        assert (await app.chat("close-idle")).status == 200
        assert (await app.chat("close-idle")).status == 200
        assert [seen.connection for seen in upstream.log.requests] == [1, 1, 2]
        assert await app.metric("gateway_upstream_errors_total") == 0


async def test_an_idle_connection_that_was_closed_is_not_used(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        for _ in range(3):
            assert (await app.chat("fine")).status == 200
            upstream.drop_idle_connections()
        assert len(upstream.log.requests) >= 3
        assert await app.metric("gateway_upstream_errors_total") == 0


async def test_a_full_upstream_is_503_with_retry_after(tmp_path, upstream):
    section = {"max_in_flight": 1, "queue_wait_s": 0.05}
    async with running_app(tmp_path, model_list=_one(upstream), upstream=section) as app:
        holding = app.client(CHAT, body=chat_body("hang"))
        task = asyncio.create_task(holding.run())
        while not upstream.log.requests:
            await asyncio.sleep(0.005)
        response = await app.chat("fine")
        assert (response.status, response.header("retry-after")) == (503, "1")
        assert checked_error(response.body, "upstream_busy")["type"] == "server_error"
        holding.disconnect()
        await asyncio.wait_for(task, 5)


# --- what goes upstream


async def test_headers_go_upstream_only_if_they_are_listed(tmp_path, upstream):
    passing = {
        "openai-beta": "assistants=v2",
        "idempotency-key": "once",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1",
    }
    staying = {
        "cookie": "session=1",
        "x-api-key": NARROW_KEY,
        "x-admin-api-key": "root",
        "proxy-authorization": "Basic eA==",
        "openai-organization": "theirs",
        "connection": "keep-alive, x-secret",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "upgrade": "h2c",
        "x-secret": "s",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "user-agent": "curl/8",
        "accept-encoding": "gzip",
        "expect": "100-continue",
    }
    headers = [(name.encode(), value.encode()) for name, value in (passing | staying | {"x-request-id": "r-1"}).items()]
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        response = await app.chat("fine", key=None, headers=[*headers[:4], *headers[5:]])
        assert response.status == 403, "the key in x-api-key may use another model only"
        response = await app.chat("fine", key=MASTER_KEY, headers=[h for h in headers if h[0] != b"x-api-key"])
        assert response.status == 200
        (seen,) = upstream.log.requests
        own = {
            "host": f"127.0.0.1:{upstream.port}",
            "authorization": "Bearer sk-up",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "x-request-id": "r-1",
            "content-length": str(len(seen.body)),
        }
        assert {name: seen.headers[name] for name in own} == own
        assert set(seen.headers) - {"user-agent", "accept"} == set(own) | set(passing)
        assert {name: seen.headers[name] for name in passing} == passing
        assert seen.headers.get("user-agent") != "curl/8"
        for secret in (MASTER_KEY, NARROW_KEY, "session=1", "root"):
            assert secret.encode() not in seen.head


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            b'{ "messages":[ {"content":"\\u00e9\\n\xc3\xa9" , "role":"user"}],\r\n\t"model" : "fine"}',
        ),
        ("/v1/completions", b'{"prompt":["a", [1,2]],"model":"fine","x":1e2,"y":-0.0,"z":12345678901234567890123}'),
        ("/v1/embeddings", b'  {"model":"fine","input":"\\ud83d\\ude00"}  '),
    ],
)
async def test_an_unmodified_body_is_byte_identical(tmp_path, upstream, path, body):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        assert (await app.post([body[:7], body[7:]], path=path)).status == 200
        (seen,) = upstream.log.requests
        assert (seen.body, seen.path) == (body, path)


async def test_a_large_body_is_byte_identical(tmp_path, upstream):
    body = orjson.dumps(chat_body("fine", content="0123456789" * 100_000))
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        assert (await app.post([body[i : i + 65536] for i in range(0, len(body), 65536)])).status == 200
        assert upstream.log.requests[0].body == body


async def test_only_the_model_and_the_usage_option_are_changed(tmp_path, upstream):
    body = b'{"stream" :true, "model":"m",  "messages":[{"role":"user","content":"model m"}]}'
    async with running_app(tmp_path, model_list=_models(upstream, "fine")) as app:
        response = await app.post(body)
        assert response.status == 200
        sent = upstream.log.requests[0].body
        assert orjson.loads(sent) == orjson.loads(body) | {"model": "fine", "stream_options": {"include_usage": True}}
        added = b'"stream_options":{"include_usage":true},'
        assert sent.replace(added, b"", 1) == body.replace(b'"m",', b'"fine",', 1)


async def test_a_pattern_sends_what_it_stands_for(tmp_path, upstream):
    async with running_app(tmp_path, model_list=[model("local/*", upstream.base_url)]) as app:
        response = await app.chat("local/fine")
        assert (response.status, response.header("x-gateway-model")) == (200, "local/fine")
        assert upstream.log.requests[0].model == "fine"
        assert app.log[-1]["model"] == "local/*", "labels are bounded"


# --- what comes back


async def test_headers_come_back_only_if_they_are_listed(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        response = await app.chat("talkative", headers=[(b"x-request-id", b"mine")])
        names = {name.decode() for name, _ in response.headers}
        assert names == {
            "content-type",
            "content-length",
            "openai-processing-ms",
            "openai-version",
            "x-request-id",
            "x-gateway-decision",
            "x-gateway-guards",
            "x-gateway-cache",
            "x-gateway-model",
            "x-gateway-provider",
            "x-gateway-overhead-us",
        }
        assert (response.header("x-request-id"), response.header("x-gateway-model")) == ("mine", "talkative")
        assert response.body == ANSWER


@pytest.mark.parametrize("wanted", [False, True])
async def test_the_usage_chunk_reaches_only_who_asked_for_it(tmp_path, upstream, wanted):
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if wanted else {}
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        response = await app.chat("fine", stream=True, **more)
        expected = [delta("fi"), delta("ne"), finish(), usage(), DONE]
        assert response.body == b"".join(piece for piece in expected if wanted or piece != usage())
        assert (app.log[-1]["prompt_tokens"], app.log[-1]["completion_tokens"]) == (7, 3)
        assert await app.metric("gateway_tokens_total", kind="completion", model="*", provider="openai") == 3


async def test_usage_is_estimated_where_an_upstream_tells_none(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        body = orjson.dumps(chat_body("no-usage", stream=True))
        assert (await app.post(body)).status == 200
        line = app.log[-1]
        assert line["usage_estimated"] is True
        assert (line["prompt_tokens"], line["completion_tokens"]) == (len(body) // 4, 6)  # 21 bytes, rounded up
        assert (await app.chat("fine", stream=True)).status == 200
        assert "usage_estimated" not in app.log[-1]


async def test_events_that_are_no_json_are_skipped_and_counted(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        response = await app.chat("malformed", stream=True)
        assert text_of([e for e in events_of(response.body) if e.startswith(b'{"id')]) == "ab"
        assert await app.metric("gateway_upstream_malformed_events_total", model="*", provider="openai") == 1


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [(401, 502, "upstream_auth"), (403, 502, "upstream_auth"), (302, 502, "upstream_redirect")],
)
async def test_what_concerns_only_the_gateway_is_a_bad_gateway(tmp_path, upstream, status, told, code):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        response = await app.chat(f"status@{status}")
        assert response.status == told
        checked_error(response.body, code)
        assert response.header("location") is None


async def test_an_error_at_the_start_of_a_stream_has_its_own_status(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        for code, status in ((429, 429), (503, 503), (401, 502)):
            response = await app.chat(f"error-event@{code}", stream=True)
            assert response.status == status
            assert checked_error(response.body, "upstream_stream_error")["message"] == "no place left"


# --- signs of life

SOON = {"keepalive_s": 0.1}
PING = b": ping\n\n"


async def test_a_silent_upstream_makes_pings_and_then_the_stream(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), upstream=SOON) as app:
        response = await app.chat("late@0.5", stream=True)
        assert (response.status, response.header("content-type")) == (200, "text/event-stream; charset=utf-8")
        assert response.header("x-gateway-decision") == "ALLOWED"
        assert response.chunks[0] == PING
        assert response.body.replace(PING, b"") == delta("fi") + delta("ne") + finish() + DONE


async def test_silence_in_the_middle_makes_pings(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), upstream=SOON) as app:
        response = await app.chat("pausing@0.5", stream=True)
        assert PING in response.body
        assert response.body.startswith(delta("a"))
        assert response.body.replace(PING, b"") == delta("a") + delta("b") + finish() + DONE


async def test_whole_answers_get_no_pings(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), upstream=SOON) as app:
        response = await app.chat("late@0.4")
        assert (response.status, response.body) == (200, ANSWER)


async def test_after_a_ping_another_upstream_may_still_answer(tmp_path, upstream):
    models = _models(upstream, "late-status@0.4", "fine")
    async with running_app(tmp_path, model_list=models, upstream=SOON) as app:
        response = await app.chat("m", stream=True)
        assert (response.status, response.chunks[0]) == (200, PING)
        assert text_of(events_of(response.body)) == "fine"


@pytest.mark.parametrize("behaviour", ["late-status@0.4", "late-json@0.4", "hang"])
async def test_after_a_ping_a_failure_is_an_error_event(tmp_path, upstream, behaviour):
    section = SOON | {"first_event_s": 0.8}
    async with running_app(tmp_path, model_list=_one(upstream), upstream=section) as app:
        response = await app.chat(behaviour, stream=True)
        assert (response.status, response.chunks[0]) == (200, PING)
        (told,) = events_of(response.body)
        checked_error(told)
        assert b"[DONE]" not in response.body
        assert app.log[-1]["error"]
        assert await app.metric("gateway_upstream_errors_total") == len(upstream.log.requests)


# --- clients that go


@pytest.mark.parametrize(("behaviour", "stream"), [("ticking@20", True), ("hang", False), ("hang", True)])
async def test_the_upstream_is_left_when_the_client_goes(tmp_path, upstream, behaviour, stream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        client = app.client(CHAT, body=chat_body(behaviour, stream=stream))
        task = asyncio.create_task(client.run())
        if behaviour == "hang":
            while not upstream.log.requests:
                await asyncio.sleep(0.005)
        else:
            await asyncio.wait_for(client.received.wait(), 5)
        client.disconnect()
        await asyncio.wait_for(task, 5)
        (seen,) = upstream.log.requests
        async with asyncio.timeout(5):
            while seen.closed_at is None and upstream.log.open:
                await asyncio.sleep(0.005)
        line = app.log[-1]
        assert (line["error"], line["status"]) == ("client_disconnected", 200 if behaviour != "hang" else 499)
        assert await app.metric("gateway_requests_in_flight") == 1, "the one that asks"
        assert not app.asgi.state.lifecycle.calls


async def test_at_the_deadline_of_a_shutdown_streams_end_with_an_error_event(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream)) as app:
        client = app.client(CHAT, body=chat_body("ticking@20", stream=True))
        whole = app.client(CHAT, body=chat_body("hang"))
        tasks = [asyncio.create_task(each.run()) for each in (client, whole)]
        await asyncio.wait_for(client.received.wait(), 5)
        while len(app.asgi.state.lifecycle.calls) < 2:
            await asyncio.sleep(0.005)
        app.asgi.state.lifecycle.end_calls()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        checked_error(events_of(client.response.body)[-1], "server_shutting_down")
        assert (whole.response.status, whole.response.header("retry-after")) == (503, "1")
        checked_error(whole.response.body, "server_shutting_down")
        assert await app.asgi.state.lifecycle.ended(1)
