from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.net import free_port
from tests.support.upstream import Peer, ScriptedUpstream
from tollhouse.providers.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.poster import Poster


async def _says(peer: Peer) -> None:
    await peer.answer(b"taken: " + peer.seen.headers["x-more"].encode(), status="202 Accepted")


async def _hangs(peer: Peer) -> None:
    await peer.head("content-length: 100")
    await peer.until_gone()


async def _cuts(peer: Peer) -> None:
    await peer.head("content-length: 100")
    peer.close()


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"says": _says, "hangs": _hangs, "cuts": _cuts}) as running:
        yield running


def poster(port: int, factory: UpstreamFactory) -> Poster:
    timeouts = Timeouts(connect_s=0.3, first_event_s=0.3, idle_s=0.3, total_s=0.3, keepalive_s=0)
    return factory.poster("the service", f"http://127.0.0.1:{port}/base/", "/path", timeouts)


async def ask(poster: Poster, script: str) -> tuple[int, bytes]:
    return await poster.post(orjson.dumps({"model": script}), "application/json", [("x-more", "more")])


async def test_the_whole_answer_is_returned_whatever_its_status_is(server):
    factory = UpstreamFactory()
    to = poster(server.port, factory)
    assert await ask(to, "says") == (202, b"taken: more")
    assert (await ask(to, "nothing"))[0] == 404
    assert server.log.requests[0].path == "/base/path"
    assert server.log.connections == 1
    factory.close()


async def test_a_connection_that_was_closed_meanwhile_costs_nothing(server):
    factory = UpstreamFactory()
    to = poster(server.port, factory)
    await ask(to, "says")
    server.drop_idle_connections()
    assert (await ask(to, "says"))[0] == 202
    factory.close()


@pytest.mark.parametrize(("script", "error"), [("hangs", UpstreamTimeout), ("cuts", UpstreamError)])
async def test_what_is_no_whole_answer_in_time_is_an_error_and_its_connection_is_closed(server, script, error):
    factory = UpstreamFactory()
    with pytest.raises(error):
        await ask(poster(server.port, factory), script)
    async with asyncio.timeout(5):
        while server.log.open:
            await asyncio.sleep(0.005)
    factory.close()


async def test_nobody_there_is_an_error():
    with pytest.raises(UpstreamUnreachable):
        await ask(poster(free_port(), UpstreamFactory()), "says")


def test_only_http_is_spoken():
    with pytest.raises(ValueError, match="the service"):
        UpstreamFactory().poster("the service", "ftp://host", "/", Timeouts())
