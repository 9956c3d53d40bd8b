"""Plain requests that wait as they came: for a place upstream, or to be refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.server.fast import Gateway, chat, gateway, hanging, request, served_again
from tests.gateway.server.raw import Client, until
from tests.support.gateway import KEY, model
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway.fastpath import FastPath
from tollhouse.gateway.waiting import AT_ONCE, Refusals, Waiting


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


async def test_who_has_waited_for_too_long_is_refused(tmp_path, upstream):
    async with gateway(tmp_path, **_sections(upstream, wait_s=0.05)) as running:
        clients = await hanging(running, 2)
        answer = await running.ask(chat("fine"), x_request_id="mine")
        assert (answer.status, answer.header("x-request-id")) == (503, "mine")
        assert b'"code":"upstream_busy"' in answer.body
        assert await _value(running, "gateway_upstream_queue{") == 0
        await served_again(running, clients)


async def test_a_client_that_leaves_is_logged_and_its_place_in_the_queue_is_free(tmp_path, upstream):
    async with gateway(tmp_path, **_sections(upstream)) as running:
        clients = await hanging(running, 2)
        gone = await _waiting(running, x_request_id="gone")
        gone.reset()
        await until(lambda: running.app.state.lifecycle.in_flight == 2)
        await until(lambda: any(b"gone" in line for line in running.lines))
        (line,) = [line for line in running.lines if b'"gone"' in line]
        assert b'"error":"client_disconnected"' in line
        client = await _waiting(running)
        clients[0].reset()
        assert (await client.response()).status == 200
        await served_again(running, clients[1:])


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
        self.exchange: Any = None


class _Refused:
    def __init__(self, loop: _Loop) -> None:
        self.connection = _Connection(loop)
        self.connection.exchange = self
        self.until = 0.0


def test_a_few_are_refused_at_a_time_and_all_whose_time_has_come():
    loop = _Loop()
    told: list[Any] = []
    refusals = Refusals(told.append)
    later, gone, sooner = ([_Refused(loop) for _ in range(AT_ONCE)] for _ in range(3))
    for one in [*gone, *later, *sooner]:
        refusals.add(one, 3600)  # type: ignore[arg-type]
    for one in gone:
        one.connection.exchange = None
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
