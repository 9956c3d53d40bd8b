"""What a delivery has to tell Prometheus: handed on when the other metrics are."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tollhouse.gateway.delivery import Delivery


class DeliveryMetrics:
    """name: that of the metrics begins so; what: is told, for their descriptions."""

    def __init__(self, name: str, what: str, delivery: Delivery, *, registry: CollectorRegistry) -> None:
        self._delivery = delivery
        self._delivered = Counter(f"{name}_delivered", f"{what} that have arrived.", registry=registry)
        self._failed = Counter(f"{name}_deliveries_failed", "Batches that were not taken.", registry=registry)
        self._up = Gauge(
            f"{name}_up", f"Whether {what.lower()} arrive.", registry=registry, multiprocess_mode="livemin"
        )
        self._told = (0, 0)
        self._lock = Lock()  # scrapes come from other threads

    def flush(self) -> None:
        """What has been added since the last time. May be called in any thread."""
        with self._lock:
            delivered, failed = self._delivery.delivered, self._delivery.failed
            self._delivered.inc(delivered - self._told[0])
            self._failed.inc(failed - self._told[1])
            self._told = delivered, failed
            self._up.set(self._delivery.is_up)
