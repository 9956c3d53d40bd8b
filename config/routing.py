"""From the sections that say where requests go to plain rules. What names no model of this file is reported."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING, Any

from tollhouse.config.routing_schema import AliasTarget, LiteLLMSettings, RouterSettings, RoutingSection
from tollhouse.config.settings import Escalation, Fallback, HeaderRoute, HealthChecks, Hedge, RoutingSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.routing_schema import ByModel, HealthChecksSection
    from tollhouse.config.schema import File, ModelEntry
    from tollhouse.config.settings import Deployment

GENERAL = frozenset({"timeout", "rate_limit", "server_error", "connection", "auth", "busy"})
CONTEXT, POLICY = "context_window", "content_policy"
# What a template's condition may be called. A backend that is away refuses connections, or answers for itself.
CONDITIONS = {
    "timeout": {"timeout"},
    "rate_limit": {"rate_limit"},
    "429": {"rate_limit"},
    "error": {"server_error", "connection"},
    "server_error": {"server_error"},
    "5xx": {"server_error"},
    "500": {"server_error"},
    "connection": {"connection"},
    "unavailable": {"connection", "server_error", "busy"},
    "auth": {"auth"},
    "context_window": {CONTEXT},
    "content_policy": {POLICY},
    "any": GENERAL | {CONTEXT, POLICY},
}
_STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least-busy",
    "latency-based-routing": "lowest-latency",
    "cost-based-routing": "cost",
}
_ATTEMPTS = 3
_RETRIES = 2


def resolve(file: File, deployments: Sequence[Deployment], source: Document) -> RoutingSettings:
    """The rules of a file. The own section wins over `router_settings`, those over `litellm_settings`."""
    router = file.router_settings or RouterSettings()
    litellm = file.litellm_settings or LiteLLMSettings()
    own = file.routing or RoutingSection()
    aliases = _aliases(router, {deployment.model_name for deployment in deployments}, source)
    known = _Known(deployments, aliases, source)
    for alias, model in aliases.items():
        known.check(model, ("router_settings", "model_group_alias", alias))
    retries = router.num_retries if router.num_retries is not None else litellm.num_retries
    fallbacks = _fallbacks(file, router, litellm, known)
    breaker = own.breaker
    allowed = _first(breaker and breaker.allowed_fails, router.allowed_fails, litellm.allowed_fails)
    cooldown = _first(breaker and breaker.cooldown_s, router.cooldown_time, litellm.cooldown_time)
    if litellm.drop_params is False:
        message = "what another dialect cannot say is left out and named in x-gateway-warnings"
        source.report(("litellm_settings", "drop_params"), message, warning=True)
    header_routes, params = _routes(file, known)
    defaults = RoutingSettings()
    return RoutingSettings(
        strategy=own.strategy or _strategy(router, source),
        aliases=aliases,
        hidden=frozenset(
            alias for alias, to in (router.model_group_alias or {}).items() if isinstance(to, AliasTarget) and to.hidden
        ),
        fallbacks=fallbacks,
        escalations=_escalations(own, known),
        header_routes=header_routes,
        completion_params=params,
        affinity=own.affinity,
        session_header=own.session_header.lower(),
        # Retries that were asked for must not use up the attempt that a fallback needs.
        max_attempts=own.max_attempts or max(_ATTEMPTS, 0 if retries is None else retries + 1 + bool(fallbacks)),
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


def weighed(made: list[Deployment], entries: Iterable[ModelEntry]) -> list[Deployment]:
    """Shares of deployments of one name go by the first of weight, rpm and tpm that any of them says.

    One that says nothing has the smallest of the others' (of weights, 1).
    """
    shares: dict[str, dict[str, list[int]]] = {}
    for entry in entries:
        params = entry.litellm_params
        said = shares.setdefault(entry.model_name, {"weight": [], "rpm": [], "tpm": []})
        for name, value in (("weight", params.weight), ("rpm", params.rpm), ("tpm", params.tpm)):
            if value is not None:
                said[name].append(value)
    found = []
    for deployment in made:
        said = shares.get(deployment.model_name, {})
        measure = next((name for name in ("weight", "rpm", "tpm") if said.get(name)), "weight")
        numbers = said.get(measure) or [1]
        least = 1 if measure == "weight" else min(numbers)
        own = {"weight": deployment.weight, "rpm": deployment.rpm, "tpm": deployment.tpm}[measure] or least
        found.append(replace(deployment, weight=own // gcd(least, *numbers)))
    return found


class _Known:
    """Which names lead to a deployment."""

    def __init__(self, deployments: Sequence[Deployment], aliases: dict[str, str], source: Document) -> None:
        names = {deployment.model_name for deployment in deployments}
        self._exact = names | aliases.keys()
        self._prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
        self._aliases = aliases
        self.source = source

    def has(self, model: str) -> bool:
        return model in self._exact or model.startswith(self._prefixes)

    def named(self, model: str) -> str:
        return self._aliases.get(model, model)

    def check(self, model: str, place: Place, *, warning: bool = True) -> bool:
        """Whether there is such a model; one that is missing is told, and the rule goes without it."""
        if self.has(model):
            return True
        self.source.report(place, f"there is no model {model}, so it is left out", warning=warning)
        return False


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _strategy(router: RouterSettings, source: Document) -> str:
    name = router.routing_strategy or "simple-shuffle"
    if name not in _STRATEGIES:
        source.report(("router_settings", "routing_strategy"), f"{name} is taken as simple-shuffle", warning=True)
    return _STRATEGIES.get(name, "weighted")


def _aliases(router: RouterSettings, names: set[str], source: Document) -> dict[str, str]:
    """Each with the model that it leads to in the end."""
    given = {
        alias: to.model if isinstance(to, AliasTarget) else to for alias, to in (router.model_group_alias or {}).items()
    }
    found: dict[str, str] = {}
    for alias, to in given.items():
        place: Place = ("router_settings", "model_group_alias", alias)
        if alias in names:
            source.report(place, f"there is a model {alias}, so the alias is left out", warning=True)
            continue
        seen, model = {alias}, to
        while model in given and model not in names and model not in seen:
            seen.add(model)
            model = given[model]
        if model in seen:
            source.report(place, f"{alias} stands for itself")
        else:
            found[alias] = model
    return found


def _fallbacks(file: File, router: RouterSettings, litellm: LiteLLMSettings, known: _Known) -> tuple[Fallback, ...]:
    made: list[Fallback] = []
    for i, entry in enumerate(file.fallbacks or []):
        place: Place = ("fallbacks", i)
        causes = _conditions(entry.condition or ["any"], (*place, "condition"), known.source)
        backups = [name for name in entry.backup if known.check(name, (*place, "backup"))]
        if known.check(entry.primary, (*place, "primary")) and backups and causes:
            made.append(Fallback(known.named(entry.primary), tuple(map(known.named, backups)), causes))
    special: dict[str, set[str]] = {}
    for kind, cause in (("context_window_fallbacks", CONTEXT), ("content_policy_fallbacks", POLICY)):
        for place, model, to in _by_model(kind, router, litellm):
            special.setdefault(model, set()).add(cause)
            made += _litellm(model, to, place, frozenset({cause}), known)
    plain: set[str] = set()
    for place, model, to in _by_model("fallbacks", router, litellm):
        plain.add(model)
        made += _litellm(model, to, place, _rest(special.get(model, set()) | special.get("*", set())), known)
    section = "router_settings" if router.default_fallbacks is not None else "litellm_settings"
    default = router.default_fallbacks or litellm.default_fallbacks
    if default and "*" not in plain:
        made += _litellm(
            "*", default[: router.max_fallbacks], (section, "default_fallbacks"), _rest(special.get("*", set())), known
        )
    return tuple(made)


def _rest(special: set[str]) -> frozenset[str]:
    """A fallback that names no cause is for all that have none of their own."""
    return GENERAL | ({CONTEXT, POLICY} - special)


def _by_model(kind: str, router: RouterSettings, litellm: LiteLLMSettings) -> list[tuple[Place, str, list[str]]]:
    most = router.max_fallbacks
    section, found = "router_settings", getattr(router, kind)
    if found is None:
        section, found = "litellm_settings", getattr(litellm, kind)
    listed: ByModel = found or []
    return [((section, kind, i, model), model, to[:most]) for i, one in enumerate(listed) for model, to in one.items()]


def _litellm(model: str, to: list[str], place: Place, causes: frozenset[str], known: _Known) -> list[Fallback]:
    if model != "*" and not known.check(model, place):
        return []
    backups = [known.named(name) for i, name in enumerate(to) if known.check(name, (*place, i))]
    return [Fallback(known.named(model), tuple(backups), causes)] if backups else []


def _conditions(names: list[str], place: Place, source: Document) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        if name in CONDITIONS:
            found |= CONDITIONS[name]
        else:
            source.report(place, f"{name} is no condition; these are: {', '.join(CONDITIONS)}")
    return frozenset(found)


def _routes(file: File, known: _Known) -> tuple[tuple[HeaderRoute, ...], dict[str, dict[str, Any]]]:
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
            if entry.condition is not None and models:
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


def _escalations(own: RoutingSection, known: _Known) -> tuple[Escalation, ...]:
    made = []
    for i, entry in enumerate(own.escalations or []):
        place: Place = ("routing", "escalations", i)
        is_known = [
            known.check(entry.model, (*place, "model"), warning=False),
            known.check(entry.to, (*place, "to"), warning=False),
        ]
        if all(is_known):
            made.append(Escalation(known.named(entry.model), entry.over_prompt_tokens, known.named(entry.to)))
    # The largest step that a prompt takes is the one to take.
    return tuple(sorted(made, key=lambda one: -one.over))


def _hedge(own: RoutingSection, known: _Known) -> Hedge | None:
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
