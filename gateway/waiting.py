"""Requests that wait as they came, with nothing done for them: for a place upstream, or to be told of none."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.providers.transport import PlainWaiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tollhouse._native import FastRequest, RequestReader
    from tollhouse.gateway.fastpath import FastPath
    from tollhouse.gateway.server.protocol import HttpConnection


EVERY_S = 0.01  # so often
AT_ONCE = 64  # requests are refused, which take less than a tenth of that; as many more as that is late


class Waiting(PlainWaiter):
    """What its connection is busy with meanwhile; `fast` says what becomes of it."""

    __slots__ = ("_fast", "connection", "found", "is_queued", "reader", "wants_place")

    awaits_body = is_answering = is_done = False

    def __init__(self, fast: FastPath, connection: HttpConnection, reader: RequestReader, found: FastRequest) -> None:
        self._fast = fast
        self.wants_place = False  # else it is to be told that there is none
        self.is_queued = False
        self.connection = connection
        self.reader = reader
        self.found = found

    @property
    def is_over(self) -> bool:
        """Whether it does not wait any more."""
        return self.connection.exchange is not self

    def set_result(self, result: None, /) -> None:
        self.is_queued = False
        # Whoever gives the place may be in the middle of something.
        self.connection.loop.call_soon(self._fast.resume, self)

    def expire(self) -> None:
        self.is_queued = False
        self._fast.turn_away(self)

    def fail(self, _: Exception) -> None:
        """The process ends, and no place is of use any more."""
        self._leave_queue()
        self._fast.turn_away(self)

    def advance(self, flags: int) -> None:
        """More has come, of what follows this request."""

    def disconnect(self) -> None:
        """The client has gone."""
        self._leave_queue()
        self._fast.leave(self)

    def go_on(self) -> None:
        """What it needs to be served is about to be let go of: it has it now, and waits for the rest."""
        if self.wants_place:
            self._leave_queue()
            self._fast.begin_ordinary(self)

    def _leave_queue(self) -> None:
        if self.is_queued:
            self.is_queued = False
            self.found.way.origin.wait_no_more(self)


class Refusals:
    """Those that are to be refused: a few at a time, and within the time that anybody may wait.

    Many ask again as soon as they are refused. To tell them so at once would leave no time for those that are served.
    """

    def __init__(self, refuse: Callable[[Waiting], None]) -> None:
        self._refuse = refuse
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0  # to wait for the timer

    def add(self, waiting: Waiting, within_s: float) -> None:
        now = monotonic()
        waiting.until = now + within_s
        self._waiting.append(waiting)
        if self._timer is None:
            self._wait(waiting.connection.loop, now)

    def _wait(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._began = now
        self._timer = loop.call_later(EVERY_S, self._next)

    def _next(self) -> None:
        self._timer = None
        waiting, now = self._waiting, monotonic()
        left = AT_ONCE * max(1, int((now - self._began) / EVERY_S))
        try:
            while waiting and (left > 0 or waiting[0].until <= now):
                one = waiting.popleft()
                if not one.is_over:  # else the client has gone
                    self._refuse(one)
                    left -= 1
        finally:
            if waiting:
                self._wait(waiting[0].connection.loop, now)
