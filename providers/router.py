"""Which upstreams serve a model: exact names first, then the longest pattern that fits ("openai/*", "*")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call


class Upstream(Protocol):
    """What a provider's dialect offers to the gateway. `kinds`: of body that it can be asked, translated or not."""

    kinds: frozenset[str]

    def start(self, ask: Ask) -> Call:
        """Send a request; the answer is in the call, whose `opening` is to be awaited first if there is one.

        Raises UpstreamCannot for what this upstream cannot be told.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream under a public name. `model` is sent upstream; a "*" at its end stands for what the caller asked."""

    name: str
    provider: str
    model: str
    upstream: Upstream
    weight: int = 1


@dataclass(slots=True)
class Group:
    """The targets of one public name. `label` is that name (or pattern), a bounded value for metrics."""

    label: str
    targets: list[Target]
    _turns: list[int] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        # Interleaved by weight: 2:1 is taken as A B A, not A A B.
        rounds = max(t.weight for t in self.targets)
        self._turns = [i for r in range(rounds) for i, t in enumerate(self.targets) if t.weight > r]

    def order(self) -> Sequence[Target]:
        """Targets to try, the one whose turn it is first."""
        if len(self.targets) == 1:
            return self.targets
        turn = self._turns[self._next]
        self._next = (self._next + 1) % len(self._turns)
        return self.targets[turn:] + self.targets[:turn]

    def upstream_model(self, target: Target, model: str) -> str:
        """What `target` calls the model that the caller named `model`."""
        if not target.model.endswith("*"):
            return target.model
        return target.model[:-1] + (model[len(self.label) - 1 :] if self.label.endswith("*") else model)


class Router:
    """Immutable once made; the turns of groups are the only state."""

    def __init__(self, targets: Iterable[Target]) -> None:
        by_name: dict[str, list[Target]] = {}
        for target in targets:
            by_name.setdefault(target.name, []).append(target)
        groups = {name: Group(name, members) for name, members in by_name.items()}
        self._exact = {name: group for name, group in groups.items() if not name.endswith("*")}
        patterns = sorted((name for name in groups if name.endswith("*")), key=len, reverse=True)
        self._patterns = [(name[:-1], groups[name]) for name in patterns]

    def resolve(self, model: str) -> Group | None:
        """The group that serves `model`, or None."""
        group = self._exact.get(model)
        if group is not None:
            return group
        for prefix, candidate in self._patterns:
            if model.startswith(prefix) and len(model) > len(prefix):
                return candidate
        return None

    def models(self) -> list[tuple[str, str]]:
        """Concrete public names with their provider, sorted; patterns have no list."""
        return sorted((name, group.targets[0].provider) for name, group in self._exact.items())
