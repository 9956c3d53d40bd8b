"""What a request may use: limits and budgets of the key, its user and team, the model, and of everybody together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tollhouse.middlewares.stores.quota import Bucket, Budget, Meter, Parallel
from tollhouse.middlewares.windows import window

if TYPE_CHECKING:
    from tollhouse.middlewares.auth import Principal

Level = Literal["key", "user", "team", "model", "global"]
LEVELS: tuple[Level, ...] = ("key", "user", "team", "model", "global")
MINUTE_MS = 60_000
ANONYMOUS = "anonymous"  # the key of requests that no key was asked for
_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """`cap` nano-USD per window ("1h", "1d", "month", "total"). soft: while the store is away, a slice may be spent."""

    cap: int
    window: str = "total"
    mode: Literal["hard", "soft"] = "hard"
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of one level and id: requests and tokens per minute, requests at once, money.

    refill: "interval" gives all of a minute's tokens when it is over, "continuous" each when it is due.
    A key's allowance with the id "" is for each key that has none of its own.
    """

    level: Level
    id: str
    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None
    refill: Literal["interval", "continuous"] = "interval"
    budgets: tuple[BudgetRule, ...] = ()


class Label(NamedTuple):
    """What a meter is to whoever is refused by it."""

    level: Level
    id: str
    what: Literal["requests", "tokens", "parallel", "budget"]
    limit: int
    window: str


class Charged(NamedTuple):
    """All that one request is charged on, in the order in which it is asked."""

    meters: tuple[Meter, ...]
    labels: tuple[Label, ...]
    has_budget: bool
    has_hard: bool  # a budget that must not be guessed at
    requests: tuple[int, ...]  # indexes of the buckets that count requests
    tokens: tuple[int, ...]


class Allowances:
    """Finds what applies to a request. Immutable."""

    def __init__(self, allowances: Iterable[Allowance] = ()) -> None:
        self._by_level: dict[str, dict[str, Allowance]] = {level: {} for level in LEVELS}
        for allowance in allowances:
            found = self._by_level[allowance.level]
            if allowance.id in found:
                raise ValueError(f"there are two allowances of the {allowance.level} {allowance.id!r}")
            found[allowance.id] = allowance
        self._global = tuple(self._by_level["global"].values())
        # Made here, so that what cannot be is refused at start.
        for found in self._by_level.values():
            for allowance in found.values():
                _meters(allowance, 0)

    def __bool__(self) -> bool:
        return any(self._by_level.values())

    def of(self, principal: Principal | None, model: str) -> tuple[Allowance, ...]:
        """Those of a request: the key's first, what is for everybody last."""
        levels = self._by_level
        key = principal.id if principal is not None else ANONYMOUS
        found = []
        own = levels["key"].get(key)
        if own is None and "" in levels["key"]:
            own = replace(levels["key"][""], id=key)
        if own is not None:
            found.append(own)
        if principal is not None:
            found += [
                a for a in (levels["user"].get(principal.user or ""), levels["team"].get(principal.team or "")) if a
            ]
        if model in levels["model"]:
            found.append(levels["model"][model])
        found += self._global
        return tuple(found)


def charged(allowances: Iterable[Allowance], now_ms: int) -> Charged:
    """The meters of these allowances, budgets for their windows at `now_ms`."""
    pairs = [pair for allowance in allowances for pair in _meters(allowance, now_ms)]
    meters = tuple(meter for meter, _ in pairs)
    labels = tuple(label for _, label in pairs)
    hard = [rule.mode == "hard" for allowance in allowances for rule in allowance.budgets]
    return Charged(
        meters=meters,
        labels=labels,
        has_budget=bool(hard),
        has_hard=any(hard),
        requests=tuple(i for i, label in enumerate(labels) if label.what == "requests"),
        tokens=tuple(i for i, label in enumerate(labels) if label.what == "tokens"),
    )


def _meters(allowance: Allowance, now_ms: int) -> list[tuple[Meter, Label]]:
    level, id_ = allowance.level, allowance.id
    name = f"{level}:{id_}"
    found: list[tuple[Meter, Label]] = []
    for limit, unit in ((allowance.rpm, "requests"), (allowance.tpm, "tokens")):
        if limit is not None:
            bucket = Bucket(f"{name}:{unit}", limit, limit, MINUTE_MS, allowance.refill, unit)  # type: ignore[arg-type]
            found.append((bucket, Label(level, id_, unit, limit, "1m")))  # type: ignore[arg-type]
    if allowance.parallel is not None:
        parallel = Parallel(f"{name}:parallel", allowance.parallel)
        found.append((parallel, Label(level, id_, "parallel", allowance.parallel, "")))
    for rule in allowance.budgets:
        start, end = window(rule.window, rule.time_zone, now_ms)
        budget = Budget(f"{name}:usd:{rule.window}", rule.cap, start, end)
        found.append((budget, Label(level, id_, "budget", rule.cap, rule.window)))
    return found
