"""What routing has to tell Prometheus. Labels are names from the configuration."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from tollhouse.providers.breaker import OPEN

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tollhouse.providers.router import Router


class RouteMetrics:
    """Counts what is rare; the breakers are looked at when somebody scrapes."""

    def __init__(self, router: Router, *, registry: CollectorRegistry) -> None:
        self._router = router
        self._timer: asyncio.TimerHandle | None = None
        self._state = Gauge(
            "gateway_breaker_state",
            "Whether a deployment is asked: 0 it is, 1 one request is finding out, 2 it is not.",
            ("deployment",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._fallbacks = Counter(
            "gateway_fallbacks",
            "Requests that went on to another model, by the cause of it.",
            ("from", "to", "cause"),
            registry=registry,
        )
        self._retries = Counter(
            "gateway_retries", "Attempts at a deployment that had failed.", ("model", "cause"), registry=registry
        )
        self._hedges = Counter(
            "gateway_hedges", "Requests that two deployments were asked.", ("model", "won"), registry=registry
        )

    def fell_back(self, model: str, to: str, cause: str) -> None:
        self._fallbacks.labels(model, to, cause).inc()

    def retried(self, model: str, cause: str) -> None:
        self._retries.labels(model, cause).inc()

    def hedged(self, model: str, *, is_won: bool) -> None:
        self._hedges.labels(model, "second" if is_won else "first").inc()

    def flush(self) -> None:
        """May be called in any thread."""
        now = monotonic()
        waits = []
        for target in self._router.targets:
            state = target.breaker.state(now)
            self._state.labels(target.id).set(state)
            if state == OPEN:
                waits.append(target.breaker.wait_s(now))
        if waits and self._timer is None:
            self._look_again(min(waits))

    def _look_again(self, wait_s: float) -> None:
        """Of several workers the largest state is told: one that gets no requests must not go on telling an old one."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a thread of whoever scrapes, which comes again by itself
            return
        self._timer = loop.call_later(wait_s, self._looked)

    def _looked(self) -> None:
        self._timer = None
        self.flush()
