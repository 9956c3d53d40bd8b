"""Who may serve a model for whose key: its deployments, and those of its fallbacks, and theirs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest, Forbidden
from tollhouse.providers.plan import Leg, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tollhouse.config.settings import Fallback
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.rulebook import Verdict
    from tollhouse.providers.router import Router

_KEPT = 10_000
_ALL = "*"  # the model of rules for those that say nothing themselves


class Planner:
    """Makes plans, one for all requests that are alike: prices are kept by them.

    A key's allow-list, and the rule of a policy, hold for everything that a name can lead to. What they do not have is
    refused where the caller asked for it, and left out of the plan where the operator did.
    max_fallbacks: models besides the first.
    """

    def __init__(self, router: Router, *, fallbacks: Sequence[Fallback] = (), max_fallbacks: int = 5) -> None:
        self.router = router
        self._fallbacks = fallbacks
        self._max_fallbacks = max_fallbacks
        # By model, allow-list and verdict.
        self._plans: dict[tuple[str, tuple[str, ...] | None, Verdict | None], Plan] = {}

    def plan(self, name: str, principal: Principal | None, asked: str, verdict: Verdict | None = None) -> Plan:
        """Raises BadRequest for what does not exist, Forbidden for what the key or the policy does not allow.

        name: what is meant by what the caller `asked` for.
        """
        key = name, None if principal is None else principal.models, verdict
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        group = self.router.resolve(name)
        if group is None:
            msg = f"the model {shown(asked)} does not exist"
            raise BadRequest(msg, status=404, param="model", code="model_not_found", retry=False)
        if principal is not None and not principal.allows(name):
            msg = f"this API key may not use the model {shown(asked)}"
            raise Forbidden(msg, param="model", code="model_not_allowed")
        if verdict is not None and not verdict.allows(name):
            msg = f"the policy that allows this request does not allow the model {shown(asked)} in the same rule"
            raise Forbidden(msg, param="model", code="policy_denied")
        if len(self._plans) >= _KEPT:
            self._plans.clear()
        allows = partial(may_use, principal, verdict)
        plan = self._plans[key] = Plan(Leg(group, name), tuple(self._backups(name, allows, {name}, {name})))
        return plan

    def _backups(self, of: str, allows: Callable[[str], bool], above: set[str], known: set[str]) -> Iterator[Leg]:
        """Fallbacks of a model, each followed by its own. above: models on the way here, which end a circle;
        known: all that the plan has so far.
        """
        for to, causes in self._rules(of).items():
            group = self.router.resolve(to)
            if group is None or to in above or not allows(to):
                continue
            is_known = to in known
            if not is_known and len(known) > self._max_fallbacks:
                continue
            known.add(to)
            yield Leg(group, to, causes, of)
            if not is_known:  # else what follows it is in the plan
                yield from self._backups(to, allows, above | {to}, known)

    def _rules(self, name: str) -> dict[str, frozenset[str]]:
        """Where a model's own rules lead to and for which causes; those of all models for the causes that are left."""
        group = self.router.resolve(name)
        names = {name} if group is None else {name, group.label}
        own = [rule for rule in self._fallbacks if rule.model in names and rule.model != _ALL]
        told = {cause for rule in own for cause in rule.causes}
        found: dict[str, frozenset[str]] = {}
        for rule in (*own, *(rule for rule in self._fallbacks if rule.model == _ALL)):
            causes = rule.causes - told if rule.model == _ALL else rule.causes
            for to in rule.to if causes else ():
                found[to] = causes | found.get(to, frozenset())
        return found


def may_use(principal: Principal | None, verdict: Verdict | None, model: str) -> bool:
    """Whether the key, and the rule of the policy that the request was allowed by, have this model as well."""
    return (principal is None or principal.allows(model)) and (verdict is None or verdict.allows(model))


def shown(model: str) -> str:
    """A model's name in a message: quoted, and cut where somebody sent an essay."""
    return repr(model if len(model) <= 100 else model[:100] + "...")
