"""The texts of the benchmarks: the same made-up chat as native/core/benches/texts, and the corpora where they are."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from scripts.corpora import folder as corpora
from scripts.corpora import read, text_of

SENTENCES = pathlib.Path(__file__).with_name("sentences.txt")


class Draw:
    """The generator of native/core/benches/texts."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, bound: int) -> int:
        """Return a number below `bound`."""
        self.state = (self.state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (self.state >> 33) % bound


def synthetic(size: int) -> str:
    """About `size` bytes of made-up chat that holds nothing to find."""
    lines = [line for line in SENTENCES.read_text().splitlines() if not line.startswith("# ")]
    split = lines.index("rare")
    common, rare = lines[:split], lines[split + 1 :]
    draw = Draw(1)
    parts: list[str] = []
    length = 0
    while length < size:
        kind = rare if draw.below(64) == 0 else common
        line = kind[draw.below(len(kind))]
        text = "".join(str(draw.below(10)) if character == "#" else character for character in line)
        parts.append(text + ("\n" if len(parts) % 6 == 5 else " "))
        length += len(parts[-1].encode())
    return "".join(parts)


def records(folder: pathlib.Path, part: str = "all") -> Iterator[dict[str, Any]]:
    """Yield the records of all files of one corpus, or of a part of them; what a conversation says is one text."""
    for path in sorted(folder.glob("*.jsonl")):
        for record in read(path, part):
            yield {**record, "text": text_of(record), "file": path.stem}


def benign(size: int) -> str:
    """About `size` bytes of benign chat: of the corpora where there are any, else made up."""
    folder = corpora()
    if folder is None:
        return synthetic(size)
    # Shuffled, so that any stretch has something of everything.
    found = [record for name in ("benign", "chat") for record in records(folder / name)]
    draw = Draw(2)
    for i in range(len(found) - 1, 0, -1):
        j = draw.below(i + 1)
        found[i], found[j] = found[j], found[i]
    parts: list[str] = []
    length = 0
    for record in found:
        parts.append(record["text"])
        length += len(record["text"].encode()) + 1
        if length >= size:
            break
    return "\n".join(parts)


def cut(text: str, size: int) -> list[str]:
    """A text in pieces of `size` characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]
