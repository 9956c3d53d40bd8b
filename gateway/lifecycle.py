"""Whether the process is draining, and what is still under way. Granian tells an app nothing of that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tollhouse.gateway.disconnect import DisconnectWatch
from tollhouse.providers.errors import UpstreamShutdown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.gateway.waiting import Waiting
    from tollhouse.providers.call import Call

CLOSE = (b"connection", b"close")
logger = logging.getLogger("tollhouse.gateway")


class Lifecycle:
    """State shared by the lane (which counts), the health routes (which tell) and the worker (which stops)."""

    def __init__(self) -> None:
        self.draining = False
        self.closing = False
        self.in_flight = 0
        self.calls: set[Call] = set()
        self.waiting: dict[Waiting, None] = {}  # of those in flight, whoever waits as it came; the first first
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

    @property
    def working(self) -> int:
        """Requests in flight for which something has been done."""
        return self.in_flight - len(self.waiting)

    async def let_go(self) -> None:
        """No request comes any more, and what those that wait need to begin is let go of."""
        self._go_on()
        if self.before_drain is not None:
            await self.before_drain()

    def _go_on(self) -> None:
        for waiting in tuple(self.waiting):
            try:
                waiting.go_on()
            except BaseException as error:  # noqa: BLE001 - others wait behind it
                logger.error("unexpected %s at the beginning of a request", type(error).__name__)  # noqa: TRY400

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
        self._go_on()
        for call in tuple(self.calls):
            call.fail(UpstreamShutdown("the gateway is shutting down"))

    def give_up(self) -> None:
        """After the deadline: end the requests whose clients do not even read that."""
        self.watch.give_up()
