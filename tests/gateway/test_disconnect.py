"""Who is watched for a disconnect, and when."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.asgi import http_scope
from tollhouse.gateway.disconnect import TICK_S, DisconnectWatch
from tollhouse.middlewares.exchange import Exchange


class Caller:
    """A client: counts how often it was listened to; hangs up on demand."""

    def __init__(self) -> None:
        self.listened = 0
        self.heard = asyncio.Event()
        self.inbox: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.exchange = Exchange(http_scope("/"), self._receive, self._send)

    async def _receive(self):
        self.listened += 1
        self.heard.set()
        return await self.inbox.get()

    async def _send(self, message):
        raise AssertionError("nothing is sent here")


async def _serve(watch: DisconnectWatch, caller: Caller, work: asyncio.Future[None]) -> None:
    watch.add(caller.exchange, asyncio.get_running_loop())
    try:
        await work
    finally:
        watch.discard(caller.exchange)


def _work() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_a_short_request_costs_no_watcher():
    watch, caller, work = DisconnectWatch(), Caller(), _work()
    task = asyncio.create_task(_serve(watch, caller, work))
    await asyncio.sleep(0)
    work.set_result(None)
    await task
    await asyncio.sleep(TICK_S * 4)
    assert caller.listened == 0


async def test_a_long_request_is_cancelled_when_its_client_goes():
    watch, caller = DisconnectWatch(), Caller()
    task = asyncio.create_task(_serve(watch, caller, _work()))
    await asyncio.wait_for(caller.heard.wait(), 5)
    caller.inbox.put_nowait({"type": "http.request", "body": b"late", "more_body": False})
    caller.inbox.put_nowait({"type": "http.disconnect"})
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert caller.exchange.gone


async def test_a_long_request_that_ends_by_itself_stops_its_watcher():
    watch, caller, work = DisconnectWatch(), Caller(), _work()
    task = asyncio.create_task(_serve(watch, caller, work))
    await asyncio.wait_for(caller.heard.wait(), 5)
    others = asyncio.all_tasks() - {asyncio.current_task(), task}
    assert len(others) == 1
    work.set_result(None)
    await task
    await asyncio.wait(others)
    assert all(other.cancelled() for other in others)
    assert not caller.exchange.gone


async def test_a_request_between_two_ticks_is_forgotten():
    watch, caller, work = DisconnectWatch(), Caller(), _work()
    other = Caller()
    old = asyncio.create_task(_serve(watch, other, _work()))
    await asyncio.wait_for(other.heard.wait(), 5)  # a tick has just been
    task = asyncio.create_task(_serve(watch, caller, work))
    await asyncio.sleep(TICK_S * 1.2)
    work.set_result(None)
    await task
    await asyncio.sleep(TICK_S * 3)
    assert caller.listened == 0
    old.cancel()


async def test_the_clock_stands_still_when_nobody_is_there_and_starts_again():
    watch = DisconnectWatch()
    for _ in range(2):
        caller = Caller()
        task = asyncio.create_task(_serve(watch, caller, _work()))
        await asyncio.wait_for(caller.heard.wait(), 5)
        caller.inbox.put_nowait({"type": "http.disconnect"})
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        await asyncio.sleep(TICK_S * 3)
        assert not watch._ticking
