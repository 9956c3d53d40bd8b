"""What routing has to tell Prometheus. Labels are names from the configuration."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tollhouse.providers.router import Router


class RouteMetrics:
    """Counts what is rare; the breakers are looked at when somebody scrapes."""

    def __init__(self, router: Router, *, registry: CollectorRegistry) -> None:
        self._router = router
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
        for target in self._router.targets:
            self._state.labels(target.id).set(target.breaker.state(now))
