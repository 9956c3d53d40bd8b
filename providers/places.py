"""How many calls an upstream answers at once, and who waits until there is a place for one more."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic
from typing import Protocol

from tollhouse.providers.errors import UpstreamBusy

COUNTED = 256  # calls that end say how fast they do
SOON_S = 0.1  # who gets a place that soon may wait, however many they are
MOST = 8  # times as many as there are places wait, at most
STEP_S = 0.001  # of the loop's timers


class Waiter(Protocol):
    """Who waits for a place: a future, or a request for which nothing has been done."""

    def done(self) -> bool:
        """Whether it wants none any more."""

    def set_result(self, result: None, /) -> None:
        """A place is its own from now on."""


class PlainWaiter(ABC):
    """A request as it came: whoever serves it sees to what becomes of it. until: on `time.monotonic`."""

    __slots__ = ("until",)

    until: float

    def done(self) -> bool:
        return False

    @abstractmethod
    def set_result(self, result: None, /) -> None:
        """A place is its own: `Places.take_back` for the call, then `Places.hand_on` what is left over."""

    @abstractmethod
    def expire(self) -> None:
        """It has waited for as long as anybody may."""


class Places:
    """Of one upstream. name: its own, for messages.

    free: nobody's. kept: how many of those are for whoever has waited and asks in a moment; others have to wait unless
    there are more.
    """

    def __init__(self, name: str, *, max_in_flight: int, queue_wait_s: float) -> None:
        self._name = name
        self._all = self.free = max_in_flight
        self.kept = 0
        self._queue: deque[Waiter] = deque()
        self._plain: dict[PlainWaiter, None] = {}  # of those, whoever waits as it came
        # FIFO, so whoever is admitted last waits for as long as half an answer takes, however long that is. As many as
        # there are places would double the time of everybody while there is too much to do.
        self._few = self._many = max(1, max_in_flight // 2)
        self.queue_wait_s = queue_wait_s
        # More where calls end fast, until that is not so any more.
        self._many_until = self._counted_at = -math.inf
        self._left = 0  # calls that have ended since they were counted
        self._expiry: asyncio.TimerHandle | None = None  # of the first that waits as it came

    @property
    def in_flight(self) -> int:
        """Calls that have a place."""
        return self._all - self.free

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._queue)

    @property
    def has_one(self) -> bool:
        """Nobody has to wait."""
        return self.free > self.kept

    @property
    def is_full(self) -> bool:
        """Nobody else may wait."""
        return self.free <= 0 and len(self._queue) >= self._max_queue()

    def busy(self) -> UpstreamBusy:
        """What is said then."""
        return UpstreamBusy(f"{self._name} is busy: its queue is full")

    async def enter(self) -> None:
        """Take a place, or wait for one. Raises UpstreamBusy: too many wait already, or this one has for too long."""
        if self.free > 0:
            self.free -= 1
        else:
            await self._wait_as_call()

    def give(self) -> None:
        """A place that somebody had and made no call of: to whoever has waited the longest."""
        while self._queue:
            waiter = self._queue.popleft()
            self._plain.pop(waiter, None)  # type: ignore[call-overload] # most are futures
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1

    def leave(self) -> None:
        """A call is over, and its place is the next one's."""
        self._left += 1
        if self._left == COUNTED:
            self._note_pace()
        if self._queue:
            self.give()
        else:
            self.free += 1

    def wait(self, waiter: PlainWaiter) -> bool:
        """Let a request wait for a place before anything is done for it; False: too many wait already."""
        if len(self._queue) >= self._max_queue():
            return False
        self._queue.append(waiter)
        self._plain[waiter] = None
        now = monotonic()
        waiter.until = now + self.queue_wait_s
        if self._expiry is None:
            self._expire_at(waiter.until, now)
        return True

    def wait_no_more(self, waiter: PlainWaiter) -> None:
        """Harmless for one that has been given a place."""
        if waiter in self._plain:
            del self._plain[waiter]
            self._queue.remove(waiter)

    def wait_otherwise(self, waiter: PlainWaiter) -> None:
        """It is about to wait as a call does: there is room for it, whatever the pace is by then."""
        self._many = max(self._many, len(self._queue))
        self._many_until = max(self._many_until, monotonic() + self.queue_wait_s)
        self.wait_no_more(waiter)

    def take_back(self) -> None:
        """A place that was given is free, for whoever asks at once; while others wait, `hand_on` has to follow."""
        self.free += 1

    def hand_on(self) -> None:
        """What was taken back and is still free goes to those that wait."""
        while self.free > self.kept and self._queue:
            self.free -= 1
            self.give()

    def keep(self) -> None:
        """Nobody else is to have the place until `hand_on_kept`: who was given it asks again in a moment."""
        self.kept += 1

    def hand_on_kept(self) -> None:
        """It has asked, or never will."""
        self.kept -= 1
        self.hand_on()

    def _note_pace(self) -> None:
        """So many calls have ended as say how many will in the time that anybody may wait for, whoever comes."""
        now, self._left = monotonic(), 0
        took = max(now - self._counted_at, 1e-6)
        self._many = max(self._few, min(MOST * self._all, int(COUNTED * SOON_S / took)))
        self._counted_at, self._many_until = now, now + max(2 * took, SOON_S)

    def _max_queue(self) -> int:
        return self._few if self._many == self._few or monotonic() > self._many_until else self._many

    async def _wait_as_call(self) -> None:
        if len(self._queue) >= self._max_queue():
            raise self.busy()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(self.queue_wait_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.give()  # the place came at the same moment: hand it on
            elif waiter in self._queue:
                self._queue.remove(waiter)
            if isinstance(error, TimeoutError):
                msg = f"{self._name} is busy: no place within {self.queue_wait_s:g} s"
                raise UpstreamBusy(msg) from None
            raise

    def _expire(self) -> None:
        self._expiry = None
        now = monotonic()
        try:
            while (first := next(iter(self._plain), None)) is not None and first.until <= now:
                self.wait_no_more(first)
                first.expire()
        finally:  # whatever came of one, there are others behind it
            if (first := next(iter(self._plain), None)) is not None:
                self._expire_at(first.until, now)

    def _expire_at(self, until: float, now: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(max(until - now, STEP_S), self._expire)
