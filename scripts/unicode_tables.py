"""Write native/core/src/scan/normalise/tables/data.rs: what the normaliser does to each character beyond ASCII.

    python3 scripts/unicode_tables.py            # write the file
    python3 scripts/unicode_tables.py --check    # fail if the file is not what this Python would write

The properties come from `unicodedata`; the look-alikes are listed here. The output depends on nothing but this file
and the version of the Unicode database, which is named in the header of the table.
"""

# ruff: noqa: RUF001  (ambiguous characters are its subject)

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

TABLE = Path(__file__).parent.parent / "native/core/src/scan/normalise/tables/data.rs"

BLOCK = 64
LIMIT = 0x20000  # planes above hold ideographs, tags and private use; the normaliser knows the tags by their range

# The codes of the table. Printable ASCII and line feed stand for themselves; from STRINGS on follow short texts.
KEEP, REMOVE, MARK = 0, 1, 2
AMBIGUOUS_L, AMBIGUOUS_CAPITAL_O, AMBIGUOUS_SMALL_O, AMBIGUOUS_CAPITAL_I = 0x10, 0x11, 0x12, 0x13
ONLY_DIGIT = {"3": 0x14, "4": 0x15, "6": 0x16}
STRINGS = 0x80

# Default_Ignorable_Code_Point and the other invisible format characters below LIMIT.
IGNORABLE = [
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
]  # fmt: skip
# Strokes and shapes laid over a character. They are no part of any orthography, so they go after every letter.
OVERLAYS = [(0x0334, 0x0338), (0x20D2, 0x20D3), (0x20D8, 0x20DA), (0x20DD, 0x20E0), (0x20E2, 0x20E6), (0x20EA, 0x20EB)]

# A shape with two readings. The normaliser chooses by the neighbours.
AMBIGUOUS = {
    AMBIGUOUS_L: "ⅼӀӏƖ",
    AMBIGUOUS_CAPITAL_O: "ОΟՕⲞꓳ𐓂",
    AMBIGUOUS_SMALL_O: "оοօⲟ",
    AMBIGUOUS_CAPITAL_I: "ІΙⅠⲒꓲ",
    ONLY_DIGIT["3"]: "Ззʒ",
    ONLY_DIGIT["4"]: "Ч",
    ONLY_DIGIT["6"]: "б",
}

# ASCII -> the characters that pass for it.
LOOK_ALIKES = {
    # Cyrillic, capital and small
    "A": "А", "B": "В", "C": "С", "E": "Е", "G": "Ԍ", "H": "НҢ", "J": "Ј", "K": "Кҡ", "M": "М", "P": "Р", "Q": "Ԛ",
    "S": "Ѕ", "T": "Т", "V": "Ѵ", "W": "Ԝ", "X": "ХҲ", "Y": "УҮ",
    "a": "а", "b": "вь", "c": "сҫ", "d": "ԁԀ", "e": "еҽ", "g": "ԍ", "h": "һн", "i": "і", "j": "ј", "k": "кқ", "m": "м",
    "n": "п", "p": "р", "q": "ԛ", "r": "г", "s": "ѕ", "t": "т", "u": "ц", "v": "ѵ", "w": "ԝшѡ", "x": "хҳ", "y": "уү",
}  # fmt: skip
MORE_LOOK_ALIKES = [
    # Greek and Coptic
    ("ABEZHKMNPTYXCJF", "ΑΒΕΖΗΚΜΝΡΤΥΧϹͿϜ"),
    ("aeniktupxvywcjp", "αεηικτυρχνγωϲϳϱ"),
    ("ABCEHKMNPTXYZ", "ⲀⲂⲤⲈⲎⲔⲘⲚⲢⲦⲬⲨⲌ"),
    ("acpx", "ⲁⲥⲣⲭ"),
    # Armenian
    ("LSU", "ԼՏՍ"),
    ("ghjnqu", "ցհյոզս"),
    # Cherokee
    ("DRTAJEWMHYGZSVLCPKB", "ᎠᎡᎢᎪᎫᎬᎳᎷᎻᎽᏀᏃᏚᏙᏞᏟᏢᏦᏴ"),
    ("RWSGihd4", "ᏒᏔᏕᏳᎥᏂᏧᏎ"),
    # Lisu, whose capitals are Latin shapes throughout
    ("BPDTGKJCZFMNLSRVHWXYAEU", "ꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓴ"),
    # Latin: letters of phonetic alphabets and small capitals
    ("abcdefghijklmnopqrstuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ"),
    ("agijieuvwhnr", "ɑɡıȷɩɛʋⱱɯɦɲɾ"),
]

PUNCTUATION = {
    "'": "‘’‚‛′‵ʹʻʼʽˈ´՚׳ꞌ",
    '"': "“”„‟″‶«»״〃ˮ",
    "-": "−⁃˗⁻₋─",
    ".": "。｡․·∙⋅·۔٫꘎",
    ",": "、､،٬",
    ":": "։ː∶꞉˸׃",
    "/": "⁄∕⧸⟋╱",
    "\\": "∖⧵⧹╲",
    "_": "‗ˍ",
    "*": "∗٭⁎•✱",
    "|": "∣❘ǀ│",
    "<": "‹❮",
    ">": "›❯",
    "!": "ǃ",
    "~": "∼〜",
    " ": "⠀",
    "\n": "\u2028\u2029\u0085",
}

