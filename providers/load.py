"""What is known of a deployment from the requests that it has served."""

from __future__ import annotations

from math import exp

DECAY_S = 30.0  # after so long without news, an estimate has lost 63 % of its weight


class Latency:
    """An average of seconds that forgets, by time rather than by number.

    It also shrinks while nothing is heard: who was slow once is asked again, without anybody having to take turns.
    """

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._at: float | None = None

    def observe(self, now: float, seconds: float) -> None:
        if self._at is None:
            self._value = seconds
        else:
            kept = exp(-max(0.0, now - self._at) / DECAY_S)
            # Of many at once, each still counts a little.
            kept = min(kept, 0.9)
            self._value = self._value * kept + seconds * (1.0 - kept)
        self._at = now

    def estimate(self, now: float) -> float:
        """0 where nothing is known: worth finding out."""
        return 0.0 if self._at is None else self._value * exp(-max(0.0, now - self._at) / DECAY_S)


class Load:
    """`first`: until a stream's first event; `whole`: until a complete answer."""

    __slots__ = ("first", "in_flight", "whole")

    def __init__(self) -> None:
        self.in_flight = 0
        self.first = Latency()
        self.whole = Latency()
