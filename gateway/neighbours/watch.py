"""Whether a service is there at all, asked apart from requests: for /health/ready, which is asked when none come."""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.middlewares.tasks import ended
from tollhouse.providers.breaker import OPEN

if TYPE_CHECKING:
    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.client import Client

_FIRST_S = 0.5  # between looks until the service has answered
logger = logging.getLogger("tollhouse.neighbours")
_JITTER = 0.1  # of the interval: workers and replicas do not ask in step


class Watch:
    """Of one service."""

    def __init__(self, client: Client, settings: ServiceSettings) -> None:
        self._client = client
        self._settings = settings
        self.is_up = False
        self.has_answered = False  # ever
        self._task: asyncio.Task[None] | None = None

    def failing(self, *, is_required: bool) -> str | None:
        """Its name for /health/ready, if it is wanted there.

        A service whose breaker has waited long enough is no reason any more: somebody has to come and find out.
        """
        name = f"{self._settings.name}_service"
        if not self._client.is_set:
            return f"{name}: {self._settings.variable} is not set"
        if is_required and not self.has_answered:
            return name
        is_well = self.is_up and self._client.breaker.state(monotonic()) != OPEN
        return name if self._settings.is_closed and not is_well else None

    async def open(self) -> None:
        if self._client.is_set:
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        await ended(self._task)

    async def _keep(self) -> None:
        while True:
            is_up = await self._client.is_alive()
            if is_up != self.is_up:
                logger.log(
                    logging.INFO if is_up else logging.WARNING,
                    "the %s service %s",
                    self._settings.name,
                    "is there" if is_up else "does not answer its health check",
                )
            self.is_up = is_up
            self.has_answered |= is_up
            interval_s = self._settings.health_interval_s
            pause_s = interval_s if self.is_up else min(_FIRST_S, interval_s)
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311
