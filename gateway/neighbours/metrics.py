"""What the services next door have to tell Prometheus. Labels are names of services."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.gateway.neighbours.cache import Tally
    from tollhouse.providers.breaker import Breaker

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class NeighbourMetrics:
    """Calls are counted as they end; caches and breakers are looked at when somebody scrapes."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "gateway_neighbour_requests",
            "Calls of services around the gateway, by what became of them.",
            ("service", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "gateway_neighbour_seconds",
            "How long services took to answer, or not to.",
            ("service",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._state = Gauge(
            "gateway_neighbour_breaker_state",
            "Whether a service is asked: 0 it is, 1 one call is finding out, 2 it is not.",
            ("service",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._cached = Counter(
            "gateway_neighbour_cache",
            "Answers of services that were wanted: hit, miss, stale (used although its time was over).",
            ("service", "result"),
            registry=registry,
        )
        self._open = Counter(
            "gateway_neighbour_fail_open",
            "Requests that went on without the answer of a service.",
            ("service",),
            registry=registry,
        )
        self._alerts = Counter(
            "gateway_alerts", "Alerts, by kind: sent, held back, lost.", ("kind", "outcome"), registry=registry
        )
        self._breakers: dict[str, Breaker] = {}
        self._tallies: dict[str, Tally] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._lock = Lock()  # scrapes come from other threads

    def watch(self, service: str, breaker: Breaker) -> None:
        self._breakers[service] = breaker

    def count_cache(self, service: str, tally: Tally) -> None:
        self._tallies[service] = tally

    def called(self, service: str, outcome: str, seconds: float) -> None:
        self._calls.labels(service, outcome).inc()
        self._seconds.labels(service).observe(seconds)

    def refused(self, service: str, outcome: str) -> None:
        """A call that was not made."""
        self._calls.labels(service, outcome).inc()

    def went_on(self, service: str) -> None:
        self._open.labels(service).inc()

    def alerted(self, kind: str, outcome: str) -> None:
        self._alerts.labels(kind, outcome).inc()

    def flush(self, clock: Callable[[], float] = monotonic) -> None:
        """May be called in any thread."""
        now = clock()
        with self._lock:
            for service, breaker in self._breakers.items():
                self._state.labels(service).set(breaker.state(now))
            for service, tally in self._tallies.items():
                for result, total in (("hit", tally.hits), ("miss", tally.misses), ("stale", tally.stale)):
                    self._cached.labels(service, result).inc(total - self._told.get((service, result), 0))
                    self._told[service, result] = total
