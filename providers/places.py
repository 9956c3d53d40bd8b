"""How many calls an upstream answers at once, and who waits until there is a place for one more."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from time import monotonic

from tollhouse.providers.errors import UpstreamBusy

COUNTED = 256  # calls that end say how fast they do
SOON_S = 0.1  # who gets a place that soon may wait, however many they are
MOST = 8  # times as many as there are places wait, at most
STEP_S = 0.001  # of the loop's timers


class Waiter(ABC):
    """Who waits for a place. until: how long, at most, on `time.monotonic`; set by `Places.wait`."""

    __slots__ = ("until",)

    until: float

    @abstractmethod
    def admit(self) -> None:
        """A place is its own, and it waits no more. Others may be in the middle of something: it only takes note."""

    @abstractmethod
    def expire(self) -> None:
        """It has waited for as long as anybody may, and waits no more."""


class _Call(Waiter):
    """One whose task waits."""

    __slots__ = ("is_admitted", "woken")

    def __init__(self, woken: asyncio.Future[None]) -> None:
        self.woken = woken
        self.is_admitted = False

    def admit(self) -> None:
        self.is_admitted = True
        self._wake()

    def expire(self) -> None:
        self._wake()

    def _wake(self) -> None:
        if not self.woken.done():  # else it was cancelled: the task is about to see to the place itself
            self.woken.set_result(None)


class Places:
    """Those of one upstream, and the queue for them, in one event loop.

    name: the upstream's, for messages. queue_wait_s: how long anybody may wait. free: places that are nobody's. kept:
    as many of those are for who has waited and asks once more in a moment; others have one if there are more.
    """

    def __init__(self, name: str, *, max_in_flight: int, queue_wait_s: float) -> None:
        self._name = name
        self._all = self.free = max_in_flight
        self.kept = 0
        # As they came. All may wait for the same time, so the first is the first to expire as well.
        self._queue: OrderedDict[Waiter, None] = OrderedDict()
        # FIFO, so whoever is admitted last waits for as long as half an answer takes, however long that is. As many as
        # there are places would double the time of everybody while there is too much to do.
        self._few = self._many = max(1, max_in_flight // 2)
        self.queue_wait_s = queue_wait_s
        # More where calls end fast, until that is not so any more.
        self._many_until = self._counted_at = -math.inf
        # What was promised to those that wait otherwise from now on, whatever the pace says by then.
        self._room, self._room_until = 0, -math.inf
        self._left = 0  # calls that have ended since they were counted
        self._expiry: asyncio.TimerHandle | None = None  # of the first that waits

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
        """Take a place, one that is kept as well, or wait for one.

        Raises UpstreamBusy: too many wait already, or no place was free in time.
        """
        if self.free > 0:
            self.free -= 1
        else:
            await self._wait_as_call()

    def give(self) -> None:
        """A place that somebody had and made no call of: to whoever has waited the longest."""
        if self._queue:
            waiter, _ = self._queue.popitem(last=False)
            waiter.admit()
        else:
            self.free += 1

    def leave(self) -> None:
        """A call is over, and its place is the next one's."""
        self._left += 1
        if self._left == COUNTED:
            self._note_pace()
        if self._queue:  # as a rule nobody waits, and that should cost nothing
            self.give()
        else:
            self.free += 1

    def wait(self, waiter: Waiter) -> bool:
        """Queue for a place until it is admitted, expires or waits no more; False: too many wait already."""
        if len(self._queue) >= self._max_queue():
            return False
        self._queue[waiter] = None
        now = monotonic()
        waiter.until = now + self.queue_wait_s
        if self._expiry is None:
            self._expire_at(waiter.until, now)
        return True

    def wait_no_more(self, waiter: Waiter) -> None:
        """Harmless for one that was admitted or has expired."""
        self._queue.pop(waiter, None)

    def wait_otherwise(self, waiter: Waiter) -> None:
        """It is about to wait as a call does: there is room for it, whatever the pace is by then."""
        now = monotonic()
        self._room = max(self._room if now < self._room_until else 0, len(self._queue))
        self._room_until = now + self.queue_wait_s
        self._keep_room(now)
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
        """A place that was taken back is not for who comes until `hand_on_kept`: who had it is about to `enter`."""
        self.kept += 1

    def hand_on_kept(self) -> None:
        """Who had it has entered, or never will."""
        self.kept -= 1
        self.hand_on()

    def _note_pace(self) -> None:
        """So many calls have ended as say how many will in the time that anybody may wait for, whoever comes."""
        now, self._left = monotonic(), 0
        took = max(now - self._counted_at, 1e-6)
        self._many = max(self._few, min(MOST * self._all, int(COUNTED * SOON_S / took)))
        self._counted_at, self._many_until = now, now + max(2 * took, SOON_S)
        self._keep_room(now)

    def _keep_room(self, now: float) -> None:
        if now < self._room_until:
            self._many = max(self._many, self._room)
            self._many_until = max(self._many_until, self._room_until)

    def _max_queue(self) -> int:
        return self._few if self._many == self._few or monotonic() > self._many_until else self._many

    async def _wait_as_call(self) -> None:
        waiter = _Call(asyncio.get_running_loop().create_future())
        if not self.wait(waiter):
            raise self.busy()
        try:
            await waiter.woken
        except BaseException:
            if waiter.is_admitted:
                self.give()  # the place came at the same moment: hand it on
            else:
                self.wait_no_more(waiter)
            raise
        if not waiter.is_admitted:
            raise UpstreamBusy(f"{self._name} is busy: no place within {self.queue_wait_s:g} s")

    def _first(self) -> Waiter | None:
        return next(iter(self._queue), None)

    def _expire(self) -> None:
        now = monotonic()
        try:
            while (first := self._first()) is not None and first.until <= now:
                del self._queue[first]
                first.expire()
        finally:  # whatever came of one, there are others behind it
            self._expiry = None  # not before: who begins to wait meanwhile is not the first
            if (first := self._first()) is not None:
                self._expire_at(first.until, now)

    def _expire_at(self, until: float, now: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(max(until - now, STEP_S), self._expire)
