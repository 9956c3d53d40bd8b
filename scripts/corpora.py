"""The corpora that rules are tuned and measured on: where they are, what is held out of them, what is found in them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
SCAN = ("cargo", "run", "-q", "--release", "-p", "tollhouse-core", "--example", "scan_jsonl")
HELD_OUT_SHARE = 5
PARTS = ("dev", "held-out", "all")


def folder() -> Path | None:
    """The folder that TOLLHOUSE_CORPORA names, if it does."""
    name = os.environ.get("TOLLHOUSE_CORPORA")
    return Path(name) if name else None


def required() -> Path:
    """The same; without one there is nothing to measure on, and the program ends with a message."""
    found = folder()
    if found is None:
        sys.stderr.write("skipped: TOLLHOUSE_CORPORA names no folder of corpora; they are no part of the repository\n")
        raise SystemExit(0)
    return found


def is_held_out(identifier: str) -> bool:
    """Whether a record is for measuring only: every fifth, by the hash of its id."""
    return int(hashlib.sha1(identifier.encode(), usedforsecurity=False).hexdigest(), 16) % HELD_OUT_SHARE == 0


def read(path: Path, part: str = "all") -> Iterator[dict[str, Any]]:
    """The records of a file that belong to one of PARTS."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            record: dict[str, Any] = json.loads(line)
            if part == "all" or is_held_out(record["id"]) == (part == "held-out"):
                yield record


def text_of(record: dict[str, Any]) -> str:
    """All that a record says, of a conversation every message, as one text."""
    said = [message["content"] for message in record.get("messages", ())]
    return "\n".join(part for part in (record.get("text"), *said, record.get("response")) if part)


def scan(texts: Iterable[tuple[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """What the built-in rules find (type, rule, score; start and end in characters), by the id of the text."""
    lines = "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts)
    done = subprocess.run(SCAN, input=lines, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603 - fixed
    return {answer["id"]: answer["findings"] for answer in map(json.loads, done.stdout.splitlines())}


def covered(finding: dict[str, Any], span: dict[str, Any]) -> float:
    """The share of a labelled stretch that a finding covers; not above 0 if they do not meet."""
    common = min(finding["end"], span["end"]) - max(finding["start"], span["start"])
    return float(common / (span["end"] - span["start"]))


def say(*parts: object) -> None:
    """Print a line."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")
