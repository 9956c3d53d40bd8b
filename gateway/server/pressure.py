"""How long requests wait before anybody reads them: the queue that nobody sees is the one in the sockets."""

from __future__ import annotations

import math
import socket
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sized

FEW = 32  # connections cannot make a queue: whatever keeps them waiting is another thing, which no refusal ends
LOOK_S = 0.1  # how often the wait is taken while nothing is the matter
WATCH_S = 0.001  # and while something is; a shorter wait is none
TIMES = 2  # so many waits that are too long before they are short again: a single one may be a collection
PART = 0.05  # of the longest wait is there for new requests at first, once there is too much to do
CALM_S = 0.5  # after so long, if more were let in than refused, that part is doubled, until it is all


class Pressure:
    """Whether what has come waits for longer than most_s (0: nobody asks), and what is to be done about new requests.

    A byte on a socket of its own takes its turn among all others: how long it takes is how long they wait. (A loop that
    comes round in time may still read a thousand sockets of ten thousand.) What is read while one has waited for too
    long is refused, unless a single thing has kept all of them waiting. Once two bytes have waited for too long,
    requests are let in while a byte has waited for a part of that only, `until` then (on `time.monotonic`). So those
    that are served wait for a bounded time, and so does everybody who asks how the gateway is.

    connections: those that are open. Behind fewer than FEW nobody is looked at.
    is_rising: a byte has waited for a while, so nobody should begin to wait for anything else.
    read_at, let_in: when the last request was read, and how many were let in; only while `until` is finite.
    """

    __slots__ = (
        "_asked",
        "_connections",
        "_handle",
        "_long",
        "_loop",
        "_most_s",
        "_noted_at",
        "_noted_s",
        "_part",
        "_refused",
        "_refused_at",
        "_since",
        "_sockets",
        "is_high",
        "is_rising",
        "let_in",
        "read_at",
        "until",
    )

    def __init__(self, most_s: float, connections: Sized) -> None:
        self.is_high = self.is_rising = False
        self.until = math.inf
        self.read_at = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._most_s = most_s
        self._connections = connections
        self._noted_s = most_s / 4  # a wait that is longer is looked at more closely
        self._part = 1.0
        self._long = 0  # waits that were too long, since they were short
        self._asked = self._since = 0.0
        self._noted_at = self._refused_at = -math.inf  # a wait, and a request, for the last time
        self._refused = self.let_in = 0  # requests, `_since` then
        self._handle: asyncio.TimerHandle | None = None
        self._sockets: tuple[socket.socket, ...] = ()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until then nothing is late."""
        self._loop = loop
        if self._most_s:
            self._sockets = socket.socketpair()
            for one in self._sockets:
                one.settimeout(0)
            loop.add_reader(self._sockets[1].fileno(), self._came)
            self._ask_after(LOOK_S)

    def is_late(self, now: float) -> bool:
        """Whether a request that is read now, after `until`, is to be refused."""
        kept, self.read_at = now - self.read_at, now
        if kept > self._noted_s:  # by the one before, or by what is no request: that is no queue
            self.until += kept
        return now > self.until

    def refused(self) -> None:
        """A request that was late."""
        self._refused += 1
        self._refused_at = monotonic()

    def turned_away(self) -> None:
        """A request that was let in, for another reason: that says nothing of how long it has waited."""
        self._refused += 1
        self.let_in = max(0, self.let_in - 1)

    def stop(self) -> None:
        """It stays as it is."""
        if self._sockets:
            self._loop.remove_reader(self._sockets[1].fileno())
        for one in self._sockets:
            one.close()
        self._sockets = ()
        if self._handle is not None:
            self._handle.cancel()

    def _ask_after(self, delay_s: float) -> None:
        self._asked = monotonic() + delay_s  # a timer waits for its turn as well
        self._handle = self._loop.call_later(delay_s, self._ask)

    def _ask(self) -> None:
        if len(self._connections) < FEW:
            self._calm()
            return
        try:
            self._sockets[0].send(b"\0")
        except OSError:  # no memory in the kernel, say
            self.until = math.inf
            self._ask_after(LOOK_S)
        else:
            self.read_at = monotonic()
            self.until = self.read_at + self._most_s * self._part

    def _calm(self) -> None:
        self.until = math.inf
        self.is_high = self.is_rising = False
        self._part = 1.0
        self._long = 0
        self._noted_at = -math.inf
        self._ask_after(LOOK_S)

    def _came(self) -> None:
        self._sockets[1].recv(1)
        now = monotonic()
        wait = now - self._asked
        self._judge(now, wait)
        self.until = now + self._most_s * self._part if self.is_high else math.inf
        is_watched = self.is_high or wait > self._noted_s
        if is_watched and wait > WATCH_S:
            self._asked = now
            self._ask()
        else:
            self._ask_after(WATCH_S if is_watched else LOOK_S)

    def _judge(self, now: float, wait: float) -> None:
        if wait > self._most_s:
            self._long += 1
            self.is_high = self.is_high or self._long >= TIMES or self._refused_at > self._asked
        if wait > self._most_s / 2:
            self._part = PART if self.is_high else 1.0
            self._look_from(now)
        elif now - self._since > CALM_S:
            # If a single refusal kept it as it is, large requests among small ones would do so for ever.
            if self._refused <= self.let_in:
                self._long = 0
                self._part = min(1.0, self._part * 2)
                self.is_high = self._part < 1.0
            self._look_from(now)
        if wait > self._noted_s:
            self._noted_at = now
        self.is_rising = self.is_high or now - self._noted_at < CALM_S

    def _look_from(self, now: float) -> None:
        self._since = now
        self._refused = self.let_in = 0
