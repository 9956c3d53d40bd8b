"""What limits, budgets and their store have to tell Prometheus: handed on when the other metrics are."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tollhouse.gateway.quota import Quota

_NANO = 1e-9


class QuotaMetrics:
    """No labels by key: those are in the ledger."""

    def __init__(self, quota: Quota, *, registry: CollectorRegistry) -> None:
        self._quota = quota
        self._denied = Counter(
            "gateway_quota_denied",
            "Requests refused, by level and kind of limit.",
            ("level", "limit"),
            registry=registry,
        )
        self._cost = Counter("gateway_cost_usd", "What answers have cost.", ("model", "provider"), registry=registry)
        self._unpriced = Counter(
            "gateway_unpriced_requests",
            "Answers of models that have no price.",
            ("model", "provider"),
            registry=registry,
        )
        self._excess = Counter(
            "gateway_budget_excess_usd", "What answers came to beyond their reservation.", registry=registry
        )
        self._unavailable = Counter(
            "gateway_quota_store_unavailable", "Decisions that the store could not take.", registry=registry
        )
        self._up = Gauge(
            "gateway_quota_store_up",
            "Whether the store of limits and budgets answers.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._told: dict[tuple[str, tuple[str, str]], int] = {}
        self._lock = Lock()  # scrapes come from other threads

    def flush(self) -> None:
        """What has been added since the last time. May be called in any thread."""
        tally = self._quota.tally
        none = ("", "")
        with self._lock:
            for where, count in list(tally.denied.items()):
                self._denied.labels(*where).inc(self._more("denied", where, count))
            for where, nano in list(tally.cost.items()):
                self._cost.labels(*where).inc(self._more("cost", where, nano) * _NANO)
            for where, count in list(tally.unpriced.items()):
                self._unpriced.labels(*where).inc(self._more("unpriced", where, count))
            self._excess.inc(self._more("excess", none, tally.excess) * _NANO)
            self._unavailable.inc(self._more("unavailable", none, tally.unavailable))
            self._up.set(self._quota.healthy)

    def add(self, where: tuple[str, str], *, cost: int, unpriced: int) -> None:
        """What others have summed up since the last time: nano-USD, and answers without a price. In any thread."""
        if cost:
            self._cost.labels(*where).inc(cost * _NANO)
        if unpriced:
            self._unpriced.labels(*where).inc(unpriced)

    def _more(self, what: str, where: tuple[str, str], total: int) -> int:
        before = self._told.get((what, where), 0)
        self._told[what, where] = total
        return total - before
