"""Places of calls to one upstream, without calls; that theirs are given back is tested with the transport."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tollhouse.providers import places as places_module
from tollhouse.providers.errors import UpstreamBusy
from tollhouse.providers.places import COUNTED, Places, PlainWaiter


def places(max_in_flight: int, queue_wait_s: float = 60) -> Places:
    return Places("up", max_in_flight=max_in_flight, queue_wait_s=queue_wait_s)


async def taken(max_in_flight: int, queue_wait_s: float = 60) -> Places:
    """All of them."""
    of = places(max_in_flight, queue_wait_s)
    for _ in range(max_in_flight):
        await of.enter()
    return of


async def queued(of: Places) -> asyncio.Task[None]:
    """A call that waits."""
    task = asyncio.create_task(of.enter())
    await asyncio.sleep(0)
    return task


async def test_beyond_the_places_calls_wait_and_then_are_told():
    of = await taken(1, queue_wait_s=0.1)
    for _ in range(2):  # whoever has gone takes no room in the queue
        with pytest.raises(UpstreamBusy, match=r"^up is busy: no place within 0\.1 s$"):
            await of.enter()
    of = await taken(1, queue_wait_s=5)
    waiting = await queued(of)
    with pytest.raises(UpstreamBusy, match=r"^up is busy: its queue is full$"):
        await of.enter()
    of.leave()
    await waiting
    assert (of.in_flight, of.waiting) == (1, 0)


async def test_half_as_many_as_there_are_places_may_wait():
    of = await taken(6)
    waiting = [await queued(of) for _ in range(3)]
    assert (of.in_flight, of.waiting) == (6, 3)
    with pytest.raises(UpstreamBusy, match="its queue is full"):
        await of.enter()
    for _ in range(6):
        of.leave()
    await asyncio.gather(*waiting)
    assert (of.in_flight, of.waiting) == (3, 0)


async def test_as_many_may_wait_as_get_a_place_soon(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(places_module, "monotonic", lambda: now)
    of = places(6)

    async def served_at(pace: float) -> None:
        nonlocal now
        for _ in range(COUNTED):
            await of.enter()
            of.leave()
        now += COUNTED / pace

    async def who_may_wait() -> int:
        for _ in range(6):
            await of.enter()
        waiting: list[asyncio.Task[None]] = []
        while not of.is_full:
            waiting.append(await queued(of))
        for _ in range(6 + len(waiting)):
            of.leave()
        await asyncio.gather(*waiting)
        return len(waiting)

    assert await who_may_wait() == 3
    await served_at(100.0)
    await served_at(100.0)
    assert await who_may_wait() == 10
    await served_at(1e6)
    await served_at(1e6)
    assert await who_may_wait() == 48
    await served_at(1.0)
    await served_at(1.0)
    assert await who_may_wait() == 3


class _Plain(PlainWaiter):
    def __init__(self) -> None:
        self.told: list[str] = []

    def set_result(self, _: None) -> None:
        self.told.append("place")

    def expire(self) -> None:
        self.told.append("expired")
        raise RuntimeError


async def test_those_behind_one_that_fails_to_expire_expire_all_the_same():
    failed: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
    of = await taken(4, queue_wait_s=0.01)
    first, gone, last = _Plain(), _Plain(), _Plain()
    assert of.wait(first)
    assert of.wait(gone)
    assert not of.wait(last)
    of.wait_no_more(gone)
    assert of.wait(last)
    async with asyncio.timeout(30):
        while not last.told:
            await asyncio.sleep(0.005)
    assert (first.told, gone.told, last.told, of.waiting) == (["expired"], [], ["expired"], 0)
    assert [type(error) for error in failed] == [RuntimeError, RuntimeError]


async def test_a_call_that_is_given_up_in_the_queue_leaves_no_trace():
    of = await taken(1)
    waiting = await queued(of)
    waiting.cancel()
    of.leave()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert (of.in_flight, of.waiting) == (0, 0)
    await of.enter()
