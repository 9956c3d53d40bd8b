"""Places of calls to one upstream, without calls; that theirs are given back is tested with the transport."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tollhouse.providers import places as places_module
from tollhouse.providers.errors import UpstreamBusy
from tollhouse.providers.places import COUNTED, Places, Waiter


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


class Noted(Waiter):
    """Notes what becomes of it."""

    def __init__(self, told: list[str] | None = None, name: str = "") -> None:
        self.told = [] if told is None else told
        self._name = name

    def admit(self) -> None:
        self.told.append(f"{self._name} place".strip())

    def expire(self) -> None:
        self.told.append(f"{self._name} expired".strip())


class Failing(Noted):
    def expire(self) -> None:
        super().expire()
        raise RuntimeError


class Doing(Noted):
    """Does something as it expires."""

    def __init__(self, then: Callable[[], Any]) -> None:
        super().__init__()
        self.then = then

    def expire(self) -> None:
        super().expire()
        self.then()


async def until(happened: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.005)


async def _enter(of: Places, name: str, told: list[str]) -> None:
    try:
        await of.enter()
    except UpstreamBusy:
        told.append(f"{name} expired")
    else:
        told.append(f"{name} place")


async def named(of: Places, name: str, told: list[str]) -> asyncio.Task[None]:
    """A call that waits, and notes what becomes of it."""
    task = asyncio.create_task(_enter(of, name, told))
    await asyncio.sleep(0)
    return task


async def test_calls_and_others_are_admitted_as_they_came():
    told: list[str] = []
    of = await taken(8)
    calls = [await named(of, "a", told)]
    assert of.wait(Noted(told, "b"))
    calls.append(await named(of, "c", told))
    assert of.wait(Noted(told, "d"))
    for _ in range(4):
        of.leave()
        await asyncio.sleep(0)
    assert told == ["a place", "b place", "c place", "d place"]
    await asyncio.gather(*calls)
    assert (of.in_flight, of.waiting) == (8, 0)


@pytest.mark.parametrize("wait_s", [0, 0.05])
async def test_calls_and_others_expire_as_they_came(wait_s):
    told: list[str] = []
    left: list[int] = []
    of = await taken(8, queue_wait_s=wait_s)
    began = time.monotonic()
    # All within one turn of the loop: none expires before the last has come.
    for name in ("first", "second"):
        call = asyncio.create_task(_enter(of, name, told))
        asyncio.get_running_loop().call_soon(of.wait, Doing(lambda: left.append(of.waiting)))
    await asyncio.sleep(0)
    assert of.waiting == 4
    await call
    await until(lambda: len(left) == 2)
    assert time.monotonic() - began >= wait_s
    assert (told, left) == (["first expired", "second expired"], [2, 0])
    assert (of.in_flight, of.waiting) == (8, 0)


async def test_each_expires_in_its_own_time():
    of = await taken(4, queue_wait_s=0.1)
    seen: list[Any] = []
    first = Doing(lambda: seen.append((of.waiting, time.monotonic() >= first.until)))
    second = Doing(lambda: seen.append((of.waiting, time.monotonic() >= second.until)))
    assert of.wait(first)
    time.sleep(0.05)
    assert of.wait(second)
    assert second.until - first.until >= 0.05
    await until(lambda: second.told)
    assert seen == [(1, True), (0, True)]


async def test_who_expires_waits_no_more_when_it_is_told():
    of = await taken(4, queue_wait_s=0.01)
    seen: list[int] = []
    first, second = (Doing(lambda: seen.append(of.waiting)) for _ in range(2))
    assert of.wait(first)
    assert of.wait(second)
    await until(lambda: second.told)
    assert seen == [1, 0]
    of.leave()
    assert (first.told, second.told, of.in_flight) == (["expired"], ["expired"], 3)


async def test_who_comes_as_another_expires_sets_no_timer_beside_the_one_of_the_first(monkeypatch):
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    under_way: list[float] = []

    def counted(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        def fire() -> None:
            under_way.remove(delay)
            callback()

        under_way.append(delay)
        return call_later(delay, fire)

    of = await taken(6, queue_wait_s=0.05)
    late, last = Noted(), Noted()
    first = Doing(lambda: of.wait(last))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_later", counted)
        assert of.wait(first)
        time.sleep(0.01)
        assert of.wait(late)
        assert of.waiting == 2
        while not last.told:
            assert len(under_way) <= 1
            await asyncio.sleep(0)
    assert (first.told, late.told, last.told) == (["expired"], ["expired"], ["expired"])
    assert late.until < last.until
    assert not under_way


async def test_those_behind_one_that_fails_to_expire_expire_all_the_same():
    failed: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
    of = await taken(4, queue_wait_s=0.01)
    first, gone, last = Failing(), Failing(), Failing()
    assert of.wait(first)
    assert of.wait(gone)
    assert not of.wait(last)
    of.wait_no_more(gone)
    assert of.wait(last)
    await until(lambda: last.told)
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
    waiting = await queued(of)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (of.in_flight, of.waiting) == (1, 0)


@pytest.mark.parametrize("is_admitted_first", [True, False])
@pytest.mark.parametrize("is_call", [True, False])
async def test_a_call_that_is_cancelled_as_it_is_given_a_place_hands_it_on(is_admitted_first, is_call):
    told: list[str] = []
    of = await taken(6)
    gone = await queued(of)
    if is_call:
        await named(of, "other", told)
    else:
        assert of.wait(Noted(told, "other"))
    # Both within one turn of the loop.
    for step in (of.leave, gone.cancel) if is_admitted_first else (gone.cancel, of.leave):
        step()
    await until(lambda: told)
    assert gone.cancelled()
    assert (told, of.in_flight, of.waiting) == (["other place"], 6, 0)


async def test_a_place_finds_who_still_wants_it_behind_any_number_that_were_cancelled():
    of = await taken(6000)
    gone = [asyncio.create_task(of.enter()) for _ in range(2999)]
    await asyncio.sleep(0)
    last = Noted()
    assert of.wait(last)
    for task in gone:
        task.cancel()
    of.leave()
    await until(lambda: last.told)
    await asyncio.gather(*gone, return_exceptions=True)
    assert all(task.cancelled() for task in gone)
    assert (last.told, of.in_flight, of.waiting) == (["place"], 6000, 0)


@pytest.mark.parametrize("is_expired_first", [True, False])
async def test_a_call_that_is_cancelled_as_it_expires_gives_no_place_that_it_never_had(monkeypatch, is_expired_first):
    now = 1000.0
    monkeypatch.setattr(places_module, "monotonic", lambda: now)
    of = await taken(6, queue_wait_s=0.01)
    canceller = Doing(lambda: [task.cancel() for task in gone])
    if not is_expired_first:
        assert of.wait(canceller)
    gone = [await queued(of)]
    if is_expired_first:
        assert of.wait(canceller)
    now += 1  # for both
    with pytest.raises(asyncio.CancelledError):
        await gone[0]
    await until(lambda: canceller.told)
    assert (of.in_flight, of.waiting) == (6, 0)


async def test_who_was_admitted_neither_expires_nor_is_looked_for_in_the_queue():
    of = await taken(6, queue_wait_s=0.02)
    first, last = Noted(), Noted()
    assert of.wait(first)
    of.leave()
    of.wait_no_more(first)
    assert of.wait(last)
    await until(lambda: last.told)
    assert (first.told, last.told, of.in_flight) == (["place"], ["expired"], 6)


async def test_who_leaves_a_long_queue_is_not_looked_for_one_by_one():
    looks = 0

    class Compared(Noted):
        def __eq__(self, other):
            nonlocal looks
            looks += 1
            return self is other

        __hash__ = object.__hash__

    of = await taken(2000)
    waiting = [Compared() for _ in range(1000)]
    for one in waiting:
        assert of.wait(one)
    for one in reversed(waiting):
        of.wait_no_more(one)
    assert (of.waiting, looks) == (0, 0)


async def test_a_place_that_was_made_no_use_of_is_the_next_ones():
    of = await taken(2)
    waiting = Noted()
    assert of.wait(waiting)
    of.give()
    assert (waiting.told, of.in_flight) == (["place"], 2)
    of.give()
    assert (of.in_flight, of.has_one) == (1, True)


async def test_what_is_taken_back_is_handed_on_beyond_what_is_kept():
    of = await taken(6)
    first, second = Noted(), Noted()
    assert of.wait(first)
    assert of.wait(second)
    for _ in range(2):
        of.take_back()
    of.keep()
    of.hand_on()
    assert (first.told, second.told, of.in_flight) == (["place"], [], 5)
    assert not of.has_one
    of.hand_on_kept()
    assert (second.told, of.in_flight, of.waiting) == (["place"], 6, 0)


async def test_a_kept_place_is_there_for_who_enters_and_for_nobody_afterwards():
    of = await taken(4)
    waiting = Noted()
    of.take_back()
    of.keep()
    assert of.wait(waiting)
    assert not of.is_full
    await of.enter()
    of.hand_on_kept()
    assert (waiting.told, of.in_flight, of.has_one) == ([], 4, False)
    of.leave()
    assert waiting.told == ["place"]


@pytest.mark.parametrize("ended", [0, COUNTED])
async def test_who_is_about_to_wait_as_a_call_has_room_whatever_the_pace_is(monkeypatch, ended):
    now = 1000.0
    monkeypatch.setattr(places_module, "monotonic", lambda: now)
    of = places(2)
    for _ in range(2):
        for _ in range(COUNTED):
            await of.enter()
            of.leave()
        now += 0.1
    for _ in range(2):
        await of.enter()
    waiting = []
    while not of.is_full:
        waiting.append(Noted())
        assert of.wait(waiting[-1])
    assert len(waiting) == 16
    now += 10
    for one in waiting:
        of.wait_otherwise(one)
    assert of.waiting == 0
    now += 10
    for _ in range(ended):  # at a pace that lets one wait
        of.leave()
        await of.enter()
    calls = [await queued(of) for _ in waiting]
    assert of.waiting == 16
    with pytest.raises(UpstreamBusy, match="its queue is full"):
        await of.enter()
    for _ in calls:
        of.leave()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_becomes_of_those_that_wait_no_place_is_lost_or_given_twice(seed):
    draw = random.Random(seed)
    of = places(6, queue_wait_s=draw.choice([0.002, 60]))
    calls: list[asyncio.Task[None]] = []
    others: list[Noted] = []

    def admitted() -> list[Noted]:
        return [one for one in others if one.told == ["place"]]

    def entered() -> list[asyncio.Task[None]]:
        return [task for task in calls if task.done() and not task.cancelled() and task.exception() is None]

    for _ in range(300):
        step = draw.randrange(8)
        if step <= 1:
            calls.append(asyncio.create_task(of.enter()))
        elif step == 2 and not of.has_one:
            others.append(Noted())
            if not of.wait(others[-1]):
                others.pop()
        elif step == 3 and calls:
            draw.choice(calls).cancel()
        elif step == 4 and others:
            of.wait_no_more(draw.choice(others))
        elif step == 5 and (given := admitted()):
            others.remove(given[0])
            draw.choice([of.leave, of.give])()
        elif step == 6 and (begun := entered()):
            calls.remove(begun[0])
            of.leave()
        elif step == 7:
            await asyncio.sleep(draw.choice([0, 0, 0, 0.001]))
        assert not (of.waiting and of.has_one)
        assert len(admitted()) + len(entered()) <= of.in_flight <= 6
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for one in others:
        of.wait_no_more(one)
    assert (of.in_flight, of.waiting) == (len(admitted()) + len(entered()), 0)
