"""A policy as it is asked: who may use which model, route and tool, on what conditions. Free of ASGI and of files.

The first rule that fits decides; where none fits, the answer is no. What a caller is told apart by (key, team, user,
route) selects the rules that can fit once, and those are asked per model once: a request finds its verdict in two
dicts. Everything here is immutable but for what has been found so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tollhouse.middlewares.auth import Principal

Patterns = tuple[str, ...]  # names; "*" at the end stands for any rest
EVERYBODY: Patterns = ("*",)
NO_RULE = "no-rule"  # what decides where no rule fits
_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that one request may ask for. refuse: what asks for more is refused, not lowered."""

    max_tokens: int | None = None  # of each answer
    max_cost: int | None = None  # nano-USD
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`id` is safe to show. tenants are teams; a caller without one fits where all do ("*").

    tools: which may be offered to the model. request, response: what is done about findings, laid over what is done
    otherwise. needs_receipt: nothing passes that cannot be written down. headers: go with every answer.
    """

    id: str
    effect: Literal["allow", "deny"] = "allow"
    tenants: Patterns = EVERYBODY
    keys: Patterns = EVERYBODY
    users: Patterns = EVERYBODY
    routes: Patterns = EVERYBODY
    models: Patterns = EVERYBODY
    tools: Patterns = ()
    request: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None
    caps: Caps | None = None
    needs_receipt: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.effect not in {"allow", "deny"}:
            msg = f"the effect of rule {self.id!r} is neither allow nor deny"
            raise ValueError(msg)


class Verdict:
    """What a policy says of everything that one rule governs for one group of callers. Told apart by identity."""

    __slots__ = ("_group", "_tools", "guard", "headers", "is_allowed", "policy", "rule", "why")

    def __init__(self, policy: Policy, group: _Group, rule: Rule | None, why: str) -> None:
        self.policy = policy
        self.rule = rule
        self.is_allowed = rule is not None and rule.effect == "allow"
        self.why = why  # the rule, as it is told: "rule=acme-chat"
        self.guard: Any = None  # what scans for it, where that is not what scans otherwise
        self.headers = [(b"x-gateway-policy", policy.version.encode())]
        if rule is not None:
            self.headers += [(name.encode(), value.encode()) for name, value in rule.headers]
        self._group = group
        self._tools = matcher(() if rule is None else rule.tools)

    def allows(self, model: str) -> bool:
        """Whether a request that this decides may be served by another model: one that the same rule governs."""
        return self._group.verdict(model) is self

    def refused_tool(self, names: Iterable[str]) -> str | None:
        """The first that may not be offered; "" where one has no name."""
        return next((name for name in names if not self._tools(name)), None)


class Policy:
    """Compiled rules. version and digest name the document; the digest is its SHA-256 in hexadecimal.

    prepare: called with each verdict that can come to pass before it is handed out.
    """

    def __init__(
        self, rules: Iterable[Rule], *, version: str, digest: str = "", prepare: Callable[[Verdict], None] | None = None
    ) -> None:
        self.rules = tuple(rules)
        self.version = version
        self.digest = digest
        self.prepare = prepare
        names = [rule.id for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"the rule {twice!r} is there twice"
            raise ValueError(msg)
        self._fits = [tuple(map(matcher, (rule.tenants, rule.keys, rule.users, rule.routes))) for rule in self.rules]
        self._groups: dict[tuple[int, ...], _Group] = {}
        self._callers: dict[tuple[str, str, str, str], _Group] = {}

    def verdict(self, principal: Principal | None, route: str, model: str) -> Verdict:
        """Of a request by `principal` to `model` ("" where none is named) at a route's template."""
        if principal is None:
            caller = ("", "", "", route)
        else:
            caller = (principal.team or "", principal.id, principal.user or "", route)
        group = self._callers.get(caller)
        if group is None:
            group = self._group(caller)
        return group.verdict(model)

    def _group(self, caller: tuple[str, str, str, str]) -> _Group:
        fitting = tuple(
            i
            for i, tests in enumerate(self._fits)
            if all(test(value) for test, value in zip(tests, caller, strict=True))
        )
        group = self._groups.get(fitting)
        if group is None:
            group = self._groups[fitting] = _Group(self, [self.rules[i] for i in fitting])
        if len(self._callers) >= _KEPT:
            self._callers.clear()
        self._callers[caller] = group
        return group


class _Group:
    """The rules that can fit for callers who are alike."""

    def __init__(self, policy: Policy, rules: list[Rule]) -> None:
        self._policy = policy
        self._tests = [(matcher(rule.models), rule) for rule in rules]
        self._by_rule: dict[str, Verdict] = {}
        self._by_model: dict[str, Verdict] = {}

    def verdict(self, model: str) -> Verdict:
        found = self._by_model.get(model)
        if found is None:
            if len(self._by_model) >= _KEPT:
                self._by_model.clear()
            rule = next((rule for fits, rule in self._tests if fits(model)), None)
            found = self._by_model[model] = self._of(rule)
        return found

    def _of(self, rule: Rule | None) -> Verdict:
        name = NO_RULE if rule is None else f"rule={rule.id}"
        verdict = self._by_rule.get(name)
        if verdict is None:
            verdict = Verdict(self._policy, self, rule, name)
            if self._policy.prepare is not None:
                self._policy.prepare(verdict)
            self._by_rule[name] = verdict
        return verdict


def matcher(patterns: Patterns) -> Callable[[str], bool]:
    """Whether a name is among these. Only "*" alone has the empty name."""
    exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*")) - {""}
    starts = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    if not starts:
        return exact.__contains__
    if "" in starts:
        return lambda name: name.startswith(starts)
    return lambda name: name in exact or name.startswith(starts)
