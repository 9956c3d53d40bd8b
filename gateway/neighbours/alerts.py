"""Alerts to whoever is on call: at most one per minute and kind, in the background, and no request ever waits for one.

What is held back is counted in the next one of its kind. One that cannot be delivered is tried again until it is an
hour old; there is at most one per kind, so nothing grows.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from time import monotonic, time
from typing import TYPE_CHECKING

import orjson

from tollhouse.gateway.neighbours.away import Away, Rejected
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.gateway.neighbours.client import Client, Reply
    from tollhouse.gateway.neighbours.metrics import NeighbourMetrics

FAIL_OPEN, BREAKER_OPENED, OVERSPEND, STORE_AWAY = "fail_open", "breaker_opened", "overspend", "store_away"
KINDS = {
    FAIL_OPEN: ("warning", "requests go on without the answer of a service"),
    BREAKER_OPENED: ("warning", "a service keeps failing and is left alone for a while"),
    OVERSPEND: ("critical", "answers came to more than was reserved for them"),
    STORE_AWAY: ("critical", "the store of limits and budgets does not answer"),
}
HOLD_S = 60.0
KEEP_S = 3600.0
_AGAIN_S = 1.0
logger = logging.getLogger("tollhouse.neighbours")


class Rising:
    """Whether a sum has grown since the last look."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._seen = total()

    def __call__(self) -> bool:
        before, self._seen = self._seen, self._total()
        return self._seen > before


class Alerts:
    """client: None tells nobody but the log and the metrics. source: which gateway this is.

    conditions: by kind, whether it is so; looked at every look_s.
    """

    def __init__(
        self,
        client: Client | None,
        *,
        source: str,
        metrics: NeighbourMetrics,
        conditions: dict[str, Callable[[], bool]] | None = None,
        look_s: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._look_s = look_s
        self._client = client
        self._source = source
        self._metrics = metrics
        self._conditions = conditions or {}
        self._clock = clock
        self.told_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._waiting: dict[str, tuple[float, dict[str, object]]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def tell(self, kind: str, subject: str = "gateway") -> None:
        """Something has happened; subject: the part of the gateway, or the service, that it happened to."""
        now = self._clock()
        if now - self.told_at.get(kind, -HOLD_S) < HOLD_S:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            self._metrics.alerted(kind, "held_back")
            return
        self.told_at[kind] = now
        severity, text = KINDS[kind]
        logger.warning("alert %s (%s): %s", kind, subject, text)
        if self._client is None:
            return
        if kind in self._waiting:
            self._metrics.alerted(kind, "lost")
        self._waiting[kind] = (
            now,
            {
                "id": str(uuid.uuid4()),
                "kind": kind,
                "severity": severity,
                "subject": subject,
                "text": text,
                "at": int(time()),
                "held_back": self._held_back.pop(kind, 0),
                "source": self._source,
            },
        )
        self._wake.set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._client is not None:
            self._tasks.append(loop.create_task(self._deliver(self._client)))
        if self._conditions:
            self._tasks.append(loop.create_task(self._look()))

    async def close(self) -> None:
        await ended(*self._tasks)

    async def _look(self) -> None:
        """Tells of a condition when it begins, and reminds of it for as long as it lasts."""
        while True:
            await asyncio.sleep(self._look_s)
            for kind, holds in self._conditions.items():
                if holds():
                    self.tell(kind)

    async def _deliver(self, client: Client) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                kind, (since, event) = next(iter(self._waiting.items()))
                outcome = await self._sent(client, event)
                if outcome is None and self._clock() - since < KEEP_S:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                self._metrics.alerted(kind, outcome or "lost")
                if self._waiting.get(kind, (0, None))[1] is event:
                    del self._waiting[kind]

    async def _sent(self, client: Client, event: dict[str, object]) -> str | None:
        """What became of it; None: it may be tried again."""
        try:
            await client.ask(
                "POST",
                "/v1/alerts",
                _taken,
                body=orjson.dumps(event),
                headers=[("idempotency-key", str(event["id"]))],
                expected=(200, 201, 202, 204),
            )
        except Rejected:
            return "lost"
        except Away:
            return None
        return "sent"


def _taken(reply: Reply) -> None:
    """Nothing is to be read."""
