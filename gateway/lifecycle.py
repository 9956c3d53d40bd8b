"""Whether the process is draining, and what is still under way. Granian tells an app nothing of that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse.gateway.disconnect import DisconnectWatch
from tollhouse.providers.errors import UpstreamShutdown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.gateway.waiting import Waiting
    from tollhouse.providers.call import Call

CLOSE = (b"connection", b"close")


class Lifecycle:
    """State shared by the lane (which counts), the health routes (which tell) and the worker (which stops)."""

    def __init__(self) -> None:
        self.draining = False
        self.closing = False
        self.in_flight = 0
        self.calls: set[Call | Waiting] = set()
        self.watch = DisconnectWatch()
        # What is to be let go of when no request will come any more, and before those that run have ended.
        self.before_drain: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """It has nothing to open."""

    async def close(self) -> None:
        """Every request has ended: what follows is the app's own shutdown."""
        self.closing = True

    def drain(self) -> None:
        """From now on: not ready, and every response asks its client to close the connection."""
        self.draining = True

    async def ended(self, timeout_s: float, awaits: Callable[[], bool] = lambda: False) -> bool:
        """Wait until nothing is under way and nothing to come any more; False when the time is over first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.in_flight or awaits():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def end_calls(self) -> None:
        """At the deadline: every call ends with an error that its client can read."""
        for call in tuple(self.calls):
            call.fail(UpstreamShutdown("the gateway is shutting down"))

    def give_up(self) -> None:
        """After the deadline: end the requests whose clients do not even read that."""
        self.watch.give_up()
