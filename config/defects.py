"""What pydantic finds wrong with a file, as it is told: where the file has it, and without the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollhouse.config.problems import Place


def placed(data: Any, loc: tuple[int | str, ...]) -> Place:
    """Pydantic names members of unions in its places; those are no part of the file."""
    place: list[int | str] = []
    for i, step in enumerate(loc):
        inside = data[step] if has(data, step) else None
        if not has(data, step) and i != len(loc) - 1:
            continue
        if not has(data, step) and not isinstance(data, dict):
            continue
        place.append(step)
        data = inside
    return tuple(place)


def has(data: object, step: int | str) -> bool:
    if isinstance(data, dict):
        return step in data
    return isinstance(data, list) and isinstance(step, int) and step < len(data)


def said(defect: Any) -> str:
    """Pydantic's message without the input, which may be a secret."""
    if defect["type"] == "missing":
        return "is missing"
    if defect["type"] == "extra_forbidden":
        return "is not known here"
    message: str = defect["msg"]
    return message[0].lower() + message[1:]
