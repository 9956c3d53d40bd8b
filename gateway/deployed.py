"""What the configuration says of deployments, as objects: targets in groups, rules of routing, ways to meet failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse.config import encodings
from tollhouse.gateway import identities
from tollhouse.gateway.escalation import Escalations
from tollhouse.gateway.hedge import Hedging
from tollhouse.gateway.planning import Planner
from tollhouse.gateway.routing import RouteStage
from tollhouse.gateway.sessions import Sessions
from tollhouse.providers import strategies
from tollhouse.providers.affinity import Remembered
from tollhouse.providers.breaker import Breaker
from tollhouse.providers.retry import Policy, RetryBudget
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.usage import Usage

if TYPE_CHECKING:
    from tollhouse.config.settings import Deployment, Settings
    from tollhouse.gateway.pricing import Pricing
    from tollhouse.providers.factory import UpstreamFactory


def router(settings: Settings, factory: UpstreamFactory, pricing: Pricing) -> Router:
    """All targets, in groups."""
    rules = settings.routing

    def cost(target: Target) -> int | None:
        return pricing.typical(target.provider, target.model)

    return Router(
        _targets(settings, factory),
        aliases=rules.aliases,
        hidden=rules.hidden,
        strategy=strategies.make(rules.strategy, cost=cost),
    )


def planner(settings: Settings, router: Router) -> Planner:
    """Who may be asked for whose request."""
    rules = settings.routing
    return Planner(router, fallbacks=rules.fallbacks, max_fallbacks=rules.max_fallbacks)


def route_stage(settings: Settings, planner: Planner) -> RouteStage:
    """Who is asked what."""
    rules = settings.routing
    escalations = Escalations(rules.escalations, encoding=lambda model: encodings.reading(model).encoding)
    return RouteStage(
        planner,
        default_model=settings.default_model,
        header_routes=rules.header_routes,
        escalations=escalations if rules.escalations else None,
        completion_params=rules.completion_params,
    )


def resilience(settings: Settings) -> dict[str, Any]:
    """What the forwarder goes by when an upstream fails, or may."""
    rules = settings.routing
    hedge = rules.hedge
    return {
        "policy": Policy(
            max_attempts=rules.max_attempts,
            retries=rules.retries,
            is_eager=rules.retries_first,
            min_wait_s=rules.min_wait_s,
            max_wait_s=rules.max_wait_s,
        ),
        "budget": RetryBudget(share=rules.retry_share),
        "sessions": Sessions(mode=rules.affinity, header=rules.session_header),
        "remembered": Remembered(),
        "hedging": None
        if hedge is None
        else Hedging(after_s=hedge.after_s, percentile=hedge.percentile, models=hedge.models),
        "observes": rules.strategy == "lowest-latency" or (hedge is not None and hedge.percentile is not None),
    }


def _targets(settings: Settings, factory: UpstreamFactory) -> list[Target]:
    rules = settings.routing
    return [
        Target(
            name=deployment.model_name,
            provider=deployment.provider,
            model=deployment.model,
            upstream=factory.make(
                deployment.provider,
                api_base=deployment.api_base,
                api_key=deployment.api_key.reveal() if deployment.api_key else None,
                api_version=deployment.api_version,
                bearer=deployment.bearer,
                aws=identities.aws_access(deployment.aws),
                google=identities.google_access(deployment.google),
                quota_project=deployment.quota_project,
                timeouts=Timeouts(
                    connect_s=deployment.timeouts.connect_s,
                    first_event_s=deployment.timeouts.first_event_s,
                    idle_s=deployment.timeouts.idle_s,
                    total_s=deployment.timeouts.total_s,
                    keepalive_s=deployment.timeouts.keepalive_s,
                ),
            ),
            weight=deployment.weight,
            usage=_usage(deployment, is_counted=rules.strategy == "least-used"),
            breaker=Breaker(
                allowed_fails=rules.allowed_fails,
                window_s=rules.window_s,
                cooldown_s=rules.cooldown_s,
                is_off=not rules.has_cooldowns,
            ),
        )
        for deployment in settings.deployments
    ]


def _usage(deployment: Deployment, *, is_counted: bool) -> Usage | None:
    if is_counted or deployment.rpm is not None or deployment.tpm is not None:
        return Usage(rpm=deployment.rpm, tpm=deployment.tpm)
    return None
