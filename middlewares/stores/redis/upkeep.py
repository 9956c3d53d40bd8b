"""What a node does for the store once a second: tell what could not be told, see whether it works, expire holds."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.quota import StoreUnavailable
from tollhouse.middlewares.stores.redis.caller import Uncertain
from tollhouse.middlewares.stores.redis.plan import VERBS, Keys
from tollhouse.middlewares.stores.redis.reaper import expire_due

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.caller import Caller
    from tollhouse.middlewares.stores.redis.counters import Counters
    from tollhouse.middlewares.stores.redis.link import Link
    from tollhouse.middlewares.stores.redis.memory import Memory
    from tollhouse.middlewares.stores.redis.outbox import Outbox

logger = logging.getLogger("tollhouse.store")
BATCH = 100
PROBE_MS = 10_000
LAST_TRY_S = 1.0


class Upkeep:
    """A task between `start` and `stop`."""

    def __init__(
        self,
        link: Link,
        caller: Caller,
        outbox: Outbox,
        memory: Memory,
        keys: Keys,
        counters: Counters,
        *,
        every_s: float,
    ) -> None:
        self._link = link
        self._caller = caller
        self._outbox = outbox
        self._memory = memory
        self._keys = keys
        self._counters = counters
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="quota upkeep")

    async def stop(self) -> None:
        """Tell what is left, if the store is there."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_TRY_S):
                if self._link.available:
                    await self._tell()
        except (StoreUnavailable, TimeoutError):
            logger.warning("%d ends of holds could not be told to the quota store", len(self._outbox))

    async def _run(self) -> None:
        while True:
            # Nodes that were started together must not go on together.
            await asyncio.sleep(self._every_s * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
            if self._link.connection is None:
                continue
            try:
                if self._link.trouble is not None:
                    await self._caller.ask("SET", self._keys.probe, "1", "PX", PROBE_MS)
                    self._link.report(None)
                await self._tell()
                self._memory.forget_old(int(time.time() * 1000))
                while await expire_due(self._caller, self._keys, BATCH) == BATCH:
                    pass
            except StoreUnavailable:
                continue  # counted and said already
            except Exception:
                logger.exception("looking after the quota store failed")

    async def _tell(self) -> None:
        outbox = self._outbox
        for _ in range(len(outbox)):
            taken = outbox.take()
            self._counters.dropped = outbox.dropped
            if taken is None:
                return
            ending, verb = taken
            try:
                await self._caller.insist((*ending.head, VERBS[verb], *ending.tail), None, None)
                outbox.done()
                self._memory.end(ending.head[1], verb, ending.head, ending.tail)
            except BaseException as error:
                certain = isinstance(error, StoreUnavailable) and not isinstance(error, Uncertain)
                outbox.put_back(ending, uncertain=not certain)
                raise
