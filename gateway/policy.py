"""The policy of this configuration as a stage, with the guards that its rules want."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Counter

from tollhouse.middlewares.guards import Guards
from tollhouse.middlewares.policy import PolicyStage
from tollhouse.middlewares.rulebook import Caps, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.config.settings import PolicySettings, Settings
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.guard import Guard


def stage(
    settings: Settings,
    *,
    make_guard: Callable[..., Guard],
    named: Callable[[str], str],
    has_room: Callable[[], bool] | None,
    registry: CollectorRegistry,
) -> PolicyStage | None:
    """None where neither file nor service has a policy.

    named: what a model's name means, after aliases. has_room: for receipts.
    """
    given = settings.policy
    service = settings.neighbours.find("policy")
    if given is None and service is None:
        return None
    decided = Counter(
        "gateway_policy_decisions",
        "What the policy and its shadows (kind) decided before the upstream was asked, by rule.",
        ("kind", "decision", "rule"),
        registry=registry,
    )
    return PolicyStage(
        None if given is None else guarded(given, settings, make_guard),
        is_closed=service is None or service.is_closed,
        shadows=[compiled(one) for one in given.shadows] if given is not None else (),
        name=lambda model: named(model) if model else "",
        default_model=settings.default_model,
        has_room=has_room,
        count=lambda kind, decision, rule: decided.labels(kind, decision, rule).inc(),
    )


def guarded(given: PolicySettings, settings: Settings, make_guard: Callable[..., Guard]) -> Policy:
    """To decide on requests."""
    scan = settings.scan
    rules = _rules(given)
    guards = Guards(
        rules,
        request=scan.request if scan is not None else None,
        response=scan.response if scan is not None else None,
        make=make_guard,
    )
    return Policy(rules, version=given.version, digest=given.digest, prepare=guards.prepare)


def compiled(given: PolicySettings) -> Policy:
    """To be asked, without guards."""
    return Policy(_rules(given), version=given.version, digest=given.digest)


def visible(stage: PolicyStage | None, routes: tuple[str, ...]) -> Callable[[Principal | None, str], bool]:
    """Whether a model may be used at one of these routes at all."""

    def sees(principal: Principal | None, model: str) -> bool:
        policy = stage.policy if stage is not None else None
        return policy is None or any(policy.verdict(principal, route, model).is_allowed for route in routes)

    return sees


def _rules(given: PolicySettings) -> list[Rule]:
    return [_rule(dict(fields)) for fields in given.rules]


def _rule(fields: dict[str, Any]) -> Rule:
    caps = fields.pop("caps")
    return Rule(**fields, caps=None if caps is None else Caps(**caps))
