"""Who is turned away again is told natively: the same as the stages tell, and it is logged and counted alike."""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import Any

import pytest

from tests.gateway.server.fast import PRICES, RANDOM, SCRIPTS, chat, gateway, hanging, ledger, request, served_again
from tests.gateway.server.raw import Response, narrow, until
from tests.gateway.server.test_fast_alike import OF_ITS_OWN as VARYING
from tests.gateway.server.test_fast_alike import TIMES, told_and_logged
from tests.support.gateway import KEY, model
from tests.support.upstream import ScriptedUpstream
from tollhouse._native import FastRequest

WAITS = re.compile(rb"(?<=try again in )[0-9hms.]+")
OF_ITS_OWN = VARYING | {"retry-after-ms"}
STANDING = {"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"}


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was refused natively, and by what."""
    from tollhouse.gateway import fastpath

    seen: list[str] = []

    class Seen:
        """A FastRequest, watched."""

        def __init__(self, found: FastRequest) -> None:
            self._found = found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._found, name)

        def limited(self, *given: Any) -> Any:
            said = self._found.limited(*given)
            seen.extend([] if said is None else ["limited"])
            return said

        def busy(self, *given: Any) -> Any:
            said = self._found.busy(*given)
            seen.extend([] if said is None else ["busy"])
            return said

    init = fastpath.FastPath.__init__

    def watched(self: Any, **given: Any) -> None:
        init(self, **given)
        find = self._find
        self._find = lambda reader: None if (found := find(reader)) is None else Seen(found)

    monkeypatch.setattr(fastpath.FastPath, "__init__", watched)
    return seen


def told(response: Response, *, but: set[str] = OF_ITS_OWN) -> tuple[int, list[tuple[str, str]], bytes]:
    """What a caller sees, but for times."""
    headers = [
        (name, re.sub(r"\d+", "", value) if name in {"retry-after", "content-length"} else value)
        for name, value in response.headers
        if name not in but
    ]
    return response.status, headers, WAITS.sub(b"", response.body)


BODIES: dict[str, dict[str, Any]] = {
    "whole": {},
    "bounded": {"max_tokens": 7},
    "stream": {"stream": True},
    "usage": {"stream": True, "stream_options": {"include_usage": True}},
    "escaped": {"str\\u0065am": True},
}
LIMITS: dict[str, dict[str, Any]] = {
    "requests": {"limits": {"rpm": 4}},
    "tokens": {"limits": {"tpm": 40}},
    "of-the-team": {"team": 'büro "7"', "limits": {"rpm": 1000}},
    "budget-beside": {"limits": {"rpm": 4}, "budget": {"usd": "100"}},
}


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_that_refuses_again_is_told_logged_and_counted_as_the_stages_do(
    tmp_path, upstream, native, limit
):
    sections: dict[str, Any] = {
        "model_list": [model("fine", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, **LIMITS[limit]}],
        "prices": PRICES,
    }
    if limit == "of-the-team":
        sections["teams"] = [{"name": 'büro "7"', "limits": {"rpm": 4}}]
    seen = {}
    for is_fast in (True, False):
        async with gateway(tmp_path / str(is_fast), is_fast=is_fast, **sections) as running:
            answers = [await running.ask(chat("fine"), x_request_id=f"a{n}") for n in range(6)]
            answers += [await running.ask(chat("fine", **more), x_request_id=name) for name, more in BODIES.items()]
            client = await running.running.connect()
            client.send(request(chat("fine"), x_request_id="last", connection="close"))
            answers.append(await client.response())
            assert await client.rest() == b""
            assert [answer.status for answer in answers[-6:]] == [429] * 6
            seen[is_fast] = await told_and_logged(running, [told(answer) for answer in answers])
    assert seen[True] == seen[False]
    assert native == ["limited"] * len(native)
    assert len(native) >= 6
    assert ledger(tmp_path / "True") == ledger(tmp_path / "False")


def _sections(peer: ScriptedUpstream, **more: Any) -> dict[str, Any]:
    return {"model_list": [model("third@hang", peer.base_url), model("fine", peer.base_url)], **more}


async def test_requests_at_once_are_refused_natively_too_and_let_in_when_there_is_room(tmp_path, native):
    seen = {}
    for is_fast in (True, False):
        with ScriptedUpstream(SCRIPTS) as upstream:
            sections = _sections(upstream, keys=[{"name": "k", "key": KEY, "limits": {"parallel": 1}}])
            async with gateway(tmp_path / str(is_fast), is_fast=is_fast, **sections) as running:
                clients = await hanging(running, 1)
                answers = [await running.ask(chat("fine"), x_request_id=f"a{n}") for n in range(4)]
                await served_again(running, clients)
                seen[is_fast] = [told(answer) for answer in answers]
    assert [status for status, _, _ in seen[True]] == [429] * 4
    assert seen[True] == seen[False]
    assert native == ["limited"] * 3


async def test_a_full_queue_is_told_logged_and_counted_as_the_stages_do(tmp_path, native):
    seen = {}
    for is_fast in (True, False):
        with ScriptedUpstream(SCRIPTS) as upstream:
            sections = _sections(
                upstream,
                keys=[{"name": "k", "key": KEY, "limits": {"rpm": 1000}}],
                upstream={"max_in_flight": 1, "queue_wait_s": 60},
            )
            async with gateway(tmp_path / str(is_fast), is_fast=is_fast, **sections) as running:
                clients = await hanging(running, 2)
                answers = [await running.ask(chat("fine", **more), x_request_id=name) for name, more in BODIES.items()]
                lines = [RANDOM.sub(b"", TIMES.sub(b"", line)) for line in running.lines]
                metrics = await running.metrics()
                await served_again(running, clients)
                seen[is_fast] = [told(one, but=OF_ITS_OWN | STANDING) for one in answers], lines, metrics
    assert [status for status, _, _ in seen[True][0]] == [503] * len(BODIES)
    assert seen[True] == seen[False]
    assert native == ["busy"] * len(BODIES)


async def test_where_somebody_else_may_be_asked_a_full_queue_refuses_nobody(tmp_path, upstream, native):
    sections = _sections(
        upstream,
        router_settings={"fallbacks": [{"fine": ["spare"]}]},
        upstream={"max_in_flight": 1, "queue_wait_s": 60},
    )
    elsewhere = upstream.base_url.replace("127.0.0.1", "localhost")
    sections["model_list"].append(model("spare", elsewhere, upstream="openai/fine"))
    async with gateway(tmp_path, **sections) as running:
        clients = await hanging(running, 2)
        assert (await running.ask(chat("fine"))).status == 200
        await served_again(running, clients)
    assert native == []


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("is_rising", [True, False])
@pytest.mark.parametrize("others", [True, False])
async def test_who_would_hold_something_waits_for_no_place_while_there_is_no_time_and_nobody_else_to_be_asked(
    tmp_path, upstream, is_rising, others, is_stream
):
    sections = _sections(upstream, upstream={"max_in_flight": 1, "queue_wait_s": 60})
    if others:
        elsewhere = upstream.base_url.replace("127.0.0.1", "localhost")
        sections["router_settings"] = {"fallbacks": [{"fine": ["spare"]}]}
        sections["model_list"].append(model("spare", elsewhere, upstream="openai/fine"))
    async with gateway(tmp_path, **sections) as running:
        clients = await hanging(running, 1)
        pressure = running.running.server.pressure
        pressure.is_rising, pressure.until = is_rising, monotonic() + 60
        client = await running.running.connect()
        client.send(request(chat("fine", stream=is_stream), x_request_id="mine"))
        if is_rising and not others and is_stream:
            answer = await client.response()
            assert (answer.status, answer.header("x-request-id")) == (503, "mine")
            assert b'"code":"gateway_overloaded"' in answer.body
            assert running.app.state.lifecycle.in_flight == 1
            assert (pressure.let_in, pressure._refused) == (0, 1)
        else:
            await until(lambda: running.app.state.lifecycle.in_flight == 2)
            assert (pressure.let_in, pressure._refused) == (1, 0)
        await served_again(running, [*clients, client])
        assert (await running.ask(chat("fine"))).status == 200


async def test_what_is_refused_is_not_looked_at(tmp_path, upstream, native):
    sections: dict[str, Any] = {
        "model_list": [model("fine", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, "limits": {"rpm": 3}}],
        "scan": {"request": {"pii": "redact"}, "response": None},
    }
    async with gateway(tmp_path, **sections) as running:
        body = chat("fine") | {"messages": [{"role": "user", "content": "kim.doe@example.com"}]}
        assert [(await running.ask(body)).status for _ in range(6)] == [200, 200, 200, 429, 429, 429]
        assert native == ["limited"] * 2
        assert b'"decision":"TRANSFORMED"' in running.lines[3]
        assert b"decision" not in running.lines[5]
        assert b'"error":"rate_limit_exceeded"' in running.lines[5]


async def test_a_name_that_answers_must_not_say_is_not_said(tmp_path, upstream, native):
    sections: dict[str, Any] = {
        "model_list": [model("fine", upstream.base_url)],
        "teams": [{"name": "kim.doe@example.com", "limits": {"rpm": 3}}],
        "keys": [{"name": "k", "key": KEY, "team": "kim.doe@example.com"}],
        "scan": {"request": None, "response": {"pii": "redact"}},
    }
    async with gateway(tmp_path, **sections) as running:
        answers = [await running.ask(chat("fine")) for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429, 429]
    assert all(b"the team '<EMAIL_ADDRESS>'" in answer.body for answer in answers[3:])
    assert native == []


async def test_a_request_that_no_waiting_helps_leaves_the_others_their_way(tmp_path, upstream, native):
    sections: dict[str, Any] = {
        "model_list": [model("fine", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, "limits": {"tpm": 100}}],
    }
    async with gateway(tmp_path, **sections) as running:
        await running.learn("fine")
        large = chat("fine") | {"messages": [{"role": "user", "content": "word " * 400}]}
        answers = [await running.ask(large) for _ in range(3)]
        assert [answer.status for answer in answers] == [429] * 3
        assert all(b"this request needs" in answer.body for answer in answers)
        assert native == []
        assert (await running.ask(chat("fine"))).status == 200


async def test_each_is_answered_once_where_the_client_does_not_read(tmp_path, upstream, native):
    sections: dict[str, Any] = {
        "model_list": [model("fine", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, "limits": {"rpm": 2}}],
    }
    async with gateway(tmp_path, **sections) as running:
        for _ in range(3):
            await running.ask(chat("fine"))
        client, connection = await narrow(running.running)
        sent = 0
        while connection.unsent is None:
            client.send(request(chat("fine"), x_request_id=f"n{sent}"))
            sent += 1
            await asyncio.sleep(0)
        for _ in range(3):
            client.send(request(chat("fine"), x_request_id=f"n{sent}"))
            sent += 1
            await asyncio.sleep(0.01)
        got = [await client.response() for _ in range(sent)]
        assert [one.header("x-request-id") for one in got] == [f"n{number}" for number in range(sent)]
        assert {one.status for one in got} == {429}
    assert native


async def test_a_revoked_key_is_told_so_and_not_of_its_limit(tmp_path, upstream, native):
    models = [model("fine", upstream.base_url)]
    async with gateway(tmp_path, model_list=models, limits={"rpm": 3}) as running:
        keys = running.app.state.keys
        record, key = await keys.create(name="new", team=None, models=None)
        statuses = [(await running.running.ask(request(chat("fine"), key=key))).status for _ in range(6)]
        assert statuses == [200, 200, 200, 429, 429, 429]
        assert native
        assert await keys.revoke(record.public)
        assert (await running.running.ask(request(chat("fine"), key=key))).status == 401
