"""Measure the secret rules on the detection corpora.

The folder with the corpora comes from the environment variable TOLLHOUSE_CORPORA. A record belongs to the held-out part
when the SHA-1 of its id is divisible by five; those texts are for measuring only. With --misses the missed and the
wrongly found values of the other part are listed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import sys
from typing import TYPE_CHECKING

import corpora
from corpora import say

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

OVERLAP = 0.5


@dataclasses.dataclass(frozen=True)
class Record:
    """One text of a corpus and what is known of it."""

    id: str
    file: str
    text: str
    label: str
    rule: str
    context: str
    keyword_anchored: bool
    spans: tuple[tuple[int, int], ...]

    @property
    def held_out(self) -> bool:
        """Whether it is for measuring only."""
        return corpora.is_held_out(self.id)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A secret that the scanner reports, in characters of the text."""

    rule: str
    start: int
    end: int


@dataclasses.dataclass
class Tally:
    """Counts of spans and of findings."""

    spans: int = 0
    found: int = 0
    exact: int = 0
    touched: int = 0
    findings: int = 0
    right: int = 0

    def row(self, name: str) -> str:
        """Return one line of the table."""
        recall = self.found / self.spans if self.spans else 1.0
        precision = self.right / self.findings if self.findings else 1.0
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        touched = self.touched / self.spans if self.spans else 1.0
        exact = self.exact / self.spans if self.spans else 1.0
        return (
            f"{name:44} {self.spans:5} recall {recall:.3f} (exact {exact:.3f}, touched {touched:.3f}) "
            f"precision {precision:.3f} F1 {f1:.3f}"
        )


def read(path: pathlib.Path) -> Iterator[Record]:
    """Yield the records of one file; a conversation is one text."""
    for raw in corpora.read(path):
        spans = raw.get("spans", []) if path.parent.name == "secrets" else []
        yield Record(
            id=raw["id"],
            file=f"{path.parent.name}/{path.stem}",
            text=corpora.text_of(raw),
            label=raw.get("label", "benign") if path.parent.name == "secrets" else "benign",
            rule=raw.get("rule") or "",
            context=raw.get("context") or "",
            keyword_anchored=bool(raw.get("keyword_anchored")),
            spans=tuple((span["start"], span["end"]) for span in spans),
        )


def scan(records: list[Record]) -> list[list[Finding]]:
    """Run the scanner over all texts at once."""
    found = corpora.scan((f"{record.file}/{record.id}", record.text) for record in records)
    return [
        [Finding(f["rule"], f["start"], f["end"]) for f in findings if f["type"] == "SECRET"]
        for findings in found.values()
    ]


def shared(span: tuple[int, int], finding: Finding) -> float:
    """Return the intersection over the union of a span and a finding."""
    common = min(span[1], finding.end) - max(span[0], finding.start)
    return max(common, 0) / (max(span[1], finding.end) - min(span[0], finding.start))


def touches(span: tuple[int, int], finding: Finding) -> bool:
    """Return whether a finding covers half of the span, whatever else it covers."""
    common = min(span[1], finding.end) - max(span[0], finding.start)
    return common >= OVERLAP * (span[1] - span[0])


def count(tally: Tally, record: Record, findings: list[Finding]) -> bool:
    """Add one record; return whether all its spans were found."""
    complete = True
    for span in record.spans:
        hit = any(shared(span, finding) >= OVERLAP for finding in findings)
        tally.spans += 1
        tally.found += hit
        tally.touched += any(touches(span, finding) for finding in findings)
        tally.exact += any((finding.start, finding.end) == span for finding in findings)
        complete &= hit
    for finding in findings:
        tally.findings += 1
        tally.right += any(shared(span, finding) > 0 for span in record.spans)
    return complete


def report(name: str, pairs: list[tuple[Record, list[Finding]]], *, misses: bool) -> None:
    """Print the figures of one part."""
    say(f"== {name}")
    secret = [pair for pair in pairs if pair[0].label == "secret"]
    groups: dict[str, Tally] = collections.defaultdict(Tally)
    for record, findings in secret:
        group = (
            f"{record.context}, by {'name' if record.keyword_anchored else 'shape'}"
            if record.file.endswith("rule_generated")
            else ""
        )
        for key in ("all secrets", record.file, *([f"  {group}"] if group else [])):
            complete = count(groups[key], record, findings)
        if misses and not complete:
            say("missed", record.id, record.rule, [record.text[a:b][:80] for a, b in record.spans])
            say("      ", repr(record.text[max(0, record.spans[0][0] - 60) : record.spans[0][1] + 20][:220]))
            say("      ", [(f.rule, record.text[f.start : f.end][:60]) for f in findings])
    for key in sorted(groups):
        say(groups[key].row(key))
    negatives = [(record, findings) for record, findings in pairs if record.label in {"benign", "rule_negative"}]
    for file in sorted({record.file for record, _ in negatives}):
        of_file = [(record, findings) for record, findings in negatives if record.file == file]
        flagged = [(record, findings) for record, findings in of_file if findings]
        say(f"{file:44} {len(of_file):5} texts without a secret, flagged {len(flagged)}")
        if misses:
            for record, findings in flagged:
                for finding in findings:
                    around = record.text[max(0, finding.start - 50) : finding.end + 10]
                    say(
                        "  wrong", finding.rule, repr(record.text[finding.start : finding.end][:80]), repr(around[:160])
                    )
    say(records_row(pairs))
    by_rule = collections.Counter(finding.rule for _, findings in negatives for finding in findings)
    say("rules that fire without a secret:", dict(by_rule.most_common(12)))


def records_row(pairs: Iterable[tuple[Record, list[Finding]]]) -> str:
    """Return the figures with records as the unit: a secret is found, a text without one is flagged."""
    hits = misses = wrong = negative_wrong = benign = benign_wrong = 0
    for record, findings in pairs:
        if record.label == "secret":
            hit = any(touches(span, finding) for span in record.spans for finding in findings)
            hits += hit
            misses += not hit
        elif record.label == "rule_negative":
            negative_wrong += bool(findings)
        elif record.label == "benign":
            benign += 1
            benign_wrong += bool(findings)
    rows = []
    for name, wrong in (
        ("benign texts", benign_wrong),
        ("benign texts and rules' negatives", benign_wrong + negative_wrong),
    ):
        recall, precision = hits / max(1, hits + misses), hits / max(1, hits + wrong)
        f1 = 2 * recall * precision / max(1e-9, recall + precision)
        rows.append(f"records, against {name}: recall {recall:.3f} precision {precision:.3f} F1 {f1:.3f}")
    rows.append(f"benign texts flagged: {benign_wrong} of {benign} ({benign_wrong / max(1, benign):.3%})")
    return "\n".join(rows)


def main() -> int:
    """Read, scan, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", action="store_true", help="list what goes wrong in the part that is not held out")
    options = parser.parse_args()
    root = corpora.required()
    records = [
        r
        for name in ("secrets", "benign", "chat")
        for path in sorted((root / name).glob("*.jsonl"))
        for r in read(path)
    ]
    pairs = list(zip(records, scan(records), strict=True))
    report("development", [pair for pair in pairs if not pair[0].held_out], misses=options.misses)
    report("held out", [pair for pair in pairs if pair[0].held_out], misses=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
