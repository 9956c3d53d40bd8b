"""What all grammars share: events, the error that names one, and the base of the checkers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NoReturn

ERROR_KEYS = {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Event:
    """One event of a stream: its place, its `event:` line if it has one, its data."""

    index: int
    name: str | None
    data: bytes


class Broken(AssertionError):
    """A stream that breaks the grammar. `index`: of the event at fault; -1: of the end."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"event {index}: {why}" if index >= 0 else f"at the end: {why}")
        self.index = index
        self.why = why


class Grammar(ABC):
    """Takes the events of one stream in their order."""

    def __init__(self, *, strict: bool = True, include_usage: bool | None = None) -> None:
        self.strict = strict
        self.include_usage = include_usage
        self.ended_by: str | None = None
        self._at = -1

    def take(self, event: Event) -> None:
        """Raises Broken."""
        self._at = event.index
        if self.ended_by is not None:
            self.broken(f"comes after {self.ended_by}, which is the last")
        self._take(event)

    def end(self) -> None:
        """The stream has ended. Raises Broken if it must not end here."""
        self._at = -1
        if self.ended_by is None:
            self._end_without_last()

    @abstractmethod
    def _take(self, event: Event) -> None: ...

    @abstractmethod
    def _end_without_last(self) -> None: ...

    def broken(self, why: str) -> NoReturn:
        raise Broken(self._at, why)

    def must(self, fact: object, why: str) -> None:
        if not fact:
            self.broken(why)

    def must_strictly(self, fact: object, why: str) -> None:
        """Of the gateway's own streams only."""
        if self.strict and not fact:
            self.broken(why)

    def parsed(self, event: Event) -> dict[str, Any]:
        """The data as an object. What is passed on may hold bytes that are no UTF-8."""
        try:
            value = json.loads(event.data.decode("utf-8", "strict" if self.strict else "surrogateescape"))
        except ValueError as error:
            self.broken(f"is no JSON: {error}")
        if not isinstance(value, dict):
            self.broken("is no object")
        return value

    def typed(self, event: Event) -> tuple[str, dict[str, Any]]:
        """Type and members of an event of a dialect whose `event:` line repeats the type."""
        value = self.parsed(event)
        kind = value.get("type")
        if not isinstance(kind, str):
            self.broken("has no type")
        self.must(event.name == kind, f"has the line event: {event.name}, but the type {kind}")
        return kind, value

    def number(self, value: dict[str, Any], name: str) -> int:
        found = value.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            self.broken(f"{name} is {found!r}, not a number from 0 on")
        return found

    def text(self, value: dict[str, Any], name: str, *, is_empty_fine: bool = True) -> str:
        found = value.get(name)
        if not isinstance(found, str) or not (found or is_empty_fine):
            self.broken(f"{name} is {type(found).__name__}, not {'a' if is_empty_fine else 'a filled'} string")
        return found

    def list_of(self, value: dict[str, Any], name: str) -> list[Any]:
        found = value.get(name)
        if not isinstance(found, list):
            self.broken(f"{name} is {type(found).__name__}, not a list")
        return found

    def object_of(self, value: dict[str, Any], name: str) -> dict[str, Any]:
        found = value.get(name)
        if not isinstance(found, dict):
            self.broken(f"{name} is {type(found).__name__}, not an object")
        return found

    def is_json(self, text: str) -> bool:
        try:
            return isinstance(json.loads(text), dict)
        except ValueError:
            return False
