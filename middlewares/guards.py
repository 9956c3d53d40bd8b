"""The guards of a policy's rules: each distinct set of actions is compiled once, when the policy is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.middlewares.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tollhouse.middlewares.rulebook import Rule, Verdict

_NESTED = ("types", "rules")


class Guards:
    """request, response: what is done where a rule says nothing; None: not scanned. make: a guard of both."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        request: Mapping[str, Any] | None = None,
        response: Mapping[str, Any] | None = None,
        make: Callable[..., Guard] = Guard,
    ) -> None:
        made: dict[bytes, Guard] = {}
        self._by_rule: dict[str, Guard] = {}
        for rule in rules:
            if rule.effect == "deny" or (rule.request is None and rule.response is None):
                continue
            asked, answered = laid_over(request, rule.request), laid_over(response, rule.response)
            key = orjson.dumps((asked, answered), option=orjson.OPT_SORT_KEYS)
            if key not in made:
                made[key] = make(request=asked, response=answered)
            self._by_rule[rule.id] = made[key]

    def __bool__(self) -> bool:
        return bool(self._by_rule)

    def prepare(self, verdict: Verdict) -> None:
        """Give a verdict its guard."""
        if verdict.rule is not None:
            verdict.guard = self._by_rule.get(verdict.rule.id)


def laid_over(base: Mapping[str, Any] | None, rule: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a rule says; where it says nothing, what is said otherwise."""
    if base is None or rule is None:
        given = base if rule is None else rule
        return None if given is None else dict(given)
    nested = {name: {**base.get(name, {}), **rule.get(name, {})} for name in _NESTED if name in base or name in rule}
    return {**base, **rule, **nested}
