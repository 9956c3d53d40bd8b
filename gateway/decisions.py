"""Decisions that callers are told, and how two sets of them differ.

ALLOWED is looser than TRANSFORMED, and that is looser than BLOCKED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORDER = ("ALLOWED", "TRANSFORMED", "BLOCKED")
FAILED = "FAILED"  # neither passed nor refused by policy


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one entry. now: None if it is no longer asked. about: what people want to know besides."""

    id: str
    then: str
    now: str | None
    about: str = ""

    @property
    def is_looser(self) -> bool:
        return self.now is None or ORDER.index(self.now) < ORDER.index(self.then)

    def __str__(self) -> str:
        what = f"{self.now} instead of {self.then}" if self.now is not None else f"no longer asked, {self.then} before"
        return f"{self.id}: {what}{self.about}"


@dataclass(frozen=True, slots=True)
class Report:
    """Lines about entries, by how they differ from what they are compared with."""

    loosened: list[str]
    tightened: list[str]
    failed: list[str]

    def passes(self, *, strict: bool) -> bool:
        return not (self.loosened or self.failed or (strict and self.tightened))


def differences(records: Iterable[Mapping[str, Any]], before: Mapping[str, str] | None) -> list[Difference]:
    """before: decisions by id; None: what the corpus itself expects. Entries that failed then or now are left out."""
    found, seen = [], set()
    for record in records:
        name, now = record["id"], record["decision"]
        seen.add(name)
        then = record["expected_decision"] if before is None else before.get(name)
        if then in ORDER and now in ORDER and then != now:
            found.append(Difference(name, then, now, _tags(record)))
    gone = ((name, then) for name, then in (before or {}).items() if name not in seen and then in ORDER[1:])
    return found + [Difference(name, then, None) for name, then in gone]


def failures(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line per entry that had no decision."""
    return [
        f"{record['id']}: status {record['status']} {record['code'] or ''}".rstrip() + _tags(record)
        for record in records
        if record["decision"] == FAILED
    ]


def compared(records: list[dict[str, Any]], before: Mapping[str, str] | None) -> Report:
    """before: as in `differences`."""
    found = differences(records, before)
    return Report(
        loosened=[str(one) for one in found if one.is_looser],
        tightened=[str(one) for one in found if not one.is_looser],
        failed=failures(records),
    )


def _tags(record: Mapping[str, Any]) -> str:
    return f" ({', '.join(record['tags'])})" if record["tags"] else ""
