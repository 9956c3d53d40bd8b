"""How a model splits texts into tokens, and what an image is worth to it, as far as known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# More than any image is worth to any model whose rule is published: gpt-4o-mini's 48,169, rounded up.
MOST_PER_IMAGE = 50_000


@dataclass(frozen=True, slots=True)
class Reading:
    """encoding: as `tollhouse._native.count_tokens` takes it; None: the model has one of its own."""

    encoding: str | None
    tokens_per_image: int


@cache
def _table() -> list[tuple[str, Reading]]:
    """The longest first."""
    models = json.loads((files("tollhouse.config") / "encodings.json").read_bytes())["models"]
    readings = {
        name: Reading(row.get("encoding"), row.get("tokens_per_image", MOST_PER_IMAGE)) for name, row in models.items()
    }
    return sorted(readings.items(), key=lambda item: -len(item[0]))


def reading(model: str) -> Reading:
    """How a model reads. A name with a folder (`openai/gpt-4o`) is looked up without it."""
    name = model.rpartition("/")[2].lower()
    for start, known in _table():
        rest = name[len(start) :]
        if name.startswith(start) and (not rest or rest[0] in "-.:@" or start[-1] in "-."):
            return known
    return Reading(None, MOST_PER_IMAGE)
