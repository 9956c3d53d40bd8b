"""Prometheus metrics of requests. Several workers need PROMETHEUS_MULTIPROC_DIR before the first import.

Labels are bounded: route templates, configured model names, status codes; never a key, never a caller's free text.

A request only adds to a tally in memory; prometheus-client's objects, an increment of which costs several calls and a
lock, take the sums over a few times a second and at every scrape of this process.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from tollhouse.middlewares.exchange import GONE
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import Metric

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp

FLUSH_S = 0.25  # how late a scrape can see what another worker counted
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
# As nanoseconds.
LATENCY_NS = tuple(round(bound * 1e9) for bound in _LATENCY_BUCKETS)
OVERHEAD_NS = tuple(round(bound * 1e9) for bound in _OVERHEAD_BUCKETS)
_TOKEN_KINDS = ("prompt", "completion", "cached", "reasoning")


class _Tally:
    """What was counted for one set of labels since the last flush. Times in nanoseconds."""

    __slots__ = ("duration", "duration_ns", "overhead", "overhead_ns", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.duration = [0] * (len(LATENCY_NS) + 1)
        self.duration_ns = 0
        self.overhead = [0] * (len(OVERHEAD_NS) + 1)
        self.overhead_ns = 0
        self.tokens: list[int] = []  # by kind; empty until an answer says its usage


class MetricsStage(Stage):
    """Counts requests, their latency, tokens and what is in flight."""

    # A registry refuses a second series of one name, and some frameworks (Litestar) make a middleware once per route.
    _shared: ClassVar[WeakKeyDictionary[CollectorRegistry, dict[str, MetricsStage]]] = WeakKeyDictionary()

    def __init__(self, *, registry: CollectorRegistry = REGISTRY, prefix: str = "gateway") -> None:
        registry.register(_Flusher(self))  # before the others: a scrape asks collectors in this order
        self._requests = Counter(
            f"{prefix}_requests",
            "Requests by route, status, model, provider and decision.",
            ("route", "status", "model", "provider", "decision"),
            registry=registry,
        )
        self._duration = Histogram(
            f"{prefix}_request_duration_seconds",
            "Time from the request's head to the end of its response.",
            ("route", "model", "provider", "decision"),
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
        self.in_flight = 0
        self._tallies: dict[tuple[str, int, str, str, bytes], _Tally] = {}
        self._lock = Lock()  # scrapes come from other threads
        self._handing_on = Lock()  # and show all of what another flush has begun to hand on
        # Others that tally and hand on at the same moments.
        self.before_flush: list[Callable[[], None]] = []
        self.is_flushing = False

    @classmethod
    def shared(cls, *, registry: CollectorRegistry, prefix: str) -> MetricsStage:
        """The stage of this registry and prefix, made when first asked for."""
        stages = cls._shared.setdefault(registry, {})
        stage = stages.get(prefix)
        if stage is None:
            stage = stages[prefix] = cls(registry=registry, prefix=prefix)
        return stage

    def enter(self, exchange: Exchange) -> None:
        self.begun()

    def begun(self) -> None:
        """A request has; `ended` when it has ended."""
        self.in_flight += 1
        if not self.is_flushing:
            self._flush_later()

    def ended(self) -> None:
        """One that had begun, and was counted or is about to be."""
        self.in_flight -= 1
        if not self.is_flushing:
            self._flush_later()

    def flush_soon(self) -> None:
        """Something was counted."""
        if not self.is_flushing:
            self._flush_later()

    def add(
        self,
        labels: tuple[str, int, str, str, bytes],
        requests: int,
        duration: Sequence[int],
        duration_ns: int,
        overhead: Sequence[int],
        overhead_ns: int,
        tokens: Sequence[int],
    ) -> None:
        """Requests that somebody else has counted: by LATENCY_NS and OVERHEAD_NS, and their tokens by kind."""
        with self._lock:
            tally = self._tallies.get(labels)
            if tally is None:
                tally = self._tallies[labels] = _Tally()
            tally.requests += requests
            tally.duration = [a + b for a, b in zip(tally.duration, duration, strict=True)]
            tally.duration_ns += duration_ns
            tally.overhead = [a + b for a, b in zip(tally.overhead, overhead, strict=True)]
            tally.overhead_ns += overhead_ns
            if any(tokens):
                tally.tokens = [a + b for a, b in zip(tally.tokens or [0] * len(_TOKEN_KINDS), tokens, strict=True)]

    def leave(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        key = (exchange.route, exchange.status or GONE, exchange.model, exchange.provider, exchange.decision)
        spent = perf_counter_ns() - exchange.started_ns
        with self._lock:
            tally = self._tallies.get(key)
            if tally is None:
                tally = self._tallies[key] = _Tally()
            tally.requests += 1
            tally.duration[bisect_left(LATENCY_NS, spent)] += 1
            tally.duration_ns += spent
            overhead = exchange.overhead_ns
            if overhead:
                tally.overhead[bisect_left(OVERHEAD_NS, overhead)] += 1
                tally.overhead_ns += overhead
            usage = exchange.usage
            if usage is not None:
                if not tally.tokens:
                    tally.tokens = [0] * len(_TOKEN_KINDS)
                tokens = tally.tokens
                prompt, completion, cached, reasoning = usage
                tokens[0] += prompt
                tokens[1] += completion
                tokens[2] += cached
                tokens[3] += reasoning
        if not self.is_flushing:
            self._flush_later()

    def flush(self) -> None:
        """Hand the sums on to prometheus-client. May be called in any thread; waits for one that is under way."""
        with self._handing_on:
            self._flush()

    def _flush(self) -> None:
        for flush in self.before_flush:
            flush()
        self._in_flight.set(self.in_flight)
        with self._lock:
            tallies, self._tallies = self._tallies, {}
        for (route, status, model, provider, decided), tally in tallies.items():
            decision = decided.decode()
            self._requests.labels(route, str(status), model, provider, decision).inc(tally.requests)
            observe(self._duration.labels(route, model, provider, decision), tally.duration, tally.duration_ns)
            if tally.overhead_ns:
                observe(self._overhead.labels(route), tally.overhead, tally.overhead_ns)
            for kind, amount in zip(_TOKEN_KINDS, tally.tokens, strict=False):
                self._tokens.labels(model, provider, kind).inc(amount)

    def _flush_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another framework's loop
            self.flush()
            return
        self.is_flushing = True
        loop.call_later(FLUSH_S, self._flush_now)

    def _flush_now(self) -> None:
        self.is_flushing = False
        # A scrape that is about to hand on is not waited for in the loop's thread.
        if not self._handing_on.acquire(blocking=False):
            self._flush_later()
            return
        try:
            self._flush()
        finally:
            self._handing_on.release()


class _Flusher:
    """A collector that has no metrics of its own."""

    def __init__(self, stage: MetricsStage) -> None:
        self._stage = stage

    def collect(self) -> Iterable[Metric]:
        self._stage.flush()
        return ()

    def describe(self) -> Iterable[Metric]:
        """Nothing; asked for at registration, when there is nothing to flush yet."""
        return ()


def observe(histogram: Histogram, buckets: Sequence[int], total_ns: int) -> None:
    """Add many observations at once, for which prometheus-client has no public way. Works in its multiprocess mode."""
    histogram._sum.inc(total_ns * 1e-9)  # noqa: SLF001
    for bucket, count in zip(histogram._buckets, buckets, strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)


class MetricsMiddleware(StageMiddleware):
    """Records request count, latency and in-flight of any ASGI app.

    Instances with the same registry and prefix count together. The label `route` is "unmatched" unless something
    further in sets `scope["tollhouse"].route` to the template of the path: raw paths are the caller's and have no
    bound.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry = REGISTRY, prefix: str = "gateway") -> None:
        super().__init__(app, MetricsStage.shared(registry=registry, prefix=prefix))
