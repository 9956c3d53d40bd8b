"""WAIT for replicas, once for all who wait in the same turn of the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tollhouse.middlewares.stores.redis.wire import command

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.middlewares.stores.redis.connection import Connection


class Wait:
    """How many `replicas`, and for how long: less than a command may take, for what is asked behind it waits too."""

    def __init__(self, replicas: int, *, timeout_ms: int, probe: bytes) -> None:
        self.replicas = replicas
        # WAIT looks at what was written on its own connection; an admission may have been written on the one before.
        self._write = command("SET", probe, "1")
        self._command = command("WAIT", replicas, max(1, timeout_ms))
        self._shared: asyncio.Future[Any] | None = None
        self._on: Connection | None = None

    def on(self, connection: Connection) -> Awaitable[Any]:
        """How many replicas have everything that was answered on this connection so far."""
        if self._shared is None or self._on is not connection:
            connection.execute(self._write)
            self._shared = connection.execute(self._command)
            self._on = connection
            # What is answered in later turns needs a later WAIT.
            asyncio.get_running_loop().call_soon(self._forget)
        return asyncio.shield(self._shared)

    def _forget(self) -> None:
        self._shared = self._on = None
