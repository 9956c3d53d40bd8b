"""What the sections of a file are made of. Only the loader and the shapes import pydantic."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=150, pattern=r"^[^\x00-\x1f\x7f]+$")]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, lt=1 << 37)]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)").fullmatch
_SCALE = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Part(BaseModel):
    """Unknown keys are kept, so that they can be named in a warning."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), populate_by_name=True)


def _seconds(value: object) -> object:
    found = _DURATION(value) if isinstance(value, str) else None
    return value if found is None else float(found[1]) * _SCALE[found[2]]


def listed(value: object) -> object:
    return value if value is None or isinstance(value, list) else [value]


Duration = Annotated[float, Field(gt=0, le=86400), BeforeValidator(_seconds)]  # 5, "5s", "500ms", "1m"
Names = Annotated[list[Text], Field(min_length=1), BeforeValidator(listed)]
