"""Writes the measured parts of docs/detection.md: what the rules name, and how well they find it.

    TOLLHOUSE_CORPORA=... python scripts/detection_report.py [SECTION ...]

A section stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Figures come from the scripts that measure
(evaluate_secrets.py, evaluate_pii.py, evaluate_evasion.py, train_injection.py --report); those on held-out texts are
the ones that count. What cannot be measured here stays as it was, and the reason is printed. The injection report needs
numpy, scipy and scikit-learn: TRAINING_PYTHON names an interpreter that has them.
"""

from __future__ import annotations

import datetime as dt
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "detection.md"
RULES = ROOT / "config" / "rules"
SHOWN = 4


class UnavailableError(Exception):
    """A section that cannot be measured here, and why."""


def output(*command: str) -> str:
    """What a command prints."""
    if not os.environ.get("TOLLHOUSE_CORPORA"):
        raise UnavailableError("TOLLHOUSE_CORPORA is not set")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own scripts
    if done.returncode:
        raise UnavailableError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def origin(command: str) -> str:
    """Command, machine and date of figures."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return f"`{command}`, {dt.datetime.now(tz=dt.UTC).date()}, {os.cpu_count()} x {cpu}."


def packs() -> dict[str, list[dict[str, Any]]]:
    """The rules by family."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(RULES.glob("*.toml")):
        pack = tomllib.loads(path.read_text())
        found[pack["family"]] += pack["rule"]
    return found


def evidence(rule: dict[str, Any]) -> str:
    """What a match needs beside its shape, in words."""
    context = any(rule.get(name) for name in ("context", "labels", "alone"))
    checked = "validator" in rule
    default = {(True, True): "either", (True, False): "validator", (False, True): "context"}.get(
        (checked, context), "none"
    )
    return {
        "none": "shape",
        "context": "context",
        "validator": "check",
        "either": "check or context",
        "both": "check and context",
    }[rule.get("require", default)]


