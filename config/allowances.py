"""Limits and budgets of the file, level by level, as plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tollhouse.config.environment import PREFIX
from tollhouse.config.settings import Allowance, BudgetSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import (
        Allowed,
        Budget,
        File,
        KeyEntry,
        Limits,
        LiteLLMParams,
        ModelEntry,
        NamedEntry,
        RateLimits,
    )

_NANO = 10**9
_VARIABLE = f"{PREFIX}RATE_LIMIT_REQUESTS_PER_MINUTE"


def resolve(file: File, keys: Sequence[tuple[Place, KeyEntry]], source: Document) -> tuple[Allowance, ...]:
    """Everything that is bounded, each with its level and id. What cannot be is reported with its place."""
    found = [_of(entry, "key", entry.name, place, source) for place, entry in keys]
    for level, entries in (("team", file.teams), ("user", file.users)):
        found += _named(level, entries or [], source)
    found += _models(file.model_list or [], source)
    found.append(_made("global", "all", file.limits, file.budget, ("budget",), source))
    made = [allowance for allowance in found if allowance is not None]
    if file.rate_limits is not None:
        made += _of_template(file.rate_limits, made, {entry.name for _, entry in keys}, source)
    return tuple(made)


def _of_template(section: RateLimits, made: list[Allowance], keys: set[str], source: Document) -> list[Allowance]:
    """`rate_limits` of the template: requests per minute of everybody together, and of keys by name."""
    found = []
    given = {("key", name): rpm for name, rpm in (section.per_api_key or {}).items() if name != "default"}
    if section.global_per_minute is not None:
        given["global", "all"] = section.global_per_minute
    for (level, name), rpm in given.items():
        where = ("global_per_minute",) if level == "global" else ("per_api_key", name)
        place: Place = ("rate_limits", *where)
        own = next((one for one in made if (one.level, one.id) == (level, name)), None)
        if level == "key" and name not in keys:
            source.report(place, f"there is no key {name}, so this has no effect yet", warning=True)
        if own is None:
            found.append(Allowance(level=level, id=name, rpm=rpm))
        elif own.rpm is None:
            made[made.index(own)] = replace(own, rpm=rpm)
        else:
            source.report(place, "has requests per minute already")
    return found


def key_default(file: File, environ: Mapping[str, str], source: Document) -> Allowance | None:
    """What each key may that says nothing itself: the template's `rate_limits`, or the environment's."""
    section = file.rate_limits
    allowance = Allowance(level="key", id="")
    if section is not None:
        allowance = replace(
            allowance,
            rpm=section.requests_per_minute or (section.per_api_key or {}).get("default"),
            tpm=section.tokens_per_minute,
            parallel=section.max_parallel_requests,
        )
    given = environ.get(_VARIABLE)
    if given:
        if given.isascii() and given.isdigit() and 0 < int(given) < 1 << 37:
            allowance = replace(allowance, rpm=int(given))
        else:
            source.report((_VARIABLE,), "must be a number of requests, at least 1")
    return allowance if allowance != Allowance(level="key", id="") else None


def _named(level: str, entries: Sequence[NamedEntry], source: Document) -> list[Allowance | None]:
    names: set[str] = set()
    found = []
    for i, entry in enumerate(entries):
        place: Place = (f"{level}s", i)
        if entry.name in names:
            source.report((*place, "name"), f"the {level} {entry.name} is there twice")
        names.add(entry.name)
        found.append(_of(entry, level, entry.name, place, source))
    return found


def _models(entries: Sequence[ModelEntry], source: Document) -> list[Allowance | None]:
    """Of a model's name: what its entry says, or the sum of what LiteLLM's say of each deployment."""
    found: dict[str, Allowance] = {}
    for i, entry in enumerate(entries):
        place: Place = ("model_list", i)
        name = entry.model_name
        own = _of(entry, "model", name, place, source)
        if own is not None:
            if name in found:
                source.report(place, f"the model {name} has limits or a budget at another of its entries already")
            found[name] = own
    by_name: dict[str, list[LiteLLMParams]] = {}
    for entry in entries:
        by_name.setdefault(entry.model_name, []).append(entry.litellm_params)
    for name in by_name.keys() - found.keys():
        deployments = by_name[name]
        rpm, tpm = (
            sum(filter(None, numbers)) if all(numbers) else None
            for numbers in ([d.rpm for d in deployments], [d.tpm for d in deployments])
        )
        if rpm is not None or tpm is not None:
            found[name] = Allowance(level="model", id=name, rpm=rpm, tpm=tpm)
    return list(found.values())


def _of(entry: Allowed, level: str, name: str, place: Place, source: Document) -> Allowance | None:
    return _made(level, name, entry.limits, entry.budget, (*place, "budget"), source)


def _made(
    level: str,
    name: str,
    limits: Limits | None,
    budgets: list[Budget] | None,
    place: Place,
    source: Document,
) -> Allowance | None:
    if limits is None and budgets is None:
        return None
    budgets = budgets or []
    windows: set[str] = set()
    for i, one in enumerate(budgets):
        where = (*place, i) if len(budgets) > 1 else place
        if one.window in windows:
            source.report(where, f"the window {one.window} is there twice")
        windows.add(one.window)
        try:
            ZoneInfo(one.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            source.report((*where, "time_zone"), f"the time zone {one.time_zone} is not known")
    made = Allowance(
        level=level,
        id=name,
        budgets=tuple(
            BudgetSettings(cap=int(one.usd * _NANO), window=one.window, mode=one.mode, time_zone=one.time_zone)
            for one in budgets
        ),
    )
    if limits is None:
        return made
    return replace(made, rpm=limits.rpm, tpm=limits.tpm, parallel=limits.parallel, refill=limits.refill)
