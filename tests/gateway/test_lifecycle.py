from __future__ import annotations

import asyncio

from tollhouse._native import FAULT, ResponseReader
from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.providers.call import Call
from tollhouse.providers.errors import UpstreamShutdown
from tollhouse.providers.timeouts import Timeouts


async def test_waiting_ends_with_the_last_request():
    lifecycle = Lifecycle()
    assert await lifecycle.ended(0)
    lifecycle.in_flight = 2
    waiting = asyncio.create_task(lifecycle.ended(5))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    lifecycle.in_flight = 0
    assert await waiting


async def test_waiting_goes_on_while_something_may_come():
    awaited = [True]
    waiting = asyncio.create_task(Lifecycle().ended(5, lambda: bool(awaited)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    awaited.clear()
    assert await waiting


async def test_waiting_ends_with_its_time():
    lifecycle = Lifecycle()
    lifecycle.in_flight = 1
    assert not await lifecycle.ended(0.03)


async def test_draining_is_remembered():
    lifecycle = Lifecycle()
    assert not lifecycle.draining
    lifecycle.drain()
    assert lifecycle.draining


async def test_ending_calls_fails_and_closes_each_of_them_once():
    lifecycle = Lifecycle()
    closed: list[Call] = []

    def call() -> Call:
        made = Call(ResponseReader("chat"), Timeouts())

        def aborted() -> None:
            closed.append(made)
            lifecycle.calls.discard(made)  # while the set is walked through

        made.on_abort = aborted
        lifecycle.calls.add(made)
        return made

    calls = [call() for _ in range(3)]
    lifecycle.end_calls()
    lifecycle.end_calls()
    assert sorted(map(id, closed)) == sorted(map(id, calls))
    assert all(call.flags & FAULT and isinstance(call.cause(), UpstreamShutdown) for call in calls)


async def test_those_that_wait_as_they_came_are_no_work_and_one_that_fails_leaves_the_others():
    lifecycle = Lifecycle()
    told: list[str] = []

    class Waiting:
        def go_on(self) -> None:
            told.append("goes on")
            raise RuntimeError

    async def hand_over() -> None:
        told.append("handed over")

    lifecycle.in_flight = 3
    lifecycle.waiting = dict.fromkeys((Waiting(), Waiting()))  # type: ignore[arg-type]
    assert lifecycle.working == 1
    lifecycle.before_drain = hand_over
    await lifecycle.let_go()
    assert told == ["goes on", "goes on", "handed over"]
