"""Corpora of conversations, and decisions on them, as files of JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse.gateway.decisions import FAILED, ORDER
from tollhouse.gateway.scan import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWN = frozenset({"model", "messages", "stream"})  # members of a body that an entry says in another way, or not at all


class Asker(NamedTuple):
    """Who asks: what the key of the caller says."""

    key: str | None = None
    team: str | None = None
    user: str | None = None


NOBODY = Asker()


@dataclass(frozen=True, slots=True)
class Entry:
    """One conversation of a corpus. expected: what its line says, if anything; request: more members of the body."""

    id: str
    messages: list[Any]
    expected: str | None
    tags: list[str]
    model: str | None = None
    caller: Asker = NOBODY
    request: dict[str, Any] = field(default_factory=dict)


def read(path: str) -> list[Entry]:
    """The entries of a corpus. Raises BadInput, naming the line, and OSError."""
    found: dict[str, Entry] = {}
    for number, record in _records(path):
        entry = _entry(number, record)
        if entry.id in found:
            msg = f"line {number}: repeats an id"
            raise BadInput(msg)
        found[entry.id] = entry
    if not found:
        msg = "there is no entry"
        raise BadInput(msg)
    return list(found.values())


def baseline(path: str) -> dict[str, str]:
    """Decisions by id, of an earlier output or of a corpus with expectations. Raises BadInput and OSError."""
    found = {}
    for number, record in _records(path):
        name, decision = record.get("id"), record.get("decision", record.get("expected_decision"))
        if not isinstance(name, str) or decision not in {*ORDER, FAILED}:
            msg = f"line {number}: needs `id` and `decision` (or `expected_decision`)"
            raise BadInput(msg)
        found[name] = decision
    return found


def _entry(number: int, record: dict[str, Any]) -> Entry:
    name, messages, expected = record.get("id"), record.get("messages"), record.get("expected_decision")
    if not isinstance(name, str) or not name or not isinstance(messages, list):
        msg = f"line {number}: needs a string `id` and a list `messages`"
        raise BadInput(msg)
    if expected not in {None, *ORDER}:
        msg = f"line {number}: `expected_decision` is none of {', '.join(ORDER)}"
        raise BadInput(msg)
    model, caller, request = record.get("model"), record.get("caller") or {}, record.get("request") or {}
    if not isinstance(model, str | None) or not isinstance(request, dict) or _OWN & set(request):
        msg = f"line {number}: `model` is a string, and `request` an object without {', '.join(sorted(_OWN))}"
        raise BadInput(msg)
    names = set(Asker._fields)
    if not isinstance(caller, dict) or set(caller) - names or not all(isinstance(v, str) for v in caller.values()):
        msg = f"line {number}: `caller` is an object of strings: {', '.join(sorted(names))}"
        raise BadInput(msg)
    return Entry(name, messages, expected, list(record.get("tags") or ()), model, Asker(**caller), request)


def _records(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    with open(path, "rb") as source:
        for number, line in enumerate(source, 1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                msg = f"line {number}: is not JSON"
                raise BadInput(msg) from None
            if not isinstance(record, dict):
                msg = f"line {number}: is no object"
                raise BadInput(msg)
            yield number, record
