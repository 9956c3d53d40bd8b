"""Deadlines of many calls: exact to a tick, and none is looked at before its time."""

from __future__ import annotations

import asyncio
import random
import sys
from math import inf
from typing import Any

import pytest

from tollhouse.providers import deadlines as module
from tollhouse.providers.call import Call
from tollhouse.providers.deadlines import TICK_S, Deadlines
from tollhouse.providers.timeouts import Timeouts


class _Reader:
    """Of an upstream's answer, as far as deadlines ask."""

    events = 0
    done = at_its_end = False
    tokens = fault = None


class _Clock:
    """Time that passes when it is told to, and the loop that ticks with it."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        self.due: list[Any] = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def call_later(self, _, callback, *arguments) -> None:
        self.due.append((callback, arguments))

    def tick(self) -> None:
        self.now += TICK_S
        due, self.due = self.due, []
        for callback, arguments in due:
            callback(*arguments)


@pytest.fixture
def clock(monkeypatch):
    return _Clock(monkeypatch)


class _Told(Call):
    """Notes what it is told, and when."""

    reader: Any

    def __init__(self, reader: Any, timeouts, deadlines, clock) -> None:
        super().__init__(reader, timeouts)
        self.told: list[tuple[str, float]] = []
        self._deadlines, self._clock = deadlines, clock

    def nudge(self) -> None:
        self.told.append(("ping", self._clock.now))

    def fail(self, error) -> None:
        self.told.append(("late", self._clock.now))
        self._deadlines.discard(self)


def _call(**timeouts) -> Call:
    reader: Any = _Reader()
    return Call(reader, Timeouts(**timeouts))


def test_a_silent_stream_is_looked_at_now_and_then_only(clock, monkeypatch):
    looks = 0
    is_late = Call.is_late

    def counted(call, now):
        nonlocal looks
        looks += 1
        return is_late(call, now)

    monkeypatch.setattr(Call, "is_late", counted)
    deadlines = Deadlines()
    for _ in range(100):
        deadlines.add(_call(keepalive_s=15), stream=True)
    for _ in range(100):
        clock.tick()
    assert looks <= 100 * 4
    assert clock.due, "it ticks on"


def test_a_call_that_is_over_is_forgotten_and_the_clock_stops(clock):
    deadlines = Deadlines()
    early, late = _call(), _call()
    deadlines.add(early, stream=False)
    deadlines.add(late, stream=False)
    deadlines.discard(early)
    clock.tick()
    clock.tick()
    deadlines.discard(late)
    for _ in range(2 * module._SLOTS):
        clock.tick()
    assert not clock.due
    assert not deadlines._parked
    assert not any(deadlines._slots)


def _bytes(deadlines) -> int:
    return sum(map(sys.getsizeof, (deadlines._active, deadlines._parked, *deadlines._slots)))


def _burst(deadlines, clock) -> None:
    """Many at once, which are parked together, and are over soon after."""
    calls = [_call() for _ in range(1000)]
    for call in calls:
        deadlines.add(call, stream=True)
    clock.tick()
    assert len(deadlines._parked) >= len(calls)
    for call in calls:
        deadlines.discard(call)


def test_what_the_most_calls_took_is_given_back_once_none_is_left(clock):
    deadlines = Deadlines()
    fresh = _bytes(deadlines)
    for _ in range(module._SLOTS):
        _burst(deadlines, clock)
    clock.tick()
    assert not clock.due
    assert _bytes(deadlines) == fresh


def test_a_slot_gives_back_what_the_most_calls_took_after_its_turn(clock):
    deadlines = Deadlines()
    fresh = sys.getsizeof(set())
    deadlines.add(_call(total_s=1e9, idle_s=1e9), stream=False)  # the clock goes on
    for _ in range(module._SLOTS):
        _burst(deadlines, clock)
    assert max(map(sys.getsizeof, deadlines._slots)) > fresh
    for _ in range(module._SLOTS):
        clock.tick()
    assert clock.due
    assert [sys.getsizeof(slot) for slot in deadlines._slots] == [fresh] * module._SLOTS


@pytest.mark.parametrize("seed", range(40))
def test_no_deadline_is_told_early_or_more_than_a_tick_late(clock, seed):
    chance = random.Random(seed)
    deadlines = Deadlines()
    twins = []
    for _ in range(20):
        timeouts = Timeouts(
            connect_s=5,
            first_event_s=chance.choice([1, 7, 30]),
            idle_s=chance.choice([0.5, 3, 20]),
            total_s=chance.choice([2, 15, 40]),
            keepalive_s=chance.choice([0, 0.5, 4]),
        )
        call = _Told(_Reader(), timeouts, deadlines, clock)
        deadlines.add(call, stream=chance.random() < 0.5)
        twins.append(_Twin(call))
    for _ in range(500):
        for twin in twins:
            if not twin.is_over and chance.random() < 0.02:
                twin.call.reader.events += 1
                twin.call.read_at = deadlines.now
                twin.call.reader.at_its_end = chance.random() < 0.3
                twin.call.reader.tokens = chance.choice((None, (1, 1, 0, 0)))
        clock.tick()
        for twin in twins:
            twin.tick(clock.now)
            assert twin.call.told == twin.told
    assert not deadlines._parked
    assert not deadlines._active


class _Twin:
    """A call whose every deadline is looked at with every tick."""

    def __init__(self, call: _Told) -> None:
        self.call = call
        self.told: list[tuple[str, float]] = []
        self.is_over = False
        self.ping_at = call.ping_at

    def tick(self, now: float) -> None:
        call = self.call
        if self.is_over:
            return
        if now >= call.total_at or call.is_late(now):
            self.told.append(("late", now))
            self.is_over = True
        elif self.ping_at != inf and now >= self.ping_at:
            quiet_until = call.read_at + call.timeouts.keepalive_s
            if quiet_until > now:
                self.ping_at = quiet_until
            else:
                self.ping_at = now + call.timeouts.keepalive_s
                self.told.append(("ping", now))
