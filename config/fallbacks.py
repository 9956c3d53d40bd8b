"""Who is asked when a model has failed, and for which causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.config.settings import Fallback

if TYPE_CHECKING:
    from tollhouse.config.document import Document
    from tollhouse.config.names import Known
    from tollhouse.config.problems import Place
    from tollhouse.config.routing_schema import ByModel, LiteLLMSettings, RouterSettings
    from tollhouse.config.schema import File

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


def resolve(file: File, router: RouterSettings, litellm: LiteLLMSettings, known: Known) -> tuple[Fallback, ...]:
    """Of the template's section and LiteLLM's, those for special causes first."""
    made: list[Fallback] = []
    for i, entry in enumerate(file.fallbacks or []):
        place: Place = ("fallbacks", i)
        causes = _conditions(entry.condition or ["any"], (*place, "condition"), known.source)
        backups = [name for name in entry.backup if known.leads(name, (*place, "backup"))]
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


def _litellm(model: str, to: list[str], place: Place, causes: frozenset[str], known: Known) -> list[Fallback]:
    if model != "*" and not known.check(model, place):
        return []
    backups = [known.named(name) for i, name in enumerate(to) if known.leads(name, (*place, i))]
    return [Fallback(known.named(model), tuple(backups), causes)] if backups else []


def _conditions(names: list[str], place: Place, source: Document) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        if name in CONDITIONS:
            found |= CONDITIONS[name]
        else:
            source.report(place, f"{name} is no condition; these are: {', '.join(CONDITIONS)}")
    return frozenset(found)
