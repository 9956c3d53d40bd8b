"""How the deployments of one name share what it is asked."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tollhouse.config.schema import ModelEntry
    from tollhouse.config.settings import Deployment


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