def listed(names: list[str]) -> str:
    """Some names and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def entities() -> str:
    """Every type with its rules, checks and evidence, from the packs themselves."""
    families = packs()
    total = sum(len(rules) for rules in families.values())
    rows = [f"{total} rules. A matcher is a shape that code tells; it has its own checks.", ""]
    rows += ["| type | rules | checked by | evidence |", "|---|---|---|---|"]
    for family in ("pii", "secrets", "injection"):
        kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for rule in families[family]:
            kinds[rule["type"]].append(rule)
        for kind, rules in sorted(kinds.items()):
            checks = sorted({rule["validator"] for rule in rules if "validator" in rule})
            matchers = sorted({f"matcher {rule['matcher']}" for rule in rules if "matcher" in rule})
            needs = sorted({evidence(rule) for rule in rules})
            names = listed([rule["id"] for rule in rules])
            rows.append(f"| {kind} | {names} | {', '.join(checks + matchers) or '-'} | {'; '.join(needs)} |")
    return "\n".join(rows)


def secrets() -> str:
    """Recall and precision of secrets."""
    text = output(sys.executable, "scripts/evaluate_secrets.py")
    held_out = text[text.index("== held out") :]
    rows = ["| texts | secrets | recall | precision | F1 |", "|---|--:|--:|--:|--:|"]
    for name, count, recall, precision, f1 in re.findall(
        r"^(\S.*?) +(\d+) recall ([\d.]+).*precision ([\d.]+) F1 ([\d.]+)$", held_out, re.MULTILINE
    ):
        rows.append(f"| {name} | {count} | {recall} | {precision} | {f1} |")
    rows += ["", "| texts without a secret | texts | flagged |", "|---|--:|--:|"]
    for name, count, flagged in re.findall(
        r"^(\S+) +(\d+) texts without a secret, flagged (\d+)$", held_out, re.MULTILINE
    ):
        rows.append(f"| {name} | {count} | {flagged} |")
    chat = re.findall(r"^  chat, by (name|shape) +(\d+) recall ([\d.]+)", held_out, re.MULTILINE)
    rows += [""] + [
        f"- Secrets in sentences of a chat, told by their {by}: {n}, recall {recall}." for by, n, recall in chat
    ]
    rows += [
        f"- {line[0].upper()}{line[1:]}."
        for line in held_out.splitlines()
        if line.startswith(("records,", "benign texts"))
    ]
    return "\n".join([*rows, "", origin("scripts/evaluate_secrets.py")])


def pii() -> str:
    """Recall and precision of personal data, by set and by type."""
    text = output(sys.executable, "scripts/evaluate_pii.py", "--part", "held-out")
    rows = [
        "| set | texts | F1, seven core types | named aside | F1, all types | named aside |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    numbers = r"F1 ([\d.]+) \([^)]*named F1 ([\d.]+)\)"
    sets = rf"^(\S+)\.jsonl \[held-out\] (\d+) texts: core {numbers}; wider {numbers}"
    rows += [f"| {' | '.join(cells)} |" for cells in re.findall(sets, text, re.MULTILINE)]
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0])
    pattern = r"^  (\w+) +labels +(\d+) R ([\d.]+) .*wrong (\d+) blank (\d+)$"
    for kind, labels, recall, wrong, blank in re.findall(pattern, text, re.MULTILINE):
        found = round(int(labels) * float(recall))
        for i, value in enumerate((int(labels), found, int(wrong), int(blank))):
            totals[kind][i] += value
    rows += [
        "",
        "| type | labelled | recall | precision | precision, unlabelled places aside |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind, (labels, found, wrong, blank) in sorted(totals.items()):
        recall = found / labels if labels else 1.0
        all_, labelled = found / max(1, found + wrong), found / max(1, found + wrong - blank)
        rows.append(f"| {kind} | {labels:.0f} | {recall:.3f} | {all_:.3f} | {labelled:.3f} |")
    rows += [""] + [
        f"- {name}: {flagged} of {count} texts flagged ({what})."
        for name, count, flagged, what in re.findall(
            r"^(\S+)\.jsonl \[held-out\] (\d+) texts, (\d+) flagged: (.*)$", text, re.MULTILINE
        )
    ]
    return "\n".join([*rows, "", origin("scripts/evaluate_pii.py --part held-out")])


def evasion() -> str:
    """What is found of what was disguised, by tier and by part."""
    text = output(sys.executable, "scripts/evaluate_evasion.py")
    cells: dict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)
    pattern = r"^(.+?) +tier (\d) all +(dev|held out) +\d+ of +(\d+) ([\d.]+)$"
    for kind, tier, part, count, rate in re.findall(pattern, text, re.MULTILINE):
        cells[kind, tier][part] = (count, rate)
    rows = ["| disguised | tier | held out | found | others | found |", "|---|--:|--:|--:|--:|--:|"]
    for (kind, tier), parts in cells.items():
        rows.append(f"| {kind} | {tier} | {' | '.join([*parts['held out'], *parts['dev']])} |")
    return "\n".join([*rows, "", origin("scripts/evaluate_evasion.py")])


def injection() -> str:
    """What is flagged at fixed rates of false positives."""
    python = os.environ.get("TRAINING_PYTHON", sys.executable)
    build = ["cargo", "build", "-q", "--release", "-p", "tollhouse-core", "--example", "injection_probe"]
    output(*build)
    text = output(python, "scripts/train_injection.py", "--report")
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines() if "  " in line.strip()]
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    rows.insert(1, "|---" + "|--:" * (len(lines[0]) - 1) + "|")
    return "\n".join([*rows, "", origin("scripts/train_injection.py --report")])


def replace(page: str, name: str, text: str) -> str:
    """The page with a section written anew."""
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE.name} has no section {name}")
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


SECTIONS: dict[str, Callable[[], str]] = {
    "entities": entities,
    "secrets": secrets,
    "pii": pii,
    "evasion": evasion,
    "injection": injection,
}


def main() -> int:
    """Write the sections that are asked for, by default all."""
    page = PAGE.read_text()
    for name in sys.argv[1:] or SECTIONS:
        try:
            page = replace(page, name, SECTIONS[name]())
        except UnavailableError as reason:
            sys.stderr.write(f"{name}: stays as it was, {reason}\n")
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
