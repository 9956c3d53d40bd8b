"""How often what is no secret, nobody's data and no attack is taken for one.

python scripts/evaluate_harmless.py ids [NUMBER]      # so many random ids of each kind, in each context
python scripts/evaluate_harmless.py documents FOLDER ...   # of programs: manuals, licences, notes of releases
"""

from __future__ import annotations

import random
import string
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tollhouse import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 11
HEX, DIGITS, LETTERS = "0123456789abcdef", string.digits, string.ascii_letters + string.digits
CONTEXTS = (
    '{{"order_id": {}, "n": 1}}',
    '{{"id": "{}"}}',
    "The job {} has finished.",
    "commit {} fixed it",
    "GET /v1/items/{}?x=1",
    "2026-01-02 10:11:12 INFO done item={} took 12 ms",
)
DOCUMENTS = {".md", ".rst", ".txt", ".html"}
NAMES = {"README", "CHANGELOG", "copyright"}
PIECE, LONGEST, FILES = 3000, 100_000, 4000
"""Characters of a piece and of a file that are looked at, and how many files, drawn from all."""


def of(alphabet: str, length: int) -> Callable[[], str]:
    return lambda: "".join(random.choice(alphabet) for _ in range(length))  # noqa: S311 - no secret


def between(first: int, last: int) -> Callable[[], str]:
    return lambda: str(random.randint(first, last))  # noqa: S311


def _timestamp() -> str:
    at = datetime.fromtimestamp(random.randint(1_500_000_000, 1_800_000_000), UTC)  # noqa: S311
    return at.strftime("%Y%m%d%H%M%S")


def _uuid() -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


KINDS: dict[str, Callable[[], str]] = {
    "hash, 7 digits": of(HEX, 7),
    "hash, 9 digits": of(HEX, 9),
    "hash, 12 digits": of(HEX, 12),
    "hexadecimal, 16": of(HEX, 16),
    "hexadecimal, 24": of(HEX, 24),
    "hexadecimal, 32": of(HEX, 32),
    "hexadecimal, 40": of(HEX, 40),
    "UUID": _uuid,
    "letters and digits, 22": of(LETTERS, 22),
    "seconds": between(1_500_000_000, 1_800_000_000),
    "milliseconds": between(1_500_000_000_000, 1_800_000_000_000),
    "microseconds": between(1_500_000_000_000_000, 1_800_000_000_000_000),
    "date and time": _timestamp,
    "digits, 8": of(DIGITS, 8),
    "digits, 12": of(DIGITS, 12),
    "digits, 16": of(DIGITS, 16),
    "digits, 18": of(DIGITS, 18),
}


def ids(number: int) -> None:
    scanner = Scanner()
    for kind, made in KINDS.items():
        for context in CONTEXTS:
            found = Counter(
                finding.type for _ in range(number) for finding in scanner.scan(context.format(made())).findings
            )
            if found:
                shares = ", ".join(f"{name} {count / number:.3%}" for name, count in found.most_common())
                print(f"{kind:24}{context:52}{shares}")  # noqa: T201
    print(f"{number} of each of {len(KINDS)} kinds in {len(CONTEXTS)} contexts; of what is not listed none was found")  # noqa: T201


def documents(folders: list[str]) -> None:
    files = sorted(
        path
        for folder in folders
        for path in Path(folder).rglob("*")
        if (path.suffix in DOCUMENTS or path.name in NAMES) and path.is_file()
    )
    scanner, pieces, refused, pages = Scanner(), 0, 0, 0
    for path in random.sample(files, min(FILES, len(files))):
        try:
            text = path.read_text(encoding="utf-8")[:LONGEST]
        except UnicodeDecodeError:
            continue
        for start in range(0, len(text), PIECE):
            pieces += 1
            found = scanner.scan(text[start : start + PIECE]).findings
            if any(finding.type == "INJECTION" for finding in found):
                refused += 1
                pages += path.suffix == ".html"
    share = refused / max(1, pieces)
    print(f"{pieces} pieces, of {len(files)} files: {refused} taken for attacks ({share:.2%}), {pages} of them HTML")  # noqa: T201


def main(arguments: list[str]) -> None:
    random.seed(SEED)
    match arguments:
        case ["ids", *number]:
            ids(int(number[0]) if number else 2000)
        case ["documents", *folders] if folders:
            documents(folders)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
