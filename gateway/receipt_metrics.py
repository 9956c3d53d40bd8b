"""What receipts have to tell Prometheus: handed on when the other metrics are."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tollhouse.gateway.receipts import Receipts


class ReceiptMetrics:
    def __init__(self, receipts: Receipts, *, registry: CollectorRegistry) -> None:
        self._receipts = receipts
        self._counters = {
            "taken": Counter("gateway_receipts", "Receipts that were taken.", registry=registry),
            "lost": Counter("gateway_receipts_lost", "Decisions without a receipt.", registry=registry),
            "delivered": Counter("gateway_receipts_delivered", "Receipts that have arrived.", registry=registry),
            "failed": Counter("gateway_receipt_deliveries_failed", "Batches that were not taken.", registry=registry),
        }
        self._waiting = Gauge(
            "gateway_receipts_waiting_bytes",
            "Receipts on disk that have not arrived.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._up = Gauge(
            "gateway_receipts_up",
            "Whether receipts can be written, and arrive.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._told: dict[str, int] = {}
        self._lock = Lock()  # scrapes come from other threads

    def flush(self) -> None:
        """What has been added since the last time. May be called in any thread."""
        receipts, delivery = self._receipts, self._receipts.delivery
        totals = {"taken": receipts.taken, "lost": receipts.lost}
        if delivery is not None:
            totals |= {"delivered": delivery.delivered, "failed": delivery.failed}
        with self._lock:
            for name, total in totals.items():
                self._counters[name].inc(total - self._told.get(name, 0))
                self._told[name] = total
            self._waiting.set(receipts.waiting)
            self._up.set(receipts.is_well and (delivery is None or delivery.is_up))
