"""Cancels requests whose client has gone.

Under Granian `send` never fails after a disconnect; only `receive` tells. Watching costs a task, and most requests end
within milliseconds, so a watcher starts only for those that have been under way for a tick.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange

TICK_S = 0.01


class DisconnectWatch:
    """One per event loop."""

    def __init__(self) -> None:
        self._young: dict[Exchange, asyncio.Task[None]] = {}
        self._waiting: dict[Exchange, asyncio.Task[None]] = {}
        self._watchers: dict[
            Exchange, tuple[asyncio.Task[None], asyncio.Task[None]]
        ] = {}  # who watches, who is watched
        self._ticking = False

    def add(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """The current task serves `exchange`: cancel it (with `exchange.gone` set) when the client goes."""
        task = asyncio.current_task(loop)
        assert task is not None
        self._young[exchange] = task
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_S, self._tick, loop)

    def discard(self, exchange: Exchange) -> None:
        """The request has ended."""
        if self._young.pop(exchange, None) is None and self._waiting.pop(exchange, None) is None:
            found = self._watchers.pop(exchange, None)
            if found is not None:
                found[0].cancel()

    def give_up(self) -> None:
        """Treat every client as gone, when the process must end: those that are left do not read."""
        watched = {exchange: task for exchange, (_, task) in self._watchers.items()}
        for exchange, task in (self._young | self._waiting | watched).items():
            exchange.gone = True
            task.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        # Two generations: whoever is found in the second has lived for at least one whole tick.
        for exchange, task in self._waiting.items():
            self._watchers[exchange] = loop.create_task(_watch(exchange, task)), task
        self._waiting = self._young
        self._young = {}
        if self._waiting:
            loop.call_later(TICK_S, self._tick, loop)
        else:
            self._ticking = False


async def _watch(exchange: Exchange, task: asyncio.Task[None]) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    exchange.gone = True
    task.cancel()
