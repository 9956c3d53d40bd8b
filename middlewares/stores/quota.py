"""What limits and budgets are made of: the meters of a plan, and what a store answers. Both stores speak it.

All numbers are integers below 2^53, times are milliseconds since the epoch on the store's clock, money is nano-USD.

    StoreUnavailable        the store could not answer; whoever fails closed refuses the request
    +-- StoreUnsuitable     it answers, but must not be trusted with money as it is set up
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, Literal, NamedTuple

LIMIT = 1 << 53  # what a double counts up to without gaps, exclusive
HALF = 1 << 52  # bound of capacity times period, and of debt times period: sums of two stay below LIMIT
MAX_NAME = 200
MAX_EXPIRY_MS = 24 * 3600 * 1000  # of a hold, and how long an expired one is remembered
SETTLED_MS = 120_000  # how long a settled or released hold is remembered
AFTERLIFE_MS = 2 * MAX_EXPIRY_MS  # of a budget's window: its last hold may expire and be settled late
MAX_METERS = 64


class StoreUnavailable(Exception):
    """`kind` says why in one word (a label for metrics), the text in a sentence without secrets."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class StoreUnsuitable(StoreUnavailable):
    """A setting of the store, which the text names, loses or evicts data."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="unsuitable")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: `amount` comes back per `period_ms`, bit by bit or at whole periods, up to `capacity`.

    `unit` says what an admission takes from it: 1, or its tokens.
    """

    name: str
    capacity: int
    amount: int
    period_ms: int
    refill: Literal["continuous", "interval"] = "continuous"
    unit: Literal["requests", "tokens"] = "requests"

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_numbers(self, capacity=1, amount=1, period_ms=1)
        if self.refill not in {"continuous", "interval"}:
            raise ValueError(f"meter {self.name!r}: refill is continuous or interval, not {self.refill!r}")
        if self.unit not in {"requests", "tokens"}:
            raise ValueError(f"meter {self.name!r}: unit is requests or tokens, not {self.unit!r}")
        amount, period_ms = self.rate
        span = -(-self.capacity // amount) if self.refill == "interval" else self.capacity
        if self.capacity > HALF or span * period_ms > HALF:
            raise ValueError(f"meter {self.name!r}: capacity times period is too large to be counted exactly")

    @property
    def rate(self) -> tuple[int, int]:
        """What the stores count with: amount and period in ms, in lowest terms where only their ratio matters."""
        divisor = gcd(self.amount, self.period_ms) if self.refill == "continuous" else 1
        return self.amount // divisor, self.period_ms // divisor


@dataclass(frozen=True, slots=True)
class Parallel:
    """At most `capacity` holds are open at once."""

    name: str
    capacity: int

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_numbers(self, capacity=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `cap` is spent in the window from `start_ms` until before `end_ms` (0: it never ends)."""

    name: str
    cap: int
    start_ms: int
    end_ms: int = 0

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_numbers(self, cap=0, start_ms=0, end_ms=0)
        if self.end_ms and self.end_ms <= self.start_ms:
            raise ValueError(f"meter {self.name!r}: end_ms {self.end_ms} is not after start_ms {self.start_ms}")


Meter = Bucket | Parallel | Budget


class Admitted(NamedTuple):
    """The request may go. `hold` is to be settled or released; `granted` is what its budgets have reserved.

    `meters`: for each of the plan (remaining, reset): a bucket's level and the time until it is full, free places and
    0, what a budget has left (may be negative) and the time until its window ends (0: it does not).
    """

    hold: Any
    granted: int
    now_ms: int
    meters: tuple[tuple[int, int], ...]


class Denied(NamedTuple):
    """Meter number `index` of the plan refuses; `wait_ms` None: waiting alone does not help."""

    index: int  # type: ignore[assignment]  # nobody looks a value up in an answer
    wait_ms: int | None
    remaining: int


class Stale(NamedTuple):
    """A budget's window does not hold the store's `now_ms`: make the plan anew for that time and ask again."""

    now_ms: int


Admission = Admitted | Denied | Stale


def check_plan(meters: tuple[Meter, ...]) -> None:
    """Raises ValueError for meters that cannot be charged together."""
    if not 1 <= len(meters) <= MAX_METERS:
        raise ValueError(f"a plan has 1 to {MAX_METERS} meters, not {len(meters)}")
    seen: set[str] = set()
    for meter in meters:
        if not isinstance(meter, Bucket | Parallel | Budget):
            raise TypeError(f"{type(meter).__name__} is no meter")
        if meter.name in seen:
            raise ValueError(f"meter {meter.name!r} is in the plan twice")
        seen.add(meter.name)


def check_admission(tokens: int, want: int, minimum: int, expires_in_ms: int) -> None:
    """Raises ValueError for arguments that no store takes."""
    if not (0 <= tokens < LIMIT and 0 <= minimum <= want < LIMIT):
        raise ValueError("admit: tokens, want and minimum are from 0 to 2^53 - 1, and minimum is not above want")
    if not 0 < expires_in_ms <= MAX_EXPIRY_MS:
        raise ValueError(f"admit: expires_in_ms is from 1 to {MAX_EXPIRY_MS}")


def check_settlement(amount: int, tokens: int) -> None:
    """Raises ValueError for arguments that no store takes."""
    if not (0 <= amount < LIMIT and 0 <= tokens < LIMIT):
        raise ValueError("settle: amount and tokens are from 0 to 2^53 - 1")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        shown = repr(name)[:80]
        raise ValueError(f"meter {shown}: a name has 1 to {MAX_NAME} printable characters")


def _check_numbers(meter: Meter, **lowest: int) -> None:
    for field, least in lowest.items():
        value = getattr(meter, field)
        if type(value) is not int or not least <= value < LIMIT:
            raise ValueError(f"meter {meter.name!r}: {field} is a whole number from {least} to 2^53 - 1, not {value!r}")
