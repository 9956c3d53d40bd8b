"""From the sections that say where requests go to plain rules. What names no model of this file is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse.config import fallbacks, names
from tollhouse.config.names import Known
from tollhouse.config.routing_schema import AliasTarget, LiteLLMSettings, RouterSettings, RoutingSection
from tollhouse.config.settings import Escalation, HeaderRoute, HealthChecks, Hedge, RoutingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.routing_schema import HealthChecksSection
    from tollhouse.config.schema import File
    from tollhouse.config.settings import Deployment

_STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least-busy",
    "latency-based-routing": "lowest-latency",
    "cost-based-routing": "cost",
    "usage-based-routing": "least-used",
    "usage-based-routing-v2": "least-used",
}
_ATTEMPTS = 3
_RETRIES = 2


def resolve(file: File, deployments: Sequence[Deployment], source: Document) -> RoutingSettings:
    """The rules of a file. The own section wins over `router_settings`, those over `litellm_settings`."""
    router = file.router_settings or RouterSettings()
    litellm = file.litellm_settings or LiteLLMSettings()
    own = file.routing or RoutingSection()
    aliases = names.aliases(router, {deployment.model_name for deployment in deployments}, source)
    known = Known(deployments, aliases, source)
    for alias, model in aliases.items():
        known.check(model, ("router_settings", "model_group_alias", alias))
    retries = router.num_retries if router.num_retries is not None else litellm.num_retries
    rules = fallbacks.resolve(file, router, litellm, known)
    breaker = own.breaker
    allowed = _first(breaker and breaker.allowed_fails, router.allowed_fails, litellm.allowed_fails)
    cooldown = _first(breaker and breaker.cooldown_s, router.cooldown_time, litellm.cooldown_time)
    if litellm.drop_params is False:
        message = "what another dialect cannot say is left out and named in x-gateway-warnings"
        source.report(("litellm_settings", "drop_params"), message, warning=True)
    header_routes, params = _routes(file, known)
    defaults = RoutingSettings()
    return RoutingSettings(
        strategy=own.strategy or _STRATEGIES[router.routing_strategy or "simple-shuffle"],
        aliases=aliases,
        hidden=frozenset(
            alias for alias, to in (router.model_group_alias or {}).items() if isinstance(to, AliasTarget) and to.hidden
        ),
        fallbacks=rules,
        escalations=_escalations(own, known),
        header_routes=header_routes,
        completion_params=params,
        affinity=own.affinity,
        session_header=own.session_header.lower(),
        max_attempts=own.max_attempts or max(_ATTEMPTS, _wanted(retries, router.max_fallbacks if rules else 0, rules)),
        max_fallbacks=defaults.max_fallbacks if router.max_fallbacks is None else router.max_fallbacks,
        retries=_RETRIES if retries is None else retries,
        retries_first=retries is not None,
        retry_share=own.retry_share,
        min_wait_s=router.retry_after or 0.0,
        max_wait_s=max(own.max_wait_s, router.retry_after or 0.0),
        allowed_fails=defaults.allowed_fails if allowed is None else allowed,
        window_s=breaker.window_s if breaker else defaults.window_s,
        cooldown_s=defaults.cooldown_s if cooldown is None else cooldown,
        has_cooldowns=not router.disable_cooldowns,
        hedge=_hedge(own, known),
    )


def health_checks(section: HealthChecksSection | None) -> HealthChecks | None:
    if section is None or not section.enabled:
        return None
    return HealthChecks(
        path=section.path,
        interval_s=section.interval_s,
        timeout_s=section.timeout_s,
        unhealthy_threshold=section.unhealthy_threshold,
        healthy_threshold=section.healthy_threshold,
        required=section.require_backend_healthy,
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _wanted(retries: int | None, most: int | None, rules: Sequence[object]) -> int:
    """Attempts: retries that were asked for must not use up those that fallbacks need."""
    return 1 + (retries or 0) + (bool(rules) if most is None else most)


def _routes(file: File, known: Known) -> tuple[tuple[HeaderRoute, ...], dict[str, dict[str, Any]]]:
    """Header routes, and what is filled in by model; without a condition only that, as every model is served anyway."""
    routes: list[HeaderRoute] = []
    params: dict[str, dict[str, Any]] = {}
    for section, entries in (file.routes or {}).items():
        for i, entry in enumerate(entries):
            place: Place = ("routes", section, i)
            models = [
                known.named(name) for j, name in enumerate(entry.models) if known.check(name, (*place, "models", j))
            ]
            for name in models:
                params.setdefault(name, {}).update(_params(entry.completion_params or {}, place, known.source))
            if entry.condition is not None and models and known.leads(models[0], (*place, "models", 0)):
                routes.append(HeaderRoute(entry.condition.header.lower(), entry.condition.value, tuple(models)))
    return tuple(routes), {name: given for name, given in params.items() if given}


def _params(given: dict[str, Any], place: Place, source: Document) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        if name in {"model", "messages", "prompt", "input", "stream"}:
            source.report((*place, "completion_params", name), "is the caller's to say")
        else:
            found[name] = value
    return found


def _escalations(own: RoutingSection, known: Known) -> tuple[Escalation, ...]:
    made = []
    for i, entry in enumerate(own.escalations or []):
        place: Place = ("routing", "escalations", i)
        is_known = [
            known.check(entry.model, (*place, "model"), warning=False),
            known.leads(entry.to, (*place, "to"), warning=False),
        ]
        if all(is_known):
            made.append(Escalation(known.named(entry.model), entry.over_prompt_tokens, known.named(entry.to)))
    # The largest step that a prompt takes is the one to take.
    return tuple(sorted(made, key=lambda one: -one.over))


def _hedge(own: RoutingSection, known: Known) -> Hedge | None:
    if own.hedge is None:
        return None
    after = own.hedge.after
    models = own.hedge.models
    for i, name in enumerate(models or []):
        known.check(name, ("routing", "hedge", "models", i), warning=False)
    named = None if models is None else tuple(map(known.named, models))
    if isinstance(after, str):
        return Hedge(percentile=int(after[1:]), models=named)
    return Hedge(after_s=after, models=named)
