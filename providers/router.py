"""Which upstreams serve a model: exact names first, then the longest pattern that fits ("openai/*", "*")."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tollhouse.providers.affinity import rendezvous
from tollhouse.providers.breaker import Breaker
from tollhouse.providers.load import Load
from tollhouse.providers.strategies import Strategy, Weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.usage import Usage


class Upstream(Protocol):
    """What a provider's dialect offers to the gateway. `kinds`: of body that it can be asked, translated or not."""

    kinds: frozenset[str]

    def start(self, ask: Ask) -> Call:
        """Send a request; the answer is in the call, whose `opening` is to be awaited first if there is one.

        Raises UpstreamCannot for what this upstream cannot be told.
        """

    def check(
        self, path: str | None, timeout_s: float, model: str | None = None
    ) -> tuple[object, Callable[[], Call]] | None:
        """What a health check asks, and what makes the call; None: there is nothing to be asked.

        Upstreams that would be asked the same need not all be. path: of the origin; None: what the provider has for it.
        model: what the upstream calls it, where that is known before a caller names it.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An upstream under a public name. `model` is sent upstream; a "*" at its end stands for what the caller asked.

    `id` tells it from the others of its name, in metrics as well; a router fills in what is empty. `usage` is counted
    where something depends on it.
    """

    name: str
    provider: str
    model: str
    upstream: Upstream
    weight: int = 1
    id: str = ""
    breaker: Breaker = field(default_factory=Breaker)
    load: Load = field(default_factory=Load)
    usage: Usage | None = None

    @property
    def knows_model(self) -> bool:
        """Whether the operator, not the caller, says what the model is called upstream."""
        return not self.model.endswith("*")

    def vouched(self, model: str) -> str:
        """What may be written down of a model's name before it has answered: that of a caller may be anything."""
        return model if self.knows_model else self.model

    def admits(self, now: float) -> bool:
        """Whether it may be asked: it is not left alone, and has not used up what it may be asked in a minute."""
        return self.breaker.admits(now) and (self.usage is None or self.usage.has_room(now))

    def wait_s(self, now: float) -> float:
        """How long until it may be asked, as far as that is known."""
        wait_s = self.breaker.wait_s(now)
        return wait_s if self.usage is None else max(wait_s, self.usage.wait_s(now))


@dataclass(slots=True, eq=False)
class Group:
    """The targets of one public name. `label` is that name (or pattern), a bounded value for metrics."""

    label: str
    targets: list[Target]
    strategy: Strategy = field(default_factory=Weighted)

    def order(self, now: float, *, stream: bool = False, session: bytes | None = None) -> list[Target]:
        """Targets that may be asked, in this order; none while all of them are cooling.

        session: of requests that are to go to the same target as long as that is well.
        """
        able = [t for t in self.targets if (t.breaker.is_quiet and t.usage is None) or t.admits(now)]
        if len(able) < 2:
            return able
        if session is not None:
            return rendezvous(able, session)
        return self.strategy.order(able, now, stream=stream)

    def upstream_model(self, target: Target, model: str) -> str:
        """What `target` calls the model that the caller named `model`."""
        if not target.model.endswith("*"):
            return target.model
        return target.model[:-1] + (model[len(self.label) - 1 :] if self.label.endswith("*") else model)


class Router:
    """Finds groups. What changes while it works is in the targets and the strategies.

    aliases: other names of models, "hidden" ones of which are not listed. strategy: makes the one of each group.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        aliases: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        strategy: Callable[[], Strategy] = Weighted,
    ) -> None:
        by_name: dict[str, list[Target]] = {}
        for target in _named(targets):
            by_name.setdefault(target.name, []).append(target)
        groups = {name: Group(name, members, strategy()) for name, members in by_name.items()}
        self.groups = tuple(groups.values())
        self._exact = {name: group for name, group in groups.items() if not name.endswith("*")}
        patterns = sorted((name for name in groups if name.endswith("*")), key=len, reverse=True)
        self._patterns = [(name[:-1], groups[name]) for name in patterns]
        # A model of that very name is not hidden by an alias.
        self.aliases = {alias: model for alias, model in (aliases or {}).items() if alias not in self._exact}
        self._hidden = frozenset(hidden)
        self._known = frozenset([*self.aliases, *self.aliases.values()])

    @property
    def targets(self) -> list[Target]:
        return [target for group in self.groups for target in group.targets]

    def named(self, model: str) -> str:
        """The model that is meant: what an alias stands for, or `model` itself."""
        return self.aliases.get(model, model)

    def knows(self, name: str) -> bool:
        """Whether it is configured as it is, and not only by a pattern."""
        return name in self._exact or name in self._known

    def resolve(self, model: str) -> Group | None:
        """The group that serves `model`, which is no alias; or None."""
        group = self._exact.get(model)
        if group is not None:
            return group
        for prefix, candidate in self._patterns:
            if model.startswith(prefix) and len(model) > len(prefix):
                return candidate
        return None

    def models(self) -> list[tuple[str, str, str]]:
        """Concrete public names, what they stand for and their provider, sorted; patterns have no list."""
        found = [(name, name, group.targets[0].provider) for name, group in self._exact.items()]
        for alias, model in self.aliases.items():
            group = self.resolve(model)
            if group is not None and alias not in self._hidden:
                found.append((alias, model, group.targets[0].provider))
        return sorted(found)


def _named(targets: Iterable[Target]) -> list[Target]:
    """Each with an id: name and provider, and a number where that is not enough."""
    given = list(targets)
    many = Counter((target.name, target.provider) for target in given)
    seen: Counter[tuple[str, str]] = Counter()
    made = []
    for target in given:
        key = target.name, target.provider
        seen[key] += 1
        number = f"#{seen[key]}" if many[key] > 1 else ""
        made.append(replace(target, id=target.id or f"{target.name}@{target.provider}{number}"))
    return made
