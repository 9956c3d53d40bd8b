"""Cancels requests whose client has gone.

Our own server tells at once. Elsewhere only a pending `receive` does (under Granian `send` never fails after a
disconnect): watching so costs a task, and many requests end within milliseconds, so a watcher starts only for those
that have been under way for a tick.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from tollhouse.gateway.server.exchange import SCOPE_KEY, HttpExchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.middlewares.exchange import Exchange

TICK_S = 0.01


class DisconnectWatch:
    """One per event loop."""

    def __init__(self) -> None:
        self._served: dict[Exchange, asyncio.Task[None]] = {}
        self._direct: dict[Exchange, Callable[[], None]] = {}  # those that no task serves
        self._young: list[Exchange] = []
        self._older: list[Exchange] = []
        self._watchers: dict[Exchange, asyncio.Task[None]] = {}
        self._ticking = False

    def add(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """The current task serves `exchange`: cancel it (with `exchange.gone` set) when the client goes."""
        task = asyncio.current_task(loop)
        assert task is not None
        self._served[exchange] = task
        connection: HttpExchange | None = exchange.scope.get(SCOPE_KEY)
        if connection is not None:
            connection.watch(partial(_cancel, exchange, task))
            return
        self._young.append(exchange)
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_S, self._tick, loop)

    def tell(self, exchange: Exchange, gone: Callable[[], None]) -> None:
        """No task serves `exchange`: call `gone` when the client goes, until `hush`."""
        connection = exchange.connection
        assert connection is not None
        self._direct[exchange] = gone
        connection.watcher = gone

    def hush(self, exchange: Exchange) -> None:
        """The request has ended, or a task serves it now."""
        connection = exchange.connection
        assert connection is not None
        del self._direct[exchange]
        connection.watcher = None

    def discard(self, exchange: Exchange) -> None:
        """The request has ended."""
        del self._served[exchange]
        connection: HttpExchange | None = exchange.scope.get(SCOPE_KEY)
        if connection is not None:
            connection.watch(None)
        elif self._watchers:
            watcher = self._watchers.pop(exchange, None)
            if watcher is not None:
                watcher.cancel()

    def give_up(self) -> None:
        """Treat every client as gone, when the process must end: those that are left do not read."""
        for exchange, task in self._served.items():
            _cancel(exchange, task)
        for gone in tuple(self._direct.values()):
            gone()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        # Two generations: whoever is found in the second has lived for at least one whole tick.
        for exchange in self._older:
            task = self._served.get(exchange)
            if task is not None:
                self._watchers[exchange] = loop.create_task(_watch(exchange, task))
        self._older, self._young = self._young, []
        if self._older:
            loop.call_later(TICK_S, self._tick, loop)
        else:
            self._ticking = False


def _cancel(exchange: Exchange, task: asyncio.Task[None]) -> None:
    exchange.gone = True
    task.cancel()


async def _watch(exchange: Exchange, task: asyncio.Task[None]) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    _cancel(exchange, task)
