"""Plain requests that wait as they came: for a place upstream, or to be refused."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.gateway.server.fast import SCRIPTS, Gateway, chat, gateway, hanging, request, served_again
from tests.gateway.server.raw import Client, until
from tests.gateway.server.test_fast_alike import TIMES
from tests.support.gateway import KEY, model
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway import waiting
from tollhouse.gateway.fastpath import FastPath
from tollhouse.gateway.waiting import AT_ONCE, Refusals, Waiting
from tollhouse.providers.places import Places


def _sections(peer: ScriptedUpstream, wait_s: float = 60, **more: Any) -> dict[str, Any]:
    return {
        "model_list": [model("third@hang", peer.base_url), model("fine", peer.base_url)],
        "upstream": {"max_in_flight": 2, "queue_wait_s": wait_s},
        **more,
    }


async def _waiting(running: Gateway, text: str = "hi", **headers: str) -> Client:
    """A client whose request waits for a place."""
    client = await running.running.connect()
    body = chat("fine") | {"messages": [{"role": "user", "content": text}]}
    client.send(request(body, **headers))
    await until(lambda: running.app.state.lifecycle.in_flight == 3)
    return client


def _fast(running: Gateway) -> FastPath:
    fast = running.running.server.fast
    assert isinstance(fast, FastPath)
    return fast


async def _value(running: Gateway, sample: str) -> float:
    (value,) = [float(line.split()[-1]) for line in await running.metrics() if line.startswith(sample)]
    return value


async def test_it_is_served_once_there_is_a_place_and_looked_at_no_earlier(tmp_path, upstream):
    keys = [{"name": "k", "key": KEY, "limits": {"rpm": 1000}}]
    sections = _sections(upstream, keys=keys, scan={"request": {"pii": "redact"}, "response": None})
    async with gateway(tmp_path, **sections) as running:
        clients = await hanging(running, 2)
        asked, findings = (
            len(upstream.log.of("fine")),
            'gateway_scan_findings_total{action="redact",direction="request"',
        )
        client = await _waiting(running, "write to kim.doe@example.com", x_request_id="mine")
        assert await _value(running, "gateway_upstream_queue{") == 1
        assert await _value(running, "gateway_requests_in_flight ") == 4  # one of them asks for the metrics
        assert not [line for line in await running.metrics() if line.startswith(findings)]
        clients[0].reset()
        answer = await client.response()
        assert (answer.status, answer.header("x-request-id")) == (200, "mine")
        assert answer.header("x-gateway-decision") == "TRANSFORMED"
        assert len(upstream.log.of("fine")) == asked + 1
        assert b"kim.doe" not in upstream.log.of("fine")[-1].body
        clients[1].reset()
        await until(lambda: not running.app.state.lifecycle.in_flight)
        assert not running.app.state.lifecycle.calls
        assert await _value(running, "gateway_upstream_queue{") == 0
        assert await _value(running, "gateway_requests_in_flight ") == 1


async def test_all_that_wait_are_served_one_after_the_other(tmp_path, upstream):
    sections = _sections(upstream) | {"upstream": {"max_in_flight": 40, "queue_wait_s": 60}}
    async with gateway(tmp_path, **sections) as running:
        clients = await hanging(running, 40)
        others = [await running.running.connect() for _ in range(20)]
        for client in others:
            client.send(request(chat("fine")))
        await until(lambda: running.app.state.lifecycle.in_flight == 60)
        clients.pop().reset()
        assert [(await client.response()).status for client in others] == [200] * 20
        await served_again(running, clients)


@pytest.mark.parametrize("way", ["fine", "third@unpaid", "ordinary"])
async def test_the_time_that_it_waits_is_no_overhead_of_the_gateway(tmp_path, upstream, way, monkeypatch):
    sections = _sections(upstream)
    sections["model_list"].append(model("third@unpaid", upstream.base_url))
    async with gateway(tmp_path, **sections) as running:
        await running.learn("third@unpaid")
        clients = await hanging(running, 2)
        client = await running.running.connect()
        client.send(request(chat("fine" if way == "ordinary" else way), x_request_id="mine"))
        await until(lambda: running.app.state.lifecycle.waiting)
        if way == "ordinary":
            monkeypatch.setattr(_fast(running), "_go", lambda *_: False)
        await asyncio.sleep(0.2)
        clients[0].reset()
        answer = await client.response()
        assert answer.status == 200
        assert int(answer.header("x-gateway-overhead-us") or "") < 100_000
        await until(lambda: any(b'"mine"' in line for line in running.lines))
        (line,) = [orjson.loads(line) for line in running.lines if b'"mine"' in line]
        assert line["duration_ms"] >= 200
        assert line["overhead_us"] < 100_000
        monkeypatch.undo()
        await served_again(running, clients[1:])


async def test_it_has_what_it_needs_before_the_store_is_handed_over(tmp_path, upstream):
    keys = [{"name": "k", "key": KEY, "limits": {"rpm": 1000}}]
    async with gateway(tmp_path, **_sections(upstream, keys=keys)) as running:
        clients = [*await hanging(running, 2), await _waiting(running)]
        lifecycle = running.app.state.lifecycle
        (first,) = lifecycle.waiting
        places = first.found.way.origin.places
        # Fast as it was, and not so any more when they begin.
        places._many, places._many_until = 8, math.inf
        clients += [await running.running.connect() for _ in range(7)]
        for client in clients[3:]:
            client.send(request(chat("fine")))
        await until(lambda: len(lifecycle.waiting) == 8)
        places._many_until = -math.inf
        lifecycle.drain()
        await lifecycle.let_go()
        assert not lifecycle.waiting
        clients[0].reset()
        assert [(await client.response()).status for client in clients[2:]] == [200] * 8
        clients[1].reset()
        await until(lambda: not lifecycle.in_flight)


async def test_places_that_come_at_once_are_for_those_that_have_waited_the_longest(tmp_path, upstream, monkeypatch):
    async with gateway(tmp_path, **_sections(upstream) | {"upstream": {"max_in_flight": 12}}) as running:
        clients = await hanging(running, 12)
        others = [await running.running.connect() for _ in range(6)]
        for client in others:
            client.send(request(chat("fine")))
        await until(lambda: len(running.app.state.lifecycle.waiting) == 6)
        again: list[Any] = []
        wait_as_call = Places._wait_as_call

        def waited(self: Places) -> Any:
            again.append(self)
            return wait_as_call(self)

        monkeypatch.setattr(Places, "_wait_as_call", waited)
        # All within one turn of the loop, and none of their connections is left.
        for call in tuple(running.app.state.lifecycle.calls)[:3]:
            call.on_abort()
        assert [(await client.response()).status for client in others] == [200] * 6
        assert again == []
        await served_again(running, clients)


async def test_who_has_waited_for_too_long_is_refused(tmp_path, upstream):
    async with gateway(tmp_path, **_sections(upstream, wait_s=0.05)) as running:
        clients = await hanging(running, 2)
        answer = await running.ask(chat("fine"), x_request_id="mine")
        assert (answer.status, answer.header("x-request-id")) == (503, "mine")
        assert b'"code":"upstream_busy"' in answer.body
        assert await _value(running, "gateway_upstream_queue{") == 0
        await served_again(running, clients)


async def test_a_client_that_leaves_is_logged_and_its_place_in_the_queue_is_free(tmp_path):
    lines = []
    for is_fast in (True, False):
        with ScriptedUpstream(SCRIPTS) as upstream:
            lines.append(await _one_leaves(upstream, tmp_path / str(is_fast), is_fast=is_fast))
    fast, ordinary = lines
    assert fast == ordinary
    assert b'"error":"client_disconnected"' in fast[0]


async def _one_leaves(upstream: ScriptedUpstream, folder: Path, *, is_fast: bool) -> list[bytes]:
    """What is logged and counted of it."""
    async with gateway(folder, is_fast=is_fast, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        asked = len(upstream.log.of("fine"))
        gone = await _waiting(running, x_request_id="gone")
        gone.reset()
        await until(lambda: any(b'"gone"' in line for line in running.lines))
        assert running.app.state.lifecycle.in_flight == 2
        told = [TIMES.sub(b"", line) for line in running.lines if b'"gone"' in line]
        told += [line.encode() for line in await running.metrics() if 'status="499"' in line]
        client = await _waiting(running)
        clients[0].reset()
        assert (await client.response()).status == 200
        assert len(upstream.log.of("fine")) == asked + 1
        await served_again(running, clients[1:])
    return told


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"stream": True, "service_tier": "flex"}])
async def test_a_client_that_leaves_before_it_is_refused_is_told_nothing(tmp_path, upstream, caplog, monkeypatch, more):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = [*await hanging(running, 2), await _waiting(running)]
        monkeypatch.setattr(_fast(running)._refusals, "passes", lambda: False)
        monkeypatch.setattr(waiting, "EVERY_S", 3600)
        gone = await running.running.connect()
        gone.send(request(chat("fine", **more), x_request_id="gone"))
        await until(lambda: running.app.state.lifecycle.in_flight == 4)
        gone.reset()
        await until(lambda: any(b'"gone"' in line for line in running.lines))
        (line,) = [line for line in running.lines if b'"gone"' in line]
        assert b'"status":499' in line
        assert b'"error":"client_disconnected"' in line
        assert running.app.state.lifecycle.in_flight == 3
        await served_again(running, clients)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_client_that_leaves_as_it_is_given_a_place_leaves_it_to_the_next(tmp_path, upstream, monkeypatch):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        first = await _waiting(running)
        fast = _fast(running)
        resume = fast.resume
        given: list[Waiting] = []
        monkeypatch.setattr(fast, "resume", given.append)
        clients[0].reset()
        await until(lambda: given)
        first.reset()
        await until(lambda: running.app.state.lifecycle.in_flight == 1)
        monkeypatch.undo()
        second = await running.running.connect()
        second.send(request(chat("fine")))
        await until(lambda: running.app.state.lifecycle.in_flight == 2)
        resume(given[0])
        assert (await second.response()).status == 200
        await served_again(running, clients[1:])


async def test_what_follows_waits_behind_it(tmp_path, upstream):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        client = await _waiting(running, x_request_id="first")
        client.send(request(chat("fine"), x_request_id="second"))
        clients[0].reset()
        assert [(await client.response()).header("x-request-id") for _ in range(2)] == ["first", "second"]
        await served_again(running, clients[1:])


async def test_a_key_that_was_revoked_meanwhile_opens_nothing(tmp_path, upstream, monkeypatch):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        client = await _waiting(running)
        asked = len(upstream.log.of("fine"))
        monkeypatch.setattr(_fast(running)._keys, "find", lambda digest: None)
        clients[0].reset()
        assert (await client.response()).status == 401
        assert len(upstream.log.of("fine")) == asked
        monkeypatch.undo()
        await served_again(running, clients[1:])


async def test_at_the_deadline_of_a_shutdown_it_is_told_so(tmp_path, upstream):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        await hanging(running, 2)
        client = await _waiting(running)
        running.app.state.lifecycle.end_calls()
        answer = await client.response()
        assert answer.status == 503
        assert b'"code":"server_shutting_down"' in answer.body
        await until(lambda: not running.app.state.lifecycle.in_flight)


@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_beyond_the_queue_all_are_refused(tmp_path, upstream, more):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        clients.append(await _waiting(running))
        others = [await running.running.connect() for _ in range(2 * AT_ONCE)]
        for client in others:
            client.send(request(chat("fine", **more)))
        answers = [await client.response() for client in others]
        assert {answer.status for answer in answers} == {503}
        assert all(b'"code":"upstream_busy"' in answer.body for answer in answers)
        assert running.app.state.lifecycle.in_flight == 3
        await served_again(running, clients)


class _Loop:
    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, after_s: float, callback: Any) -> object:
        self.timers.append(callback)
        return callback


class _Connection:
    def __init__(self, loop: _Loop) -> None:
        self.loop = loop


class _Refused:
    def __init__(self, loop: _Loop) -> None:
        self.connection = _Connection(loop)
        self.is_over = False
        self.until = 0.0


def test_the_first_few_are_refused_at_once_unless_others_wait_for_it(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(waiting, "monotonic", lambda: now)
    loop = _Loop()
    refusals = Refusals(lambda one: None)
    assert [refusals.passes() for _ in range(AT_ONCE + 2)] == [True] * AT_ONCE + [False] * 2
    now += 1.5 * waiting.EVERY_S
    assert refusals.passes()
    refusals.add(_Refused(loop), 3600)  # type: ignore[arg-type]
    now += 1.5 * waiting.EVERY_S
    assert not refusals.passes()
    now += 100 * waiting.EVERY_S
    loop.timers[0]()
    assert [refusals.passes() for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]


def test_those_behind_one_that_cannot_be_refused_are_refused_all_the_same():
    loop = _Loop()
    told: list[Any] = []

    def tell(one: Any) -> None:
        told.append(one)
        if len(told) == 1:
            raise RuntimeError

    refusals = Refusals(tell)
    first, second = _Refused(loop), _Refused(loop)
    for one in (first, second):
        refusals.add(one, 3600)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        loop.timers[0]()
    loop.timers[1]()
    assert told == [first, second]


def test_a_few_are_refused_at_a_time_and_all_whose_time_has_come():
    loop = _Loop()
    told: list[Any] = []
    refusals = Refusals(told.append)
    later, gone, sooner = ([_Refused(loop) for _ in range(AT_ONCE)] for _ in range(3))
    for one in [*gone, *later, *sooner]:
        refusals.add(one, 3600)  # type: ignore[arg-type]
    for one in gone:
        one.is_over = True
    (timer,) = loop.timers
    timer()
    assert told == later
    assert len(loop.timers) == 2
    refusals = Refusals(told.append)
    del told[:], loop.timers[:]
    for one in [*later, *sooner]:
        refusals.add(one, -1)  # type: ignore[arg-type]
    (timer,) = loop.timers
    timer()
    assert told == [*later, *sooner]
    assert loop.timers == [timer]
