"""What stands around a request, for Prometheus: guards, stores, queues in front of upstreams, which version runs."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from tollhouse._native import __version__
from tollhouse.middlewares.metrics import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry

    from tollhouse.providers.transport import Origin

_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1)
NS = tuple(round(bound * 1e9) for bound in _SECONDS)


class GuardMetrics:
    """Runs of guards by outcome: allowed, transformed, blocked, failed (which refuses, too). Tallied, then handed on.

    The one place where a further guard is counted: `saw("its name", ...)`.
    """

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "gateway_guard_runs",
            "Texts that a guard has looked at, by guard, direction (request, response) and outcome.",
            ("guard", "direction", "outcome"),
            registry=registry,
        )
        self._duration = Histogram(
            "gateway_guard_duration_seconds",
            "How long a guard took over a whole request or answer.",
            ("guard", "direction"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._findings = Counter(
            "gateway_scan_findings",
            "What the scan found, by type, direction (request, response) and action.",
            ("type", "direction", "action"),
            registry=registry,
        )
        self._counts: dict[tuple[str, str, str], int] = {}
        self._times: dict[tuple[str, str], tuple[list[int], int]] = {}
        self._lock = Lock()  # long bodies are scanned, and scrapes come, in other threads

    def found(self, kind: str, direction: str, action: str, number: int) -> None:
        self._findings.labels(kind, direction, action).inc(number)

    def saw(self, guard: str, direction: str, outcome: str, took_ns: int = 0) -> None:
        """took_ns: 0 where it worked piece by piece."""
        with self._lock:
            key = guard, direction, outcome
            self._counts[key] = self._counts.get(key, 0) + 1
            if took_ns:
                buckets, total = self._times.get(key[:2]) or ([0] * (len(NS) + 1), 0)
                buckets[bisect_left(NS, took_ns)] += 1
                self._times[key[:2]] = buckets, total + took_ns

    def add(
        self, guard: str, direction: str, outcomes: dict[str, int], by_duration: Sequence[int], total_ns: int
    ) -> None:
        """Runs that somebody else has counted, by outcome and by `NS`."""
        with self._lock:
            for outcome, number in outcomes.items():
                if number:
                    key = guard, direction, outcome
                    self._counts[key] = self._counts.get(key, 0) + number
            buckets, total = self._times.get((guard, direction)) or ([0] * (len(NS) + 1), 0)
            buckets = [a + b for a, b in zip(buckets, by_duration, strict=True)]
            self._times[guard, direction] = buckets, total + total_ns

    def flush(self) -> None:
        """May be called in any thread."""
        with self._lock:
            counts, self._counts = self._counts, {}
            times, self._times = self._times, {}
        for labels, count in counts.items():
            self._runs.labels(*labels).inc(count)
        for labels_of_time, (buckets, total) in times.items():
            observe(self._duration.labels(*labels_of_time), buckets, total)


class StateMetrics:
    """Looked at when somebody scrapes. stores: whether each answers; spent_alone: requests that were admitted without
    the shared store, on soft budgets.
    """

    def __init__(
        self,
        *,
        stores: dict[str, Callable[[], bool]],
        spent_alone: Callable[[], int],
        origins: Callable[[], Iterable[Origin]],
        registry: CollectorRegistry,
    ) -> None:
        self._stores = stores
        self._spent_alone = spent_alone
        self._origins = origins
        self._told = 0
        self._lock = Lock()
        self._up = Gauge(
            "gateway_store_up",
            "Whether a store answers: keys, quota.",
            ("store",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._fail_open = Counter(
            "gateway_fail_open",
            "Requests that passed although a guard or store could not decide (soft budgets only).",
            ("what",),
            registry=registry,
        )
        self._fail_open.labels("soft_budget")
        self._in_flight = Gauge(
            "gateway_upstream_in_flight",
            "Calls under way, by provider.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "gateway_upstream_queue",
            "Requests that wait for a place at an upstream, by provider.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        info = Gauge(
            "gateway_build_info", "1, with the version.", ("version",), registry=registry, multiprocess_mode="livemax"
        )
        info.labels(__version__).set(1)

    def flush(self) -> None:
        """May be called in any thread."""
        for name, is_up in self._stores.items():
            self._up.labels(name).set(is_up())
        with self._lock:
            total = self._spent_alone()
            self._fail_open.labels("soft_budget").inc(total - self._told)
            self._told = total
        sums: dict[str, list[int]] = {}
        for origin in list(self._origins()):
            numbers = sums.setdefault(origin.name, [0, 0])
            numbers[0] += origin.places.in_flight
            numbers[1] += origin.places.waiting
        for provider, (in_flight, waiting) in sums.items():
            self._in_flight.labels(provider).set(in_flight)
            self._waiting.labels(provider).set(waiting)
