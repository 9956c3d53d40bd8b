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


class Deadlines:
    """The calls under way, and a clock (time.monotonic) that is read once per tick."""

    def __init__(self) -> None:
        self._active: set[Call] = set()
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

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = now = monotonic()
        try:
            self._end_late(now)
        finally:
            if self._active:
                loop.call_later(TICK_S, self._tick, loop)
            else:
                self._ticking = False

    def _end_late(self, now: float) -> None:
        due = [call for call in self._active if now >= call.ping_at or now >= call.total_at or call.is_late(now)]
        for call in due:
            try:
                _act(call, now)
            except Exception as error:
                logger.exception("unexpected %s at a deadline", type(error).__name__)


def _act(call: Call, now: float) -> None:
    timeouts = call.timeouts
    if now >= call.total_at:
        call.fail(UpstreamTimeout(f"the upstream's answer took longer than {timeouts.total_s:g} s in total"))
    elif call.is_late(now):
        if call.reader.events:
            msg = f"the upstream was silent for {timeouts.idle_s:g} s in the middle of its answer"
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
