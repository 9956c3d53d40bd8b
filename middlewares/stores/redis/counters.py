"""What the store counts of itself, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Totals since the store was made. `latency_s` is the sum over all `calls`, retries included."""

    calls: int = 0
    latency_s: float = 0.0
    retries: int = 0
    connects: int = 0
    dropped: int = 0  # settlements that were not kept: too many, or too old
    errors: dict[str, int] = field(default_factory=dict)  # by kind, see StoreUnavailable

    def count(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1
