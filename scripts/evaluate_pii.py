"""Recall, precision and F1 of the personal-data rules on labelled corpora, and what they find in harmless texts.

TOLLHOUSE_CORPORA names the folder with pii/, benign/, chat/ and secrets/*.jsonl. Every fifth record, by the hash of
its id, is held out: rules are tuned on the rest (``--part dev``) and measured on those (``--part held-out``).

A finding is right if it overlaps a labelled stretch of an equivalent type; a label is found if a finding of an
equivalent type covers half of it (or, ``exact``, the same characters). What is found where nothing is labelled counts
as wrong, and is counted once more as ``blank``. Two sorts of blanks say nothing of the rules, and the F1 ``named``
leaves them aside: values that the text itself names (``MAC: ...``, ``Phone: ...``), which a template of a source wrote
and did not label; and, in cases made for one recogniser, what is of other types than the one in question.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import corpora
from corpora import covered, read, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Names that mean the same, by the name that the report uses.
FOLD = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "US_ITIN": "US_SSN",
    "MEDICAL_RECORD_NUMBER": "MRN",
    "MEDICAL_LICENSE": "US_DEA",
    "US_BANK_NUMBER": "BANK_ACCOUNT",
    "ABA_ROUTING_NUMBER": "ABA_ROUTING",
    "US_EIN": "TAX_ID",
    "US_PASSPORT": "PASSPORT",
    "US_DRIVER_LICENSE": "DRIVER_LICENSE",
    "PH_MOBILE_NUMBER": "PHONE",
    "TR_PHONE_NUMBER": "PHONE",
}
CORE = ("EMAIL", "PHONE", "US_SSN", "CREDIT_CARD", "IBAN", "IP_ADDRESS", "MAC_ADDRESS")
WIDER = (
    *CORE,
    "DATE_OF_BIRTH",
    "SWIFT_BIC",
    "MRN",
    "US_NPI",
    "US_DEA",
    "PASSPORT",
    "DRIVER_LICENSE",
    "BANK_ACCOUNT",
    "ABA_ROUTING",
    "TAX_ID",
    "NATIONAL_ID",
    "EMPLOYEE_ID",
    "HEALTH_INSURANCE_ID",
    "INSURANCE_POLICY_NUMBER",
    "CRYPTO",
    "VIN",
)
# Of these a case says that something is none; it can still be one of the wider type, which FOLD names.
NARROWER = {"US_ITIN", "PH_MOBILE_NUMBER", "TR_PHONE_NUMBER"}
# A text that says it in so many words is right, whatever the labels say.
NAMED = {"MAC_ADDRESS": re.compile(r"\bMAC: $"), "PHONE": re.compile(r"\bPhone: $")}
# What a source calls a date may be a birth date; its identifiers overlap in meaning.
KIN = {
    "DATE_OF_BIRTH": {"DATE_TIME"},
    "TAX_ID": {"NATIONAL_ID"},
    "NATIONAL_ID": {"TAX_ID", "MRN", "HEALTH_INSURANCE_ID"},
    "HEALTH_INSURANCE_ID": {"NATIONAL_ID"},
    "PASSPORT": {"NATIONAL_ID", "VISA_NUMBER"},
}


@dataclass
class Score:
    """Counts of one type."""

    labels: int = 0
    found: int = 0
    exact: int = 0
    right: int = 0
    wrong: int = 0
    blank: int = 0
    aside: int = 0
    missed_texts: list[str] = field(default_factory=list)
    wrong_texts: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Adds the counts of another."""
        self.labels += other.labels
        self.found += other.found
        self.exact += other.exact
        self.right += other.right
        self.wrong += other.wrong
        self.blank += other.blank
        self.aside += other.aside

    @property
    def recall(self) -> float:
        """Labels that were found."""
        return self.found / self.labels if self.labels else 1.0

    @property
    def precision(self) -> float:
        """Findings that were labelled."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0

    @property
    def named(self) -> Score:
        """The counts without the wrong findings that say nothing of the rules."""
        return replace(self, wrong=self.wrong - self.aside)


def fold(kind: str) -> str:
    """The name of the report for a name of a source or a rule."""
    return FOLD.get(kind, kind)


def equivalent(found: str, label: str) -> bool:
    """Whether a finding's type is right for a label's."""
    return found == label or label in KIN.get(found, ())


def scan(texts: Iterable[tuple[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """What the rules find, by the id of the text; only personal data."""
    return {
        key: [found for found in findings if found["type"] not in {"SECRET", "INJECTION"}]
        for key, findings in corpora.scan(texts).items()
    }


def excerpt(text: str, start: int, end: int) -> str:
    """A stretch with what is around it."""
    return f"{text[max(0, start - 40) : start]!r} [{text[start:end]!r}] {text[end : end + 15]!r}"


def is_aside(record: dict[str, Any], finding: dict[str, Any]) -> bool:
    """Whether a finding that touches no label is right for all that the source says."""
    kind, asked = fold(finding["type"]), record.get("entity")
    if asked and (fold(asked) != kind or (asked in NARROWER and asked != finding["type"])):
        return True
    # The plus sign or the bracket before a number may be no part of the finding.
    return kind in NAMED and NAMED[kind].search(record["text"][: finding["start"]].rstrip("+(")) is not None


def score(
    record: dict[str, Any], findings: list[dict[str, Any]], kinds: tuple[str, ...], *, only_valid: bool
) -> dict[str, Score]:
    """The counts of one record, by type."""
    scores: dict[str, Score] = defaultdict(Score)
    spans = [{**span, "type": fold(span["type"])} for span in record.get("spans") or []]
    text = record["text"]
    for span in spans:
        if span["type"] not in kinds or (only_valid and span.get("valid") is False):
            continue
        count = scores[span["type"]]
        count.labels += 1
        near = [finding for finding in findings if equivalent(fold(finding["type"]), span["type"])]
        # A checksum is no part of the question whether a social security number was found.
        if any(covered(finding, span) >= 0.5 for finding in near):
            count.found += 1
        else:
            others = {finding["type"] for finding in findings if covered(finding, span) > 0}
            count.missed_texts.append(f"{excerpt(text, span['start'], span['end'])} {others or ''}")
        count.exact += any(finding["start"] == span["start"] and finding["end"] == span["end"] for finding in near)
    for finding in findings:
        kind = fold(finding["type"])
        if kind not in kinds:
            continue
        over = [span for span in spans if covered(finding, span) > 0]
        if any(equivalent(kind, span["type"]) for span in over):
            scores[kind].right += 1
        else:
            scores[kind].wrong += 1
            scores[kind].blank += not over
            scores[kind].aside += not over and is_aside(record, finding)
            over_types = {span["type"] for span in over} or "unlabelled"
            rule = finding["rule"]
            scores[kind].wrong_texts.append(f"{rule}: {excerpt(text, finding['start'], finding['end'])} {over_types}")
    return scores


def report_spans(path: Path, part: str, *, only_valid: bool, show: int) -> None:
    """Prints the scores of a file of labelled stretches."""
    rows = [record for record in read(path, part) if record.get("spans") is not None]
    found = scan((record["id"], record["text"]) for record in rows)
    total: dict[str, Score] = defaultdict(Score)
    for record in rows:
        for kind, count in score(record, found[record["id"]], WIDER, only_valid=only_valid).items():
            total[kind].add(count)
            total[kind].missed_texts += count.missed_texts
            total[kind].wrong_texts += count.wrong_texts
    sums = []
    for name, kinds in (("core", CORE), ("wider", WIDER)):
        whole = Score()
        for kind in kinds:
            whole.add(total[kind])
        sums.append(
            f"{name} F1 {whole.f1:.3f} (R {whole.recall:.3f} P {whole.precision:.3f}; named F1 {whole.named.f1:.3f})"
        )
    say(f"\n{path.name} [{part}] {len(rows)} texts: {'; '.join(sums)}")
    for kind, count in sorted(total.items()):
        if not count.labels and not count.wrong:
            continue
        say(
            f"  {kind:24} labels {count.labels:5} R {count.recall:.3f} exact {count.exact / max(count.labels, 1):.3f}"
            f" P {count.precision:.3f} F1 {count.f1:.3f} wrong {count.wrong} blank {count.blank}"
        )
        for text in count.missed_texts[:show]:
            say(f"      missed {text}")
        for text in count.wrong_texts[:show]:
            say(f"      wrong  {text}")


def report_cases(path: Path, part: str, show: int) -> None:
    """Prints how often the expected number of findings was met, by type."""
    rows = list(read(path, part))
    found = scan((record["id"], record["text"]) for record in rows)
    met: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    wrong = []
    for record in rows:
        kind = fold(record["entity"])
        count = sum(fold(finding["type"]) == kind for finding in found[record["id"]])
        good = count == record["expected_count"]
        seen[kind] += 1
        met[kind] += good
        if not good:
            kinds = [finding["type"] for finding in found[record["id"]]]
            wrong.append(f"{kind}: expected {record['expected_count']} in {record['text'][:80]!r}, found {kinds}")
    say(f"\n{path.name} [{part}] counts met: {sum(met.values())} of {sum(seen.values())}")
    say("  " + ", ".join(f"{kind} {met[kind]}/{seen[kind]}" for kind in sorted(seen)))
    for text in wrong[: show * 20]:
        say(f"      {text}")


def turns(record: dict[str, Any]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """The texts of a record with their labels."""
    if "messages" in record:
        for number, message in enumerate(record["messages"]):
            yield f"{record['id']}/{number}", message["content"], message.get("spans") or []
    else:
        yield record["id"], record["text"], []


def report_harmless(path: Path, part: str, show: int) -> None:
    """Prints what is found in texts that hold no personal data, or only that which is labelled."""
    parts = {key: (text, spans) for record in read(path, part) for key, text, spans in turns(record)}
    found = scan((key, text) for key, (text, _) in parts.items())
    false: dict[str, list[str]] = defaultdict(list)
    phones = Score()
    flagged = set()
    for key, (text, spans) in parts.items():
        for finding in found[key]:
            if any(covered(finding, span) > 0 for span in spans):
                phones.right += fold(finding["type"]) == "PHONE"
                continue
            flagged.add(key)
            false[finding["type"]].append(f"{finding['rule']}: {excerpt(text, finding['start'], finding['end'])}")
            phones.wrong += fold(finding["type"]) == "PHONE"
        for span in spans:
            if span["type"] == "PHONE":
                phones.labels += 1
                phones.found += any(
                    fold(finding["type"]) == "PHONE" and covered(finding, span) >= 0.5 for finding in found[key]
                )
    counts = ", ".join(f"{kind} {len(texts)}" for kind, texts in sorted(false.items())) or "nothing"
    say(f"\n{path.parent.name}/{path.name} [{part}] {len(parts)} texts, {len(flagged)} flagged: {counts}")
    if phones.labels:
        say(f"  PHONE labels {phones.labels} R {phones.recall:.3f} P {phones.precision:.3f} (labels are a lower bound)")
    for texts in false.values():
        for text in texts[:show]:
            say(f"      {text}")


def main() -> int:
    """Evaluates and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=corpora.PARTS, default="dev")
    parser.add_argument("--valid", action="store_true", help="leave out labels whose value fails its check")
    parser.add_argument("--show", type=int, default=0, help="so many errors of each sort (never with --part held-out)")
    parser.add_argument("--only", default="", help="files whose name holds this")
    options = parser.parse_args()
    root = corpora.required()
    show = 0 if options.part == "held-out" else options.show
    for path in sorted(root.glob("pii/*.jsonl")):
        if options.only in path.name:
            report_spans(path, options.part, only_valid=options.valid, show=show)
            if path.name.startswith("presidio_recognizer"):
                report_cases(path, options.part, show)
    harmless = [*root.glob("benign/*.jsonl"), *root.glob("chat/*.jsonl"), root / "secrets/benign_high_entropy.jsonl"]
    for path in sorted(harmless):
        if options.only in path.name:
            report_harmless(path, options.part, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
