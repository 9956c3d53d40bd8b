"""Two policies of the scan as one: of what they do about a finding, the stricter. Neither can loosen the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tollhouse._native import Scanner

FAMILIES = ("pii", "secrets", "injection")
_DEFAULTS = {"pii": "redact", "secrets": "redact", "injection": "block"}
_ORDER = ("allow", "flag", "pseudonymise", "redact", "block")
Policy = Mapping[str, Any]


def stricter(one: Policy, other: Policy, rules: Sequence[Any] | None = None) -> dict[str, Any]:
    """A policy as `tollhouse.Scanner` takes it. What a policy does not name has its default.

    rules: those besides the built-in ones. Raises ValueError for a policy that the scanner would not take.
    """
    known = Scanner(one, list(rules or ())).rules
    Scanner(other, list(rules or ()))
    merged: dict[str, Any] = {family: _max(_family(one, family), _family(other, family)) for family in FAMILIES}
    merged["rules"] = {
        name: action
        for name, kind, family in known
        if (action := _max(_action(one, name, kind, family), _action(other, name, kind, family))) != merged[family]
    }
    return merged


def _family(policy: Policy, family: str) -> str:
    return str(policy.get(family, _DEFAULTS[family]))


def _action(policy: Policy, name: str, kind: str, family: str) -> str:
    """The rule wins over its type, the type over its family."""
    for section, key in (("rules", name), ("types", kind)):
        found = (policy.get(section) or {}).get(key)
        if found is not None:
            return str(found)
    return _family(policy, family)


def _max(one: str, other: str) -> str:
    return max(one, other, key=_ORDER.index)
