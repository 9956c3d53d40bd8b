"""A secret of each of fifty kinds, planted in every input while nothing is scanned, turns up in no sink.

What is scanned is another question (tests/llm_gateway): here prompts and answers pass as they are, every service around
the gateway is there, everything is logged that can be, and every request may go wrong on its way.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateway.passthrough.provider import BOUNDARY, form
from tests.support.canaries import Canary, canaries
from tests.support.chunks import DONE, completion, delta, event, finish, tool_delta, usage
from tests.support.client import Answer, Stream, chat_body, post, raw, request_bytes
from tests.support.collector import Collector
from tests.support.gateway import MASTER_KEY, Gateway, echo_only, model, running_gateway
from tests.support.net import process_tree, wait_until
from tests.support.services import street
from tests.support.upstream import Peer, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.services import Street
    from tests.support.upstream import Script

PLANTED = canaries(4711)
# Nobody could say them in a header, an URL or a model's name.
ON_A_LINE = [one for one in PLANTED if "\n" not in one.text and one.text.isascii()]
SERVICES = ("iam", "policy", "data_governance", "budget", "eris", "alerting")
ADMIN: dict[str, Any] = {"x-admin-api-key": MASTER_KEY}


def _of(peer: Peer) -> Canary:
    return PLANTED[int(peer.argument.partition("-")[0])]


def _line(canary: Canary) -> str:
    """What of it fits on one line."""
    return canary.text if canary in ON_A_LINE else canary.core


async def _says(peer: Peer) -> None:
    said, junk = _of(peer).text, f"x-junk: {_line(_of(peer))}"
    if peer.seen.json.get("stream"):
        await peer.stream_head(junk)
        await peer.chunk(delta(said) + tool_delta(orjson.dumps({"a": said}).decode(), name="f") + finish() + usage())
        await peer.chunk(DONE)
        await peer.end()
    else:
        await peer.answer(completion(said), junk, f"set-cookie: s={_line(_of(peer))}")


async def _refuses(peer: Peer) -> None:
    """With everything that it was sent, the key included."""
    fault = {"error": {"message": f"no: {peer.seen.headers['authorization']}", "type": "x", "code": "y"}}
    await peer.answer(orjson.dumps(fault), f"x-junk: {_line(_of(peer))}", status="401 Unauthorized")


async def _fails(peer: Peer) -> None:
    fault = {"error": {"message": "no", "type": _line(_of(peer)), "code": _line(_of(peer)), "param": _of(peer).text}}
    await peer.answer(orjson.dumps(fault), status=f"500 {_line(_of(peer))}")


async def _breaks_off(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta(_of(peer).text))
    peer.reset()


async def _fails_in_between(peer: Peer) -> None:
    await peer.stream_head()
    fault = {"error": {"message": "no", "type": _line(_of(peer)), "code": _line(_of(peer))}}
    await peer.chunk(delta("a") + event(fault))
    await peer.end()


async def _is_no_json(peer: Peer) -> None:
    await peer.answer(_of(peer).text.encode())


async def _streams_junk(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("a") + b"data: {" + _line(_of(peer)).encode() + b"\n\n" + delta("b") + DONE)
    await peer.end()


async def _is_no_http(peer: Peer) -> None:
    await peer.send(_of(peer).text.encode() + b"\r\n\r\n")
    peer.close()


SCRIPTS: dict[str, Script] = {
    "says": _says,
    "refuses": _refuses,
    "fails": _fails,
    "breaks-off": _breaks_off,
    "fails-in-between": _fails_in_between,
    "is-no-json": _is_no_json,
    "streams-junk": _streams_junk,
    "is-no-http": _is_no_http,
}
FAILURES = ("refuses", "fails", "is-no-json", "is-no-http")
IN_STREAMS = ("breaks-off", "fails-in-between", "streams-junk", "is-no-http")


def planted(gateway: Gateway, canary: Canary, number: int) -> Iterator[Answer]:
    """A canary in everything that a caller can say and in everything that an upstream can answer."""
    text, line = canary.text, _line(canary)
    sent = {"x-note": line, "user-agent": line, "cookie": f"id={line}", "referer": line, "x-request-id": f"id {line}"}
    sent |= {"traceparent": line, "tracestate": f"a={line}", "baggage": f"k={line}", "openai-organization": line}
    query = "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):02X}" for c in line)
    call = {"id": line, "type": "function", "function": {"name": "f", "arguments": orjson.dumps({"a": text}).decode()}}
    said = {"role": "user", "content": text, "name": "kim"}
    tool = {"type": "function", "function": {"name": "f", "description": text, "parameters": {"const": text}}}
    rich = {
        "model": f"up/says@{number}",
        "messages": [
            {"role": "system", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": line, "content": text},
            {"role": "user", "content": [{"type": "text", "text": text}]},
        ],
        "tools": [tool],
        "user": line,
        "metadata": {"note": line},
        "stop": [text[:60]],
        "stream": number % 2 == 0,
        line: text,
    }

    def ask(body: Any, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        return post(gateway, body, headers=sent | headers, path=f"{path}?api_key={query}")

    yield ask(rich)
    for name in FAILURES:
        yield ask(chat_body(f"up/{name}@{number}", content=text))
    for name in IN_STREAMS:
        yield ask(chat_body(f"up/{name}@{number}", content=text, stream=True))
    yield ask({"model": f"up/says@{number}", "input": text, "instructions": text}, "/v1/responses")
    yield ask(
        {"model": f"up/says@{number}", "max_tokens": 9, "system": text, "messages": [said | {"name": None}]},
        "/v1/messages",
    )
    yield ask({"model": f"up/fails@{number}", "prompt": text}, "/v1/completions")
    yield ask({"model": f"up/refuses@{number}", "input": [text]}, "/v1/embeddings")
    yield ask({"model": f"up/fails@{number}", "prompt": text}, "/v1/images/generations")
    yield ask({"model": f"up/refuses@{number}", "query": text, "documents": [text]}, "/v1/rerank")
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    for body, path in (
        (form(("purpose", b"batch"), ("file", text.encode(), "in.jsonl")), "/v1/files"),
        (form(("model", f"up/fails@{number}".encode()), ("file", text.encode(), "a.mp3")), "/v1/audio/transcriptions"),
    ):
        yield ask(body, path, **{"content-type": kind})
    wrong: list[Any] = [
        {"model": "tollhouse/echo", "messages": text},
        {"model": "tollhouse/echo", "messages": [said], "max_tokens": line},
        {"model": "tollhouse/echo", "messages": [said], "tools": text},
        {"model": [text], "messages": [said]},
        b'{"model": "tollhouse/echo", "messages": [' + text.encode(),
        b'{"model": "tollhouse/echo", ' + orjson.dumps(line) + b": 1, " + orjson.dumps(line) + b": 2}",
    ]
    for one in wrong:
        yield ask(one)
    # A secret in the place of a name: of no model, and of one that its provider does not know.
    yield ask(chat_body(line, content=text))
    yield ask(chat_body(f"up/refuses@{number}-{line}", content=text))
    yield ask({"model": f"up/refuses@{number}-{line}", "prompt": text}, "/v1/images/generations")
    yield ask(chat_body("tollhouse/echo", content=text), "/v1/nowhere/" + query)
    for headers in ({"authorization": f"Bearer {line}"}, {"authorization": line}, {"x-api-key": line}):
        yield post(gateway, chat_body("tollhouse/echo", content=text), headers=headers)
    yield post(gateway, b"", path=f"/v1/models/{query}", method="GET")
    yield post(gateway, b"", path=f"/v1/files/{query}", method="GET")
    yield post(gateway, b"", path=f"/admin/usage?by={query}", headers=ADMIN, method="GET")
    yield post(gateway, b"", path="/admin/usage", headers={"x-admin-api-key": line}, method="GET")
    yield post(gateway, {"name": {"note": text}, line: text}, path="/admin/keys", headers=ADMIN)
    yield post(gateway, b"", path=f"/admin/keys/{query}", headers=ADMIN, method="DELETE")
    whole = request_bytes(gateway, chat_body("tollhouse/echo", content=text), headers=sent)
    yield raw(gateway, whole.replace(b"content-length", b"content-length: 1\r\ncontent-length"))
    Stream(gateway, f"GET /{line} HTTP/1.1\r\n{line}\r\n\r\n".encode()).close()


@dataclass
class Sinks:
    """All that was told to anybody but callers and models, and the errors that callers were told."""

    texts: dict[str, bytes] = field(default_factory=dict)
    errors: list[tuple[Canary, Answer]] = field(default_factory=list)
    requests: int = 0


def _broken(gateway: Gateway, around: Street) -> list[Answer]:
    """Each service fails in turn while secrets pass."""
    answers = []
    for name in SERVICES:
        for mode in ("error", "garbage", "lie"):
            around.break_(name, mode)
            body = chat_body("tollhouse/echo", content=PLANTED[0].text)
            # Of a tenant of its own, about whom nothing is known yet.
            around.world.tokens[name] = {"sub": name, "tenant": name}
            around.world.classifications[name] = around.world.classifications["default"]
            answers += [post(gateway, body, key=key) for key in (gateway.key, name, PLANTED[0].core)]
        around.mend(name)
    return answers


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sinks]:
    found = Sinks()
    with street() as around, ScriptedUpstream(SCRIPTS) as upstream, Collector() as collector:
        config = _config(around, upstream, collector)
        with running_gateway(config, env={"LLM_GATEWAY_LOG_LEVEL": "debug"}) as gateway:
            for number, canary in enumerate(PLANTED):
                answers = list(planted(gateway, canary, number))
                found.requests += len(answers)
                found.errors += [(canary, one) for one in answers if one.status >= 400]
            answers = _broken(gateway, around)
            found.requests += len(answers)
            found.errors += [(PLANTED[0], one) for one in answers if one.status >= 400]
            gateway.wait_idle()
            wait_until(lambda: around.world.spent and around.world.alerts, what="spending and alerts are told")
            found.texts["metrics"] = gateway.get("/metrics")[1]
            found.texts["admin"] = b"".join(
                gateway.get(path, timeout_s=5.0, **ADMIN)[1]
                for path in ("/admin/keys", "/admin/usage", "/health/ready")
            )
            found.texts["process list"] = b"".join(
                Path(f"/proc/{pid}/cmdline").read_bytes() for pid in process_tree(gateway.pid)
            )
            gateway.stop()
            found.texts["log"] = gateway.output.encode()
            folder = gateway.folder / "state"
            found.texts["ledger"] = _tables(folder / "ledger.db")
            found.texts["receipts"] = b"".join(path.read_bytes() for path in (folder / "receipts").rglob("*.jsonl"))
            found.texts["state"] = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        world = around.world
        found.texts["ERIS"] = orjson.dumps([receipts for _, receipts in world.batches.values()])
        found.texts["spending"] = orjson.dumps(list(world.spent.values()))
        found.texts["alerts"] = orjson.dumps(world.alerts)
        found.texts["traces"] = collector.received.raw
        yield found


def _config(around: Street, upstream: ScriptedUpstream, collector: Collector) -> dict[str, Any]:
    given = around.sections(*SERVICES, ttl_s=60, stale_s=60)
    given["neighbours"]["budget"] |= {"report": True, "fail": "open"}
    given["neighbours"]["iam"]["ttl_s"] = given["neighbours"]["iam"]["stale_s"] = 0.001
    for name, canary in zip(("budget", "eris", "alerting"), PLANTED[3:], strict=False):
        given["neighbours"][name]["token"] = canary.core
    around.world.budgets["default"] = {"allowed": True}
    nothing = dict.fromkeys(("pii", "secrets", "injection"), "allow")
    around.world.classifications["default"] = {"classification": "internal", "request": nothing, "response": nothing}
    keyed = [
        model(f"up/refuses@{number}", upstream.base_url, upstream=f"openai/refuses@{number}", api_key=_line(canary))
        for number, canary in enumerate(PLANTED)
        if " " not in _line(canary)
    ]
    assert len(keyed) > 30
    return echo_only(
        model_list=[*keyed, model("up/*", upstream.base_url)],
        prices={"openai/*": {"input": 1000, "output": 1000}},
        receipts={},
        telemetry=collector.settings(),
        upstream={"idle_s": 1, "first_event_s": 1},
        router_settings={"num_retries": 0, "disable_cooldowns": True},
        **given,
    )


def _tables(path: Path) -> bytes:
    """Every row of every table."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return repr([db.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables]).encode()


