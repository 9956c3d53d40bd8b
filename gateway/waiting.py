"""Requests that wait as they came, with nothing done for them: for a place upstream, or to be told of none."""

from __future__ import annotations

import math
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.providers.places import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tollhouse._native import FastRequest, RequestReader
    from tollhouse.gateway.fastpath import FastPath
    from tollhouse.gateway.server.protocol import HttpConnection


EVERY_S = 0.01  # so often
AT_ONCE = 64  # requests are refused, which take less than a tenth of that; as many more as that is late


class Waiting(Waiter):
    """What its connection is busy with meanwhile; `fast` says what becomes of it."""

    __slots__ = ("_fast", "connection", "found", "reader", "wants_place")

    awaits_body = is_answering = is_done = False

    def __init__(self, fast: FastPath, connection: HttpConnection, reader: RequestReader, found: FastRequest) -> None:
        self._fast = fast
        self.wants_place = False  # else it is to be told that there is none
        self.connection = connection
        self.reader = reader
        self.found = found

    @property
    def is_over(self) -> bool:
        """Whether it does not wait any more."""
        return self.connection.exchange is not self

    def admit(self) -> None:
        # Whoever gives the place may be in the middle of something.
        self.connection.loop.call_soon(self._fast.resume, self)

    def expire(self) -> None:
        self._fast.turn_away(self)

    def advance(self, flags: int) -> None:
        """More has come, of what follows this request."""

    def disconnect(self) -> None:
        """The client has gone."""
        self.found.way.origin.places.wait_no_more(self)
        self._fast.gave_up(self)

    def go_on(self) -> None:
        """It waits no longer as it came: what it needs is about to be let go of, or the process ends."""
        if self.wants_place:
            self.found.way.origin.places.wait_otherwise(self)
            self._fast.begin_ordinary(self)
        else:
            self._fast.turn_away(self)


class Refusals:
    """Those that are to be refused: a few at once, others a few at a time, and within the time that anybody may wait.

    Many ask again as soon as they are refused. To tell them so at once would leave no time for those that are served.
    """

    def __init__(self, refuse: Callable[[Waiting], None]) -> None:
        self._refuse = refuse
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # So many may be refused in what is left of EVERY_S, which began then.
        self._left = 0
        self._began = -math.inf

    def passes(self) -> bool:
        """Whether one may be refused at once, and that is done: nobody waits for it, and few were of late."""
        if self._waiting:
            return False
        if (now := monotonic()) - self._began >= EVERY_S:
            self._began, self._left = now, AT_ONCE
        self._left -= 1
        return self._left >= 0

    def add(self, waiting: Waiting, within_s: float) -> None:
        now = monotonic()
        waiting.until = now + within_s
        self._waiting.append(waiting)
        if self._timer is None:
            self._began = now
            self._wait(waiting.connection.loop)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(EVERY_S, self._next)

    def _next(self) -> None:
        self._timer = None
        waiting, now = self._waiting, monotonic()
        self._left = AT_ONCE * max(1, int((now - self._began) / EVERY_S))
        self._began = now
        try:
            while waiting and (self._left > 0 or waiting[0].until <= now):
                one = waiting.popleft()
                if not one.is_over:  # else the client has gone
                    self._refuse(one)
                    self._left -= 1
        finally:
            self._left = min(self._left, AT_ONCE)  # a pause of the loop is no reason to refuse more than that at once
            if waiting:
                self._wait(waiting[0].connection.loop)
