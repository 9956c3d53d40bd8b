"""Trying again: how often, how soon, and how much of it there may be at once."""

from __future__ import annotations

from dataclasses import dataclass

MIN_AT_ONCE = 3  # of few requests a fifth is none


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of it there is for one request.

    max_attempts: at all its targets together. retries: so many of them may go to a deployment that has failed it
    already; is_eager: before those of fallbacks are asked. A wait is at most `max_wait_s`, and at least `min_wait_s`.
    """

    max_attempts: int = 3
    retries: int = 2
    is_eager: bool = False
    base_wait_s: float = 0.1
    min_wait_s: float = 0.0
    max_wait_s: float = 2.0

    def wait_s(self, number: int, retry_after_s: float | None, chance: float) -> float | None:
        """Seconds before retry `number` (from 0): full jitter, or as the upstream asks; None: that is too long.

        chance: from 0 to 1.
        """
        if retry_after_s is not None:
            wait = retry_after_s + chance * self.base_wait_s
            return max(wait, self.min_wait_s) if retry_after_s <= self.max_wait_s else None
        longest: float = min(self.max_wait_s, self.base_wait_s * 2**number)
        return max(self.min_wait_s, chance * longest)


ONCE = Policy(retries=0)  # for what must not be done twice


class RetryBudget:
    """At most this share of what is under way may be retries: an upstream that is down is not asked thrice as much."""

    def __init__(self, *, share: float = 0.2) -> None:
        self._share = share
        self._taken = 0

    def take(self, in_flight: int) -> bool:
        if self._taken >= max(MIN_AT_ONCE, int(in_flight * self._share)):
            return False
        self._taken += 1
        return True

    def give_back(self) -> None:
        self._taken -= 1
