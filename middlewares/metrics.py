"""Prometheus metrics of requests. Several workers need PROMETHEUS_MULTIPROC_DIR before the first import.

Labels are bounded: route templates, configured model names, status codes; never a key, never a caller's free text.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from tollhouse.middlewares.stage import StageMiddleware

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class MetricsStage:
    """Counts requests, their latency, tokens and what is in flight.

    Children are looked up once per label set and kept: `labels()` costs three times what the increment costs.
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY, prefix: str = "gateway") -> None:
        self._requests = Counter(
            f"{prefix}_requests",
            "Requests by route, status, model and provider.",
            ("route", "status", "model", "provider"),
            registry=registry,
        )
        self._duration = Histogram(
            f"{prefix}_request_duration_seconds",
            "Time from the request's head to the end of its response.",
            ("route",),
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._overhead = Histogram(
            f"{prefix}_overhead_seconds",
            "Time to the start of the response less the wait for the upstream.",
            ("route",),
            buckets=_OVERHEAD_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            f"{prefix}_tokens",
            "Tokens by model, provider and kind (prompt, completion, cached, reasoning).",
            ("model", "provider", "kind"),
            registry=registry,
        )
        self._in_flight = Gauge(
            f"{prefix}_requests_in_flight",
            "Requests that have begun and not ended.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._request_children: dict[tuple[str, int, str, str], Counter] = {}
        self._route_children: dict[str, tuple[Histogram, Histogram]] = {}
        self._token_children: dict[tuple[str, str], tuple[Counter, ...]] = {}

    def enter(self, exchange: Exchange) -> None:
        self._in_flight.inc()

    def leave(self, exchange: Exchange) -> None:
        self._in_flight.dec()
        key = (exchange.route, exchange.status or 499, exchange.model, exchange.provider)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(key[0], str(key[1]), key[2], key[3])
        child.inc()
        duration, overhead = self._histograms(exchange.route)
        duration.observe((perf_counter_ns() - exchange.started_ns) * 1e-9)
        if exchange.overhead_ns:
            overhead.observe(exchange.overhead_ns * 1e-9)
        usage = exchange.usage
        if usage is not None:
            for counter, amount in zip(self._counters(exchange.model, exchange.provider), usage, strict=True):
                if amount:
                    counter.inc(amount)

    def _histograms(self, route: str) -> tuple[Histogram, Histogram]:
        found = self._route_children.get(route)
        if found is None:
            found = self._route_children[route] = (self._duration.labels(route), self._overhead.labels(route))
        return found

    def _counters(self, model: str, provider: str) -> tuple[Counter, ...]:
        found = self._token_children.get((model, provider))
        if found is None:
            kinds = ("prompt", "completion", "cached", "reasoning")
            found = tuple(self._tokens.labels(model, provider, kind) for kind in kinds)
            self._token_children[model, provider] = found
        return found


class MetricsMiddleware(StageMiddleware):
    """Records request count, latency and in-flight of any ASGI app.

    The label `route` is "unmatched" unless something further in sets `scope["tollhouse"].route` to the template of
    the path: raw paths are the caller's and have no bound.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry = REGISTRY, prefix: str = "gateway") -> None:
        super().__init__(app, MetricsStage(registry=registry, prefix=prefix))
