"""What is wrong with a configuration, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` is like `model_list[0].litellm_params.model`; `line` counts from 1, 0 where there is no file."""

    path: str
    message: str
    file: str = ""
    line: int = 0
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        kind = "warning: " if self.severity == "warning" else ""
        return f"{where}{kind}{self.path}: {self.message}" if self.path else f"{where}{kind}{self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has every error that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def spell(place: Place) -> str:
    """A place as people write it."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
