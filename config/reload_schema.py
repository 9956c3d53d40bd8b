"""The shape of the section `reload`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tollhouse.config.parts import Names, Part, Text


class ReloadSection(Part):
    """What a new configuration has to pass before it takes effect, and how many of those that did are kept."""

    corpus: Names | None = None
    baseline: Text | None = None
    accept: list[Text] | None = None
    on_failure: Literal["refuse", "report"] = "refuse"
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    keep: Annotated[int, Field(ge=0, le=100)] = 10
