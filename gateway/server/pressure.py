"""How long requests wait before anybody reads them: the queue that nobody sees is the one in the sockets."""

from __future__ import annotations

import math
import socket
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

LOOK_S = 0.1  # how often the wait is taken while nothing is the matter
WATCH_S = 0.001  # and while something is; a shorter wait is none
TIMES = 2  # so many waits that are too long before they are short again: a single one may be a collection
PART = 0.2  # of the longest wait is there for new requests, once there is too much to do
CALM_S = 0.5  # so long must waits be short, and nobody be refused


class Pressure:
    """Whether what has come waits for longer than most_s (0: nobody asks), and what is to be done about new requests.

    A byte on a socket of its own takes its turn among all others: how long it takes is how long they wait. (A loop that
    comes round in time may still read a thousand sockets of ten thousand.) What is read while one has waited for too
    long came after it, and is refused; what a single thing has kept waiting came before. Once that has happened, or two
    bytes have waited for too long, requests are let in while a byte has waited for a part of it only (`until` then, on
    `time.monotonic`), and this goes on until waits are short although nobody is refused. So those that are served wait
    for a bounded time, and so does everybody who asks how the gateway is.
    """

    __slots__ = ("_asked", "_calm_since", "_handle", "_long", "_loop", "_most_s", "_sockets", "is_high", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, most_s: float) -> None:
        self.is_high = False
        self.until = math.inf
        self._loop = loop
        self._most_s = most_s
        self._long = 0  # waits that were too long, since they were short
        self._asked = self._calm_since = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        if most_s:
            self._sockets = socket.socketpair()
            for one in self._sockets:
                one.settimeout(0)
            loop.add_reader(self._sockets[1].fileno(), self._came)
            self._ask_after(LOOK_S)

    def refused(self) -> None:
        """It was later than that, and somebody was told so."""
        self.is_high = True
        self._calm_since = monotonic()

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
        self.until = monotonic() + self._most_s * (PART if self.is_high else 1)
        self._sockets[0].send(b"\0")

    def _came(self) -> None:
        self._sockets[1].recv(1)
        now = monotonic()
        wait = now - self._asked
        if wait > self._most_s:
            self._long += 1
            self.is_high = self.is_high or self._long >= TIMES
        if wait > self._most_s / 2:
            self._calm_since = now
        if now - self._calm_since > CALM_S:
            self.is_high = False
            self._long = 0
        self.until = now + self._most_s * PART if self.is_high else math.inf
        is_watched = self.is_high or wait > self._most_s / 4
        if is_watched and wait > WATCH_S:
            self._asked = now
            self._ask()
        else:
            self._ask_after(WATCH_S if is_watched else LOOK_S)