def _forms(canary: Canary) -> set[bytes]:
    """As it is, as JSON and as Python would show it."""
    core = canary.core
    return {core.encode(), orjson.dumps(core)[1:-1], repr(core)[1:-1].encode()}


def test_enough_has_happened(sinks: Sinks) -> None:
    """Or else the tests below would be empty."""
    assert len({one.kind for one in PLANTED}) == 50
    assert sinks.requests > 50 * 35
    assert len(sinks.errors) > 50 * 25
    assert {one.status for _, one in sinks.errors} >= {400, 401, 404, 500, 502, 503}
    for name, text in sinks.texts.items():
        assert len(text) > 100, name
    assert sinks.texts["log"].count(b'"msg":"request"') > 50 * 30
    assert sinks.texts["receipts"].count(b'"decision"') > 50 * 30


@pytest.mark.parametrize(
    "sink",
    ["metrics", "admin", "process list", "log", "ledger", "receipts", "state", "ERIS", "spending", "alerts", "traces"],
)
def test_no_sink_holds_a_canary(sinks: Sinks, sink: str) -> None:
    text = sinks.texts[sink]
    held = {
        one.kind: text[max(0, text.find(form) - 150) :][:250] for one in PLANTED for form in _forms(one) if form in text
    }
    assert not held


# What an upstream says of its own failure, and how a caller has called a model that there is not.
_SAID_BY_DESIGN = re.compile(rb'"message":"no","type":.*|the model .* does not exist').sub


def _headers(answer: Answer) -> bytes:
    return repr({name: value for name, value in answer.headers.items() if name != "x-gateway-model"}).encode()


def test_no_error_tells_a_caller_what_others_have_said(sinks: Sinks) -> None:
    """What the caller has called a model is its own word, and is told back where there is none of that name."""
    held = [
        (canary.kind, answer)
        for canary, answer in sinks.errors
        for form in _forms(canary)
        if form in _SAID_BY_DESIGN(b"", answer.body) or form in _headers(answer)
    ]
    assert not held[:3], len(held)
