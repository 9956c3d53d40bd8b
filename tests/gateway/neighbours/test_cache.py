from __future__ import annotations

import asyncio

import pytest

from tollhouse.gateway.neighbours.away import Away
from tollhouse.gateway.neighbours.cache import Cache


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Answers what it is told to; `asked` counts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.value: str | None = "yes"
        self.is_away = False
        self.takes_s = 0.0
        self.asked = 0

    async def __call__(self) -> str | None:
        self.asked += 1
        self.clock.now += self.takes_s
        await asyncio.sleep(0)
        if self.is_away:
            raise Away("iam", "timeout")
        return self.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


def made(clock: Clock, **options: float) -> Cache[str, str | None]:
    return Cache(**({"ttl_s": 5.0, "stale_s": 20.0, "negative_ttl_s": 1.0} | options), clock=clock)  # type: ignore[arg-type]


async def test_an_answer_serves_for_its_time_and_is_asked_for_again_after_it(clock, source):
    cache = made(clock)
    assert cache.fresh("k") is None
    assert await cache.get("k", source) == "yes"
    clock.now += 4.9
    assert cache.fresh("k") == ("yes",)
    assert source.asked == 1
    clock.now += 0.1
    assert cache.fresh("k") is None
    source.value = "other"
    assert await cache.get("k", source) == "other"
    assert source.asked == 2


async def test_age_counts_from_the_question(clock, source):
    cache = made(clock)
    source.takes_s = 4.0
    await cache.get("k", source)
    clock.now += 1.0
    assert cache.fresh("k") is None


async def test_no_is_remembered_briefly_and_never_beyond(clock, source):
    cache = made(clock)
    source.value = None
    assert await cache.get("k", source) is None
    assert cache.fresh("k") == (None,)
    clock.now += 1.0
    assert cache.fresh("k") is None
    source.is_away = True
    with pytest.raises(Away):
        await cache.get("k", source)


async def test_while_nobody_answers_an_old_answer_serves_until_it_is_too_old(clock, source):
    cache = made(clock)
    await cache.get("k", source)
    source.is_away = True
    clock.now += 19.9
    assert await cache.get("k", source) == "yes"
    clock.now += 0.1
    with pytest.raises(Away):
        await cache.get("k", source)
    assert (cache.tally.hits, cache.tally.misses, cache.tally.stale) == (0, 3, 1)


async def test_a_no_ends_an_earlier_yes_for_good(clock, source):
    cache = made(clock)
    await cache.get("k", source)
    clock.now += 5
    source.value = None
    assert await cache.get("k", source) is None
    clock.now += 1
    source.is_away = True
    with pytest.raises(Away):
        await cache.get("k", source)


async def test_all_who_want_the_same_wait_for_one_question_and_one_who_goes_ends_nothing(clock, source):
    cache = made(clock)
    waiting = [asyncio.ensure_future(cache.get("k", source)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert await asyncio.gather(*waiting[1:]) == ["yes"] * 4
    assert source.asked == 1


async def test_a_flood_of_no_drives_out_no_yes_and_takes_no_room(clock, source):
    cache = made(clock, most=10)
    await cache.get("kept", source)
    source.value = None
    for i in range(100):
        await cache.get(f"nonsense {i}", source)
    assert cache.fresh("kept") == ("yes",)
    assert len(cache._refused) == 10
    source.value = "yes"
    for i in range(100):
        await cache.get(f"more {i}", source)
    assert len(cache._known) == 10
