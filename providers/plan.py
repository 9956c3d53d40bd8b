"""Everybody who may come to serve a request: known before it is charged, so that the dearest of them is paid for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.router import Group, Target


class Leg(NamedTuple):
    """A group, under the name by which it is asked; `causes` of failure of the model `of` that lead to it."""

    group: Group
    model: str
    causes: frozenset[str] = frozenset()
    of: str = ""  # the name of an earlier leg; "": that of the first


class Try(NamedTuple):
    """One attempt. `is_retry`: its target has failed this request before: wait first, give the budget back after."""

    target: Target
    leg: Leg
    wait_s: float = 0.0
    is_retry: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Where a request goes, and then where else. One object for all requests that are alike.

    backups: each behind the leg whose failure leads to it, so that fallbacks of a fallback come before its neighbours.
    `obvious`: what to try first where there is no choice.
    """

    first: Leg
    backups: tuple[Leg, ...] = ()
    obvious: Try | None = field(init=False)

    def __post_init__(self) -> None:
        targets = self.first.group.targets
        object.__setattr__(self, "obvious", Try(targets[0], self.first) if len(targets) == 1 else None)

    @property
    def is_alone(self) -> bool:
        """There is one target, and nobody else."""
        return not self.backups and len(self.first.group.targets) == 1

    def pairs(self) -> Iterator[tuple[Target, str]]:
        """All targets, each with what it calls the model."""
        for leg in (self.first, *self.backups):
            for target in leg.group.targets:
                yield target, leg.group.upstream_model(target, leg.model)
