"""What the scripts of the scanners share: texts come as JSON on standard input, results go as JSON to standard output.

In: {"texts": [...], "pieces": [...], "seconds": n}. Out: "findings" (for each text a list of [type, start, end] in
characters), "load_s", and what the pieces of benign chat cost: "bytes" and "cpu_s", of this process and its children,
which ends after `seconds` of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

# Texts between two looks at the clock.
BATCH = 8
# Pieces in a file, for programs.
PER_FILE = 64

Finding = tuple[str, int, int]
ScanOne = Callable[[str], list[Finding]]
ScanAll = Callable[[list[str]], list[list[Finding]]]


def cpu() -> float:
    """User and system time so far, of this process with all its threads and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def serve(prepare: Callable[[], ScanOne]) -> None:
    """Answer for a library that takes a text at a time."""
    asked = json.load(sys.stdin)
    begun = cpu()
    scan = prepare()
    scan("warm")
    load = cpu() - begun
    findings = [scan(text) for text in asked["texts"]]
    size, spent = 0, 0.0
    for at in range(0, len(asked["pieces"]), BATCH):
        batch = asked["pieces"][at : at + BATCH]
        begun = cpu()
        for piece in batch:
            scan(piece)
        spent += cpu() - begun
        size += sum(len(piece.encode()) for piece in batch)
        if spent > asked["seconds"]:
            break
    answer(findings, load, size, spent)


def serve_all(scan: ScanAll) -> None:
    """Answer for a program that is started for all texts; what it takes to do nothing is subtracted."""
    asked = json.load(sys.stdin)
    scan([])
    begun = cpu()
    scan([])
    load = cpu() - begun
    findings = scan(asked["texts"])
    # Files of some size, as such programs like them best.
    files = ["".join(asked["pieces"][at : at + PER_FILE]) for at in range(0, len(asked["pieces"]), PER_FILE)]
    begun = cpu()
    scan(files)
    answer(findings, load, sum(len(piece.encode()) for piece in asked["pieces"]), cpu() - begun - load)


def answer(findings: list[list[Finding]], load: float, size: int, spent: float) -> None:
    print(json.dumps({"findings": findings, "load_s": load, "bytes": size, "cpu_s": spent}))


def place(text: str, value: str, line: int = 1) -> Finding | None:
    """Where a value stands, from the start of a line on."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    at = text.find(value, start)
    if at < 0:
        at = text.find(value)
    return ("SECRET", at, at + len(value)) if value and at >= 0 else None


def characters(raw: bytes, at: int) -> int:
    """Return how many characters stand before a byte."""
    return len(raw[:at].decode(errors="replace"))
