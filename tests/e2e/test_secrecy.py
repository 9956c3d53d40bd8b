"""Canary secrets, planted wherever a secret or a prompt can stand, turn up nowhere but where they belong.

Everything is logged that can be (LOG_LEVEL=debug), in both formats, while requests succeed, fail, break off and are
malformed in every way that a log line or an error message might want to quote.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.chunks import delta, event, tool_delta
from tests.support.client import Answer, Stream, chat_body, post, raw, request_bytes, stream_chat
from tests.support.eris import Eris
from tests.support.gateway import Gateway, echo_only, model, running_gateway
from tests.support.net import process_tree, wait_until
from tests.support.policies import ANYTHING, section
from tests.support.upstream import Peer, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.upstream import Script


def _canary(name: str, length: int = 48) -> str:
    letters = string.ascii_letters + string.digits
    return f"canary{name}".ljust(length // 2, "x") + "".join(
        secrets.choice(letters) for _ in range(length - length // 2)
    )


CALLER_SECRET = _canary("caller")
CALLER = f"sk-th-callerscalle-{CALLER_SECRET}"
REVOKED_SECRET = _canary("wrong")
MASTER = f"sk-{_canary('master')}"
UPSTREAM_KEY = f"sk-{_canary('upstreamkey')}"
ENVIRONMENT_KEY = f"sk-{_canary('environment')}"
PROMPT = _canary("prompt")
HEADER = _canary("header")
QUERY = _canary("query")
PATH = _canary("path")
ANSWER = _canary("answer")
# An upstream's error message is meant for the caller, but for nobody's logs.
ERROR_TEXT = _canary("errortext")
UPSTREAM_JUNK = _canary("junk")
ERIS_TOKEN = _canary("eristoken")
TOOL = _canary("tool")

NEVER_IN_LOGS = {
    "the caller's key": CALLER_SECRET,
    "a key that is wrong": REVOKED_SECRET,
    "the master key": MASTER,
    "the upstream's key": UPSTREAM_KEY,
    "a key of the environment": ENVIRONMENT_KEY,
    "the prompt": PROMPT,
    "a header": HEADER,
    "the query": QUERY,
    "the path": PATH,
    "the answer": ANSWER,
    "the upstream's error message": ERROR_TEXT,
    "what an upstream sent besides": UPSTREAM_JUNK,
    "the token of the receipts' service": ERIS_TOKEN,
    "a tool's name": TOOL,
}
NEVER_IN_ERRORS = {name: value for name, value in NEVER_IN_LOGS.items() if value != ERROR_TEXT}
NEVER_UPSTREAM = (CALLER_SECRET, REVOKED_SECRET, MASTER, ENVIRONMENT_KEY, HEADER, QUERY, ERIS_TOKEN)


async def _answers(peer: Peer) -> None:
    if peer.seen.json.get("stream"):
        await peer.stream_head(f"x-junk: {UPSTREAM_JUNK}")
        await peer.chunk(delta(ANSWER) + b"data: [DONE]\n\n")
        await peer.end()
    else:
        body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}}]}
        await peer.answer(orjson.dumps(body), f"x-junk: {UPSTREAM_JUNK}", f"set-cookie: {UPSTREAM_JUNK}")


async def _fails(peer: Peer) -> None:
    fault = {"error": {"message": ERROR_TEXT, "type": "server_error", "code": None}}
    await peer.answer(orjson.dumps(fault), f"x-junk: {UPSTREAM_JUNK}", status=f"{peer.argument} {UPSTREAM_JUNK}")


async def _refuses_our_key(peer: Peer) -> None:
    """As OpenAI does: the message quotes the key."""
    fault = {"error": {"message": f"Incorrect API key provided: {UPSTREAM_KEY}", "code": "invalid_api_key"}}
    await peer.answer(orjson.dumps(fault), status=f"{peer.argument} Whatever")


async def _is_no_json(peer: Peer) -> None:
    await peer.answer(f"<html>{UPSTREAM_JUNK}</html>".encode(), status=f"{peer.argument} Whatever")


async def _is_no_http(peer: Peer) -> None:
    await peer.send(f"{UPSTREAM_JUNK} {peer.seen.body!r}\r\n\r\n".encode())
    peer.close()


async def _has_a_bad_header(peer: Peer) -> None:
    await peer.head(f"{UPSTREAM_JUNK} : x", "content-length: 2")


async def _has_a_bad_chunk(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta(ANSWER))
    await peer.send(f"{UPSTREAM_JUNK}\r\n".encode())


async def _streams_junk(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("a") + f"data: {{{UPSTREAM_JUNK}\n\n".encode() + delta(ANSWER) + b"data: [DONE]\n\n")
    await peer.end()


async def _breaks_a_tool_call(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(tool_delta("{", name="f") + f'data: {{"tool_calls":{UPSTREAM_JUNK}\n\n'.encode())
    await peer.end()


async def _fails_mid_stream(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta(ANSWER) + event({"error": {"message": ERROR_TEXT, "type": "overloaded_error"}}))
    await peer.end()


async def _resets(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta(ANSWER))
    await asyncio.sleep(0.02)
    peer.reset()


async def _hangs(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta(ANSWER))
    await peer.until_gone()


SCRIPTS: dict[str, Script] = {
    "answers": _answers,
    "fails": _fails,
    "refuses-our-key": _refuses_our_key,
    "is-no-json": _is_no_json,
    "is-no-http": _is_no_http,
    "has-a-bad-header": _has_a_bad_header,
    "has-a-bad-chunk": _has_a_bad_chunk,
    "streams-junk": _streams_junk,
    "breaks-a-tool-call": _breaks_a_tool_call,
    "fails-mid-stream": _fails_mid_stream,
    "resets": _resets,
    "hangs": _hangs,
}
FAILURES = [
    *(f"fails@{status}" for status in (400, 404, 429, 500, 503)),
    *(f"refuses-our-key@{status}" for status in (200, 401, 403)),
    *(f"is-no-json@{status}" for status in (200, 500)),
    "is-no-http",
    "has-a-bad-header",
    "has-a-bad-chunk",
    "streams-junk",
    "breaks-a-tool-call",
    "fails-mid-stream",
    "resets",
    "hangs",
]
MESSAGES = f'"messages":[{{"role":"user","content":"{PROMPT}"}}]'
MALFORMED = [
    f'{{"model":"tollhouse/echo",{MESSAGES}',
    f'{{"model":"tollhouse/echo",{MESSAGES}}} {PROMPT}',
    f'{{"model":"tollhouse/echo","temperature":NaN,{MESSAGES}}}',
    f'{{"model":"tollhouse/echo","{PROMPT}":1,"{PROMPT}":2,{MESSAGES}}}',
    f'{{"model":"tollhouse/echo","stream":"{PROMPT}",{MESSAGES}}}',
    f'{{"model":"tollhouse/echo","max_tokens":"{PROMPT}",{MESSAGES}}}',
    f'{{"model":"tollhouse/echo","messages":"{PROMPT}"}}',
    f'{{"model":"tollhouse/echo","messages":["{PROMPT}"]}}',
    f'{{"model":"tollhouse/echo","messages":[{{"role":"user","content":"{PROMPT}\\ud800"}}]}}',
    f'{{"model":["{PROMPT}"],{MESSAGES}}}',
    f'{{"model":"tollhouse/echo","tools":[{{"{PROMPT}":1}}],"tool_choice":"required",{MESSAGES}}}',
    f"{PROMPT}",
    "",
]


@dataclass
class Evidence:
    """Where secrets could have ended up."""

    output: str
    metrics: str
    commands: str
    state: bytes
    errors: list[Answer] = field(default_factory=list)
    created_key: str = ""
    requests: int = 0
    upstream_saw: bytes = b""
    receipts: list[bytes] = field(default_factory=list)  # as the service that collects them got them


@pytest.fixture(
    scope="module",
    params=[("builtin", "json"), ("granian", "json"), ("uvicorn", "text")],
    ids=["builtin", "granian", "uvicorn"],
)
def evidence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """Run all of it once per server; the tests below look at what is left."""
    server, log_format = request.param
    env = {
        "LLM_GATEWAY_LOG_LEVEL": "debug",
        "LLM_GATEWAY_LOG_FORMAT": log_format,
        "LLM_GATEWAY_ANTHROPIC_API_KEY": ENVIRONMENT_KEY,
    }
    folder = tmp_path_factory.mktemp("policy")
    with ScriptedUpstream(SCRIPTS) as upstream, Eris() as eris:
        config = echo_only(
            policy=section(folder, {"id": "all", "effect": "allow", "tools": ["f"]}, shadow=[ANYTHING]),
            receipts={"eris": {"url": eris.url, "token": ERIS_TOKEN}},
            keys=[{"name": "caller", "key": CALLER}],
            general_settings={"master_key": MASTER},
            model_list=[model("up/*", upstream.base_url, api_key=UPSTREAM_KEY)],
            upstream={"idle_s": 0.4, "first_event_s": 0.4},
            body={"read_timeout_s": 0.5},
        )
        with running_gateway(config, server=server, env=env) as gateway:
            gateway.key = CALLER
            answers, created = _everything(gateway)
            gateway.wait_idle()
            metrics = gateway.get("/metrics")[1].decode()
            commands = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in process_tree(gateway.pid))
            if server != "uvicorn":
                _reload_with_a_bad_configuration(gateway)
            gateway.stop()
            state = b"".join(path.read_bytes() for path in (gateway.folder / "state").rglob("*") if path.is_file())
            yield Evidence(
                output=gateway.output,
                metrics=metrics,
                commands=commands,
                state=state,
                errors=[answer for answer in answers if answer.status >= 400 or b'"error"' in answer.body],
                created_key=created,
                requests=len(answers),
                upstream_saw=b"".join(seen.head for seen in upstream.log.requests),
                receipts=[orjson.dumps(one) for one in eris.receipts.values()],
            )


def _everything(gateway: Gateway) -> tuple[list[Answer], str]:
    """All answers, and the key that was created on the way."""
    extra = {"x-custom": HEADER, "cookie": f"session={HEADER}", "user-agent": HEADER, "referer": f"http://{HEADER}/"}

    def ask(name: str, *, stream: bool = False, **more: Any) -> Answer:
        body = chat_body(name, stream=stream, content=PROMPT, user=PROMPT, **more)
        return post(gateway, body, headers=extra, path=f"/v1/chat/completions?api_key={QUERY}")

    answers = [ask(name, stream=stream) for name in ("tollhouse/echo", "up/answers") for stream in (False, True)]
    answers += [ask(f"up/{name}", stream=stream) for name in FAILURES for stream in (False, True)]
    answers += [ask("no-such-model"), ask("up/answers", tools=PROMPT)]
    answers += [ask("up/answers", tools=[{"type": "function", "function": {"name": TOOL}}])]
    answers += [post(gateway, body.encode(), headers=extra) for body in MALFORMED]
    answers += [post(gateway, {"model": "tollhouse/echo", "input": PROMPT}, path="/v1/embeddings", headers=extra)]

    # Keys that are wrong, in every place where a key can stand.
    wrong = f"sk-th-callerscalle-{REVOKED_SECRET}"
    body = chat_body("tollhouse/echo", content=PROMPT)
    for headers in (
        {"authorization": f"Bearer {wrong}"},
        {"authorization": f"Basic {REVOKED_SECRET}"},
        {"authorization": REVOKED_SECRET},
        {"x-api-key": wrong},
        {"x-request-id": f"{HEADER} and more", "content-encoding": HEADER},
    ):
        answers.append(post(gateway, body, headers=headers))
    answers.append(post(gateway, body, path=f"/v1/{PATH}?{QUERY}"))
    answers.append(post(gateway, b"", path=f"/v1/models/{PATH}", method="GET"))

    # The admin's side.
    for headers in ({"x-admin-api-key": REVOKED_SECRET}, {}):
        answers.append(post(gateway, {"name": "x"}, path="/admin/keys", headers=headers))
    made = post(gateway, {"name": "made"}, path="/admin/keys", headers={"x-admin-api-key": MASTER})
    assert made.status == 201, made
    created = made.json["key"]
    answers.append(post(gateway, body, key=created))
    answers.append(post(gateway, {"name": [PROMPT]}, path="/admin/keys", headers={"x-admin-api-key": MASTER}))
    answers.append(post(gateway, b"{" + PROMPT.encode(), path="/admin/keys", headers={"x-admin-api-key": MASTER}))

    # Clients that go away, are slow, or speak no HTTP.
    whole = request_bytes(gateway, chat_body("up/hangs", stream=True, content=PROMPT), headers=extra)
    Stream(gateway, whole).reset()
    Stream(gateway, whole[:-10]).close()
    with stream_chat(gateway, "up/hangs", content=PROMPT) as stream:
        stream.read_some()
    answers.append(raw(gateway, whole[:-10]))
    Stream(gateway, f"GET /{PATH} HTTP/1.1\r\n{HEADER}\r\n\r\n".encode()).close()
    return answers, created


def _reload_with_a_bad_configuration(gateway: Gateway) -> None:
    path = gateway.folder / "config.yaml"
    path.write_text(
        path.read_text() + f"\nlimits: {UPSTREAM_KEY}\nstore: [{MASTER}]\n"
        f"teams: {{api_key: {UPSTREAM_KEY}}}\nscan: {{request: {{pii: {UPSTREAM_KEY}}}}}\n"
    )
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: "is not valid" in gateway.output, what="the supervisor refuses the configuration")


def test_it_did_log(evidence: Evidence) -> None:
    """Or else the tests below would be empty."""
    lines = [line for line in evidence.output.splitlines() if "request_id" in line]
    assert len(lines) >= evidence.requests
    assert len(evidence.errors) > 40


@pytest.mark.parametrize("what", NEVER_IN_LOGS)
def test_logs_metrics_and_process_list_hold_no_secret(evidence: Evidence, what: str) -> None:
    secret = NEVER_IN_LOGS[what]
    for place in (evidence.output, evidence.metrics, evidence.commands):
        at = place.find(secret)
        assert at < 0, place[max(0, at - 300) : at + 100]


@pytest.mark.parametrize("what", NEVER_IN_LOGS)
def test_state_on_disk_holds_no_secret(evidence: Evidence, what: str) -> None:
    assert evidence.state
    assert NEVER_IN_LOGS[what].encode() not in evidence.state


@pytest.mark.parametrize("what", NEVER_IN_LOGS)
def test_receipts_hold_no_secret(evidence: Evidence, what: str) -> None:
    assert len(evidence.receipts) > evidence.requests
    assert not [one for one in evidence.receipts if NEVER_IN_LOGS[what].encode() in one]


@pytest.mark.parametrize("what", NEVER_IN_ERRORS)
def test_errors_quote_no_secret(evidence: Evidence, what: str) -> None:
    secret = NEVER_IN_ERRORS[what].encode()
    for answer in evidence.errors:
        is_whole = answer.status >= 400 or answer.body.startswith(b"{")
        fault = answer.body if is_whole else b"".join(e for e in answer.events if b'"error"' in e)
        assert secret not in fault, answer
        assert secret not in repr(answer.headers).encode(), answer


def test_created_key_is_shown_once(evidence: Evidence) -> None:
    secret = evidence.created_key.rpartition("-")[2]
    assert len(secret) == 48
    assert secret not in evidence.output + evidence.metrics
    assert secret.encode() not in evidence.state


def test_upstreams_see_none_of_the_callers_secrets(evidence: Evidence) -> None:
    assert UPSTREAM_KEY.encode() in evidence.upstream_saw
    for secret in NEVER_UPSTREAM:
        assert secret.encode() not in evidence.upstream_saw