# Compatibility forms that mean something else than their letters.
NOT_COMPATIBLE = "™℠"


def look_alikes() -> dict[str, int]:
    codes: dict[str, int] = {}
    for table in (LOOK_ALIKES, PUNCTUATION):
        for ascii_, characters in table.items():
            codes.update((character, ord(ascii_)) for character in characters)
    for letters, characters in MORE_LOOK_ALIKES:
        codes.update((c, ord(letter)) for letter, c in zip(letters, characters, strict=True))
    for code, characters in AMBIGUOUS.items():
        codes.update((character, code) for character in characters)
    # The small letters of Cherokee are its capitals at the size of small ones.
    for character, code in list(codes.items()):
        if 0x13A0 <= ord(character) <= 0x13EF:
            codes[chr(ord(character) - 0x13A0 + 0xAB70)] = ord(chr(code).lower())
    # Letters in black circles and squares, and regional indicators, have no compatibility form.
    for first in (0x1F150, 0x1F170, 0x1F1E6):
        codes.update((chr(first + i), ord("A") + i) for i in range(26))
    return codes


def compatible(character: str) -> str:
    """The compatibility form, without the brackets, stops and commas of enclosed alphanumerics."""
    form = unicodedata.normalize("NFKC", character)
    bare = form.strip("(),.")
    return bare if bare.isalnum() and len(form) > len(bare) else form


def within(codepoint: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= codepoint <= last for first, last in ranges)


class Coder:
    def __init__(self) -> None:
        self.look_alikes = look_alikes()
        self.strings: list[str] = []

    def code(self, codepoint: int) -> int:
        character = chr(codepoint)
        if within(codepoint, IGNORABLE) or within(codepoint, OVERLAYS):
            return REMOVE
        if character in self.look_alikes:
            return self.look_alikes[character]
        category = unicodedata.category(character)
        if category in {"Mn", "Me"}:
            return MARK
        if category == "Zs":
            return ord(" ")
        if category == "Pd" and character not in "〜〰゠":
            return ord("-")
        digit = unicodedata.digit(character, None)
        if digit is not None:
            return ord("0") + digit
        return self.compatible(character)

    def compatible(self, character: str) -> int:
        form = compatible(character)
        if form == character or character in NOT_COMPATIBLE:
            return KEEP
        if len(form) == 1:
            return ord(form) if form.isascii() else self.look_alikes.get(form, KEEP)
        if not form.isascii() or not form.isprintable() or len(form) > 4:
            return KEEP
        if form.isdigit() and int(form) > 20:
            return KEEP
        if not form.isdigit() and unicodedata.category(character) in {"So", "Sk"}:
            return KEEP  # units of measure
        if form not in self.strings:
            self.strings.append(form)
        return STRINGS + self.strings.index(form)


def table() -> str:
    coder = Coder()
    codes = [0] * 0x80 + [coder.code(codepoint) for codepoint in range(0x80, LIMIT)]
    if STRINGS + len(coder.strings) > 0x100:
        raise SystemExit(f"{len(coder.strings)} strings do not fit into the table")
    blocks: list[tuple[int, ...]] = []
    index = []
    for start in range(0, LIMIT, BLOCK):
        block = tuple(codes[start : start + BLOCK])
        if block not in blocks:
            blocks.append(block)
        index.append(blocks.index(block))
    if len(blocks) > 0x100:
        raise SystemExit(f"{len(blocks)} blocks do not fit into the index")
    version = unicodedata.unidata_version
    strings = ", ".join(f'"{text}"' for text in coder.strings)
    return "\n".join(
        [
            "//! What becomes of each character, in two levels: the block of a code point, then its code in the block.",
            "//!",
            f"//! Written by `scripts/unicode_tables.py` from Unicode {version}; not edited by hand.",
            "",
            "/// Code points of one block.",
            f"pub(in crate::scan::normalise) const BLOCK: usize = {BLOCK};",
            "/// The code of the first of `STRINGS`.",
            f"pub(in crate::scan::normalise) const FIRST_STRING: u8 = 0x{STRINGS:X};",
            "",
            "/// Compatibility forms of more than one character.",
            "#[rustfmt::skip]",
            f"pub(in crate::scan::normalise) static STRINGS: [&str; {len(coder.strings)}] = [",
            f"    {strings},",
            "];",
            "",
            "/// The block of each stretch of `BLOCK` code points.",
            "#[rustfmt::skip]",
            f"pub(in crate::scan::normalise) static BLOCKS: [u8; {len(index)}] = [",
            *rows(index),
            "];",
            "",
            "/// The codes, block after block.",
            "#[rustfmt::skip]",
            f"pub(in crate::scan::normalise) static CODES: [u8; {len(blocks) * BLOCK}] = [",
            *rows([code for block in blocks for code in block]),
            "];",
            "",
        ]
    )


def rows(values: list[int]) -> list[str]:
    width = 32
    return ["    " + ",".join(map(str, values[i : i + width])) + "," for i in range(0, len(values), width)]


def main(arguments: list[str]) -> int:
    text = table()
    if "--check" not in arguments:
        TABLE.write_text(text, encoding="utf-8")
        return 0
    if TABLE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{TABLE} is not what this script writes with Unicode {unicodedata.unidata_version}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
