"""The gateway on its own server, which serves whole requests without a task: what that must not change."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateway.server.raw import Running, until
from tests.support import hostile
from tests.support.app import settings
from tests.support.chunks import DONE, delta, finish
from tests.support.gateway import KEY, model
from tests.support.upstream import Peer, ScriptedUpstream
from tollhouse.gateway import answer, attempt, create_app
from tollhouse.gateway.server.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.applications import Starlette

PIECES = 2000  # far more of a stream than is read ahead


async def _unasked(peer: Peer) -> None:
    """A stream, whatever was asked for."""
    await peer.stream_head()
    for _ in range(PIECES):
        await peer.chunk(delta("x" * 40))
    await peer.chunk(finish() + DONE)
    await peer.end()


async def _slow(peer: Peer) -> None:
    """`slow@0.5`: so much silence before the first event, or before a whole answer."""
    if not peer.seen.json.get("stream"):
        await peer.pause(float(peer.argument))
        await hostile.fine(peer)
        return
    await peer.stream_head()
    await peer.pause(float(peer.argument))
    await peer.chunk(delta("late") + finish() + DONE)
    await peer.end()


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripts = hostile.SCRIPTS | {"unasked": _unasked, "slow": _slow}
    with ScriptedUpstream(scripts) as running:
        yield running


@asynccontextmanager
async def _gateway(folder: Path, **sections: Any) -> AsyncIterator[tuple[Running, Starlette]]:
    app = create_app(settings(folder, **sections))
    sock = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, sock)
    running = Running(server, sock.getsockname()[1], asyncio.create_task(server.serve()))
    await until(lambda: app.state.started.is_set() and server.direct is not None)
    try:
        yield running, app
    finally:
        for client in running.clients:
            client.close()
        server.finish()
        await asyncio.wait({running.task}, timeout=5)


def _post(name: str, *, stream: bool = False) -> bytes:
    body = orjson.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _models(upstream: ScriptedUpstream) -> list[dict[str, Any]]:
    return [model("*", upstream.base_url)]


async def test_a_whole_request_has_no_task_of_its_own(tmp_path, upstream):
    async with _gateway(tmp_path, model_list=_models(upstream)) as (running, app):
        await running.ask(_post("fine"))  # opens the connection to the upstream
        client = await running.connect()
        client.send(_post("slow@0.3"))
        await until(lambda: app.state.lifecycle.in_flight == 1)
        assert not [task for task in asyncio.all_tasks() if "HttpExchange" in repr(task.get_coro())]
        assert (await client.response()).status == 200
        await until(lambda: app.state.lifecycle.in_flight == 0 and not running.server.running)


async def test_the_next_of_a_pipeline_is_admitted_when_the_one_before_is_settled(tmp_path, upstream):
    keys = [{"name": "k", "key": KEY, "limits": {"parallel": 1}}]
    async with _gateway(tmp_path, keys=keys, model_list=_models(upstream)) as (running, _):
        await running.ask(_post("fine"))
        client = await running.connect()
        client.send(_post("fine") * 4)
        assert [(await client.response()).status for _ in range(4)] == [200] * 4


async def test_events_that_nobody_asked_for_are_passed_on_as_they_come(tmp_path, upstream):
    async with _gateway(tmp_path, model_list=_models(upstream)) as (running, _):
        for _ in range(2):
            async with asyncio.timeout(10):
                response = await running.ask(_post("unasked"))
            assert response.status == 200
            assert response.body.count(b"x" * 40) == PIECES


async def test_the_first_keepalive_comes_when_it_is_due(tmp_path, upstream):
    sections = {"model_list": _models(upstream), "upstream": {"keepalive_s": 0.4}}
    async with _gateway(tmp_path, **sections) as (running, _):
        await running.ask(_post("fine"))
        response = await running.ask(_post("slow@0.7", stream=True))
        assert response.status == 200
        assert response.body.startswith(b": ")
        assert b"late" in response.body


async def test_a_panic_breaks_the_connection_off_and_leaves_nothing_behind(tmp_path, upstream, monkeypatch):
    class Panic(BaseException):
        """As a panic of the extension comes out."""

    def panics(_: object) -> None:
        raise Panic

    async with _gateway(tmp_path, model_list=_models(upstream)) as (running, app):
        await running.ask(_post("fine"))
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with monkeypatch.context() as patched:
            patched.setattr(answer.Answer, "send_at_once", panics)
            client = await running.connect()
            client.send(_post("fine"))
            async with asyncio.timeout(5):
                assert await client.gone()
        await until(lambda: app.state.lifecycle.in_flight == 0 and not running.server.running)
        assert (await running.ask(_post("fine"))).status == 200


async def test_a_client_that_goes_lets_the_upstream_go(tmp_path, upstream):
    async with _gateway(tmp_path, model_list=_models(upstream)) as (running, app):
        await running.ask(_post("fine"))
        client = await running.connect()
        client.send(_post("hang"))
        await until(lambda: app.state.lifecycle.in_flight == 1 and app.state.lifecycle.calls)
        client.reset()
        await until(lambda: app.state.lifecycle.in_flight == 0 and not app.state.lifecycle.calls)
        assert not running.server.running


async def test_what_cannot_be_begun_is_counted_as_over_at_its_target(tmp_path, upstream, monkeypatch):
    class Broken(Exception):
        """None of those that say how an upstream fails."""

    def breaks(_: object) -> None:
        raise Broken

    async with _gateway(tmp_path, model_list=_models(upstream)) as (running, app):
        await running.ask(_post("fine"))
        left: list[attempt.Attempt] = []
        with monkeypatch.context() as patched:
            patched.setattr(attempt.Attempt, "begin", breaks)
            leave = attempt.Attempt.leave

            def leaves(one: attempt.Attempt) -> None:
                left.append(one)
                leave(one)

            patched.setattr(attempt.Attempt, "leave", leaves)
            assert (await running.ask(_post("fine"))).status == 500
        assert [one.target.load.in_flight for one in left] == [0]
        assert app.state.lifecycle.in_flight == 0
