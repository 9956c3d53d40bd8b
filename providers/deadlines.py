"""Deadlines of all calls of an event loop, checked by one coarse timer instead of several timers per request.

A timer per call and kind of timeout costs more than the call's own bookkeeping; a tick of 100 ms is exact enough for
limits of seconds. The timer runs only while calls are under way.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from tollhouse.providers.call import Call
from tollhouse.providers.errors import UpstreamTimeout

logger = logging.getLogger("tollhouse.providers")
TICK_S = 0.1
_SLOTS = 64


class Deadlines:
    """The calls under way, and a clock (time.monotonic) that is read once per tick.

    A call that is not over by the next tick is parked until something of it can be due, at most for `_SLOTS` ticks: of
    ten thousand silent streams a tick looks at some hundred. A set keeps the room of the most that were ever in it:
    slots are cleared after their turn, or each would come to hold that of the worst moment.
    """

    def __init__(self) -> None:
        self._active: set[Call] = set()  # to be looked at by the next tick
        self._parked: dict[Call, int] = {}  # in which slot
        self._slots: list[set[Call]] = [set() for _ in range(_SLOTS)]
        self._ticks = 0
        self._ticking = False
        self.now = 0.0

    def add(self, call: Call, *, stream: bool) -> None:
        if not self._ticking:
            self._ticking = True
            self.now = monotonic()
            loop = asyncio.get_running_loop()
            loop.call_later(TICK_S, self._tick, loop)
        call.arm(self.now, stream=stream)
        self._active.add(call)

    def discard(self, call: Call) -> None:
        self._active.discard(call)
        if self._parked:
            slot = self._parked.pop(call, None)
            if slot is not None:
                self._slots[slot].discard(call)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = now = monotonic()
        self._ticks += 1
        turn = self._ticks % _SLOTS
        try:
            self._look(turn, now)
        finally:
            if self._active or self._parked:
                loop.call_later(TICK_S, self._tick, loop)
            else:
                self._ticking = False
                # Of their room: nothing is in them.
                self._active.clear()
                self._parked.clear()
                for slot in self._slots:
                    slot.clear()

    def _look(self, turn: int, now: float) -> None:
        for call in [*self._active, *self._slots[turn]]:
            if now >= call.ping_at or now >= call.total_at or call.is_late(now):
                try:
                    _act(call, now)
                except Exception as error:
                    logger.exception("unexpected %s at a deadline", type(error).__name__)
            # It may be over by now, and others with it.
            if call in self._active or self._parked.get(call) == turn:
                self._park(call, now)
        self._slots[turn].clear()  # of its room: all have gone, and none back to it

    def _park(self, call: Call, now: float) -> None:
        """Until the last tick before something may be due."""
        self.discard(call)
        ticks = min(_SLOTS - 1, max(1, int((call.due_at(now) - now) / TICK_S)))
        slot = self._parked[call] = (self._ticks + ticks) % _SLOTS
        self._slots[slot].add(call)


def _act(call: Call, now: float) -> None:
    timeouts = call.timeouts
    if now >= call.total_at:
        error = UpstreamTimeout(f"the upstream's answer took longer than {timeouts.total_s:g} s in total")
        error.is_total = True
        call.fail(error)
    elif call.is_late(now):
        if call.reader.events:
            msg = f"the upstream was silent for {call.patience_s:g} s in the middle of its answer"
        elif now >= call.first_at:
            msg = f"the upstream sent no first event within {timeouts.first_event_s:g} s"
        else:
            msg = f"the upstream sent nothing for {timeouts.idle_s:g} s"
        call.fail(UpstreamTimeout(msg))
    elif (quiet_until := call.read_at + timeouts.keepalive_s) > now:
        call.ping_at = quiet_until  # not silent: what comes in goes out
    else:
        call.ping_at = now + timeouts.keepalive_s
        call.nudge()
