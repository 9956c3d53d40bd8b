"""Harmless documents of programs, from packages that the injection weights are trained with and that are not shipped.

TOLLHOUSE_DOCUMENTS names a folder that holds the source archives of scripts/injection/documents.txt, unpacked, by
registry, name and version (`npm/express-4.21.1`). Of their manuals, references, licences and notes of releases, be they
reStructuredText, Markdown, HTML or plain text, pieces of four lengths are read.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = Path(__file__).with_name("injection") / "documents.txt"
SUFFIXES = {".md", ".rst", ".txt", ".html"}
NAMES = {"README", "CHANGELOG", "LICENSE", "COPYING", "copyright"}
LONGEST = 100_000
"""Characters of a file that are read."""
LENGTHS = (250, 500, 1000, 3000)
"""Characters of the pieces: one of each from every file that is as long."""


def documents() -> Iterator[tuple[str, str]]:
    """Pieces of files, by the path of the file."""
    name = os.environ.get("TOLLHOUSE_DOCUMENTS")
    if name is None:
        sys.exit(f"TOLLHOUSE_DOCUMENTS names no folder with the packages of {PACKAGES}")
    folder = Path(name)
    packages = [line for line in PACKAGES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    missing = [package for package in packages if not (folder / package).is_dir()]
    if missing:
        sys.exit(f"{folder} lacks {', '.join(missing)}")
    for package in packages:
        for path in sorted(files(folder / package)):
            key = str(path.relative_to(folder))
            for text in _pieces(key, path):
                yield key, text


def files(folder: Path) -> Iterator[Path]:
    """The documents in a folder, however deep."""
    for path in folder.rglob("*"):
        if (path.suffix in SUFFIXES or path.stem in NAMES) and path.is_file():
            yield path


def _pieces(key: str, path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")[:LONGEST]
    except UnicodeDecodeError:
        return
    drawn = random.Random(key)  # noqa: S311 - no secret, the same whatever else is read
    for length in LENGTHS:
        if len(text) >= length:
            start = drawn.randrange(len(text) - length + 1)
            yield text[start : start + length]
