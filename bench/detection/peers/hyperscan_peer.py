"""Hyperscan with the expressions of our own rules for secrets, as far as it takes them: a bare engine for expressions.

No validators, no entropy, no context, no resolution of overlaps: its findings are where an expression matches.
"""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import hyperscan

from bench.detection.peers.harness import Finding, ScanOne, characters, serve

RULES = pathlib.Path(__file__).parents[3] / "config" / "rules"


def expressions() -> list[bytes]:
    """The expressions of rules that begin with a literal; the others would match almost anywhere without context."""
    found = []
    for path in sorted(RULES.glob("secrets-*.toml")):
        for rule in tomllib.loads(path.read_text())["rule"]:
            if "regex" in rule and rule.get("start", "literal") == "literal":
                whole = f"{rule.get('lead', '')}(?:{rule['regex']}){rule.get('trail', '')}"
                found.append((f"(?i:{whole})" if rule.get("ignore_case") else whole).encode())
    return found


def accepted(flags: int) -> list[bytes]:
    """Return the expressions that it compiles."""
    kept = []
    for expression in expressions():
        try:
            hyperscan.Database().compile(expressions=[expression], flags=[flags])
        except hyperscan.HyperscanError:
            continue
        kept.append(expression)
    return kept


def prepare() -> ScanOne:
    # Where a match starts costs more than that it ends: without it nothing could be redacted.
    flags = hyperscan.HS_FLAG_SOM_LEFTMOST
    taken = accepted(flags)
    database = hyperscan.Database()
    database.compile(expressions=taken, ids=list(range(len(taken))), elements=len(taken), flags=[flags] * len(taken))

    def scan(text: str) -> list[Finding]:
        raw = text.encode()
        longest: dict[int, int] = {}

        def on_match(_id: int, start: int, end: int, _flags: int, _context: Any) -> None:
            longest[start] = max(end, longest.get(start, 0))

        database.scan(raw, match_event_handler=on_match)
        return [("SECRET", characters(raw, start), characters(raw, end)) for start, end in longest.items()]

    return scan


if __name__ == "__main__":
    serve(prepare)
