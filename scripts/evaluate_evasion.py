"""How many disguised values and attacks are found, and what is found in harmless texts under the same disguises.

TOLLHOUSE_CORPORA names the folder with evasion/*.jsonl. Tier 1 is undone character by character, tier 2 takes a bounded
decoding or putting a spelled-out run together, tier 3 takes more than a scanner promises. A value is found if a finding
covers half of it; an attack if the text is found to be one; a harmless text should have no finding at all.

    TOLLHOUSE_CORPORA=... python scripts/evaluate_evasion.py [--techniques] [--misses]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any

import corpora
from corpora import covered, is_held_out, read, say

ENOUGH = 0.5
FILES = {
    "pii_evasion": "personal data",
    "secret_evasion": "secrets",
    "injection_evasion": "attacks",
    "benign_encoded_controls": "harmless",
}
Key = tuple[Any, ...]


def is_hit(record: dict[str, Any], findings: list[dict[str, Any]]) -> bool:
    """Whether what is hidden in a text was found; in a harmless one, whether anything was."""
    if record["label"] == "benign":
        return bool(findings)
    spans = record.get("spans")
    if not spans:
        return any(found["type"] == "INJECTION" for found in findings)
    # An attack is found in a text as a whole, which says nothing of the value.
    return any(found["type"] != "INJECTION" and covered(found, spans[0]) >= ENOUGH for found in findings)


def main() -> int:
    """Scan and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--techniques", action="store_true", help="a row for each technique")
    parser.add_argument("--misses", action="store_true", help="list what goes wrong in the part that is not held out")
    options = parser.parse_args()
    folder = corpora.required() / "evasion"
    texts: Counter[Key] = Counter()
    hits: Counter[Key] = Counter()
    misses = []
    for file, kind in FILES.items():
        records = list(read(folder / f"{file}.jsonl"))
        found = corpora.scan((record["id"], record["text"]) for record in records)
        for record in records:
            part = "held out" if is_held_out(record["id"]) else "dev"
            technique = record["technique"] if options.techniques else "all"
            key = (kind, record["tier"], technique, part)
            hit = is_hit(record, found[record["id"]])
            texts[key] += 1
            hits[key] += hit
            if hit == (kind == "harmless") and part == "dev":
                misses.append(f"{kind} tier {record['tier']} {record['technique']}: {record['id']}")
    for key in sorted(texts, key=lambda key: (list(FILES.values()).index(key[0]), *key[1:])):
        kind, tier, technique, part = key
        rate = hits[key] / texts[key]
        say(f"{kind:14} tier {tier} {technique:20} {part:9} {hits[key]:5} of {texts[key]:5} {rate:.3f}")
    if options.misses:
        say("\n".join(misses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
