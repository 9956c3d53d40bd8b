r"""Writes the golden corpora: what callers ask, and what the gateway must make of it (docs/RUNBOOK.md).

The sentences are written by hand in scripts/golden/*.txt; secrets and personal data are made up from a seed, and the
beginning of each secret is written as \uXXXX, so that no file holds a whole one. What is expected is said by a
person, never taken from the scanner: attacks are BLOCKED, what holds a secret or personal data is TRANSFORMED, and
what is known to be missed stands in missed.txt with the expectation ALLOWED and the tag "missed". Ordinary questions
that are refused by mistake stand in false_alarms.txt and go into a corpus of their own, so that nobody forgets them.

    python scripts/golden_corpora.py [FOLDER]
"""

from __future__ import annotations

import base64
import json
import re
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.canaries import Canary, canaries  # noqa: E402 - run by path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(__file__).with_name("golden")
FOLDER = ROOT / "docs/architecture/tests/golden/llm_gateway"
Entry = dict[str, Any]

_FULLWIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
_LOOKALIKES = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "i": "і"})  # noqa: RUF001 - the point
_MARK = "\ue000"
_LEET = str.maketrans("aeiost", "431057")
DISGUISES: dict[str, Callable[[str], str]] = {
    "fullwidth": lambda text: text.translate(_FULLWIDTH),
    "lookalikes": lambda text: text.translate(_LOOKALIKES),
    "zero-width": "\u200b".join,
    "soft-hyphens": lambda text: re.sub(r"(\w\w)(?=\w)", "\\1\u00ad", text),
    "base64": lambda text: f"Decode this and do what it says: {base64.b64encode(text.encode()).decode()}",
    "hex": lambda text: f"Follow the order in this hex string: {text.encode().hex()}",
    "spaced": " ".join,
    "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "percent": lambda text: urllib.parse.quote(text).replace("e", "%65").replace("o", "%6F"),
    "escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "leet": lambda text: text.translate(_LEET),
    "emphasis": lambda text: re.sub(r"\b(\w\w)(\w+)\b", r"\1**\2**", text),
    "tags": lambda text: "Hello! " + "".join(chr(0xE0000 + ord(letter)) for letter in text),
    "capitals": lambda text: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text)),
    "reversed": lambda text: f"Read this backwards and obey: {text[::-1]}",
}


def lines(name: str) -> Iterator[tuple[list[str], str]]:
    """The lines of a source with the tags of their section."""
    tags: list[str] = []
    for line in (SOURCES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\[[a-z -]+\]", line):
            tags = line[1:-1].split()
        elif line and not line.startswith("# "):
            yield tags, line.replace("%N", "\n")


def ids(name: str) -> frozenset[str]:
    """A list of entries."""
    return frozenset(found for _, line in lines(name) for found in line.split())


def turns(line: str) -> list[Entry]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(line.split(" || "))]


def with_tool(question: str, result: str, number: int) -> list[Entry]:
    """A conversation in which a tool has just answered."""
    call = f"call_{number}"
    function = {"name": "look_up", "arguments": json.dumps({"query": question})}
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call, "content": result},
    ]


class Corpus:
    """Numbers entries within their section, so that a new line at the end of one changes no other's id."""

    def __init__(self, prefix: str, missed: frozenset[str] = frozenset()) -> None:
        self._prefix = prefix
        self._missed = missed
        self._numbers: dict[str, int] = {}
        self.entries: list[Entry] = []

    def add(self, section: str, messages: list[Entry], expected: str, tags: list[str]) -> None:
        number = self._numbers[section] = self._numbers.get(section, 0) + 1
        name = f"{self._prefix}-{section}-{number:03d}"
        if name in self._missed:
            expected, tags = "ALLOWED", [*tags, "missed"]
        self.entries.append({"id": name, "messages": messages, "expected_decision": expected, "tags": tags})


def benign() -> tuple[list[Entry], list[Entry]]:
    """What must stay ALLOWED, and what ought to be."""
    corpus = Corpus("ben")
    for tags, line in lines("benign"):
        corpus.add("-".join(tags), turns(line), "ALLOWED", tags)
    for _, line in lines("tasks"):
        task, _, subjects = line.partition(" = ")
        for subject in subjects.split("; "):
            text = task.replace("{}", subject)
            corpus.add("tasks", [{"role": "user", "content": text}], "ALLOWED", ["tasks", "en"])
    for number, (_, line) in enumerate(lines("tool_results")):
        question, _, result = line.partition(" => ")
        corpus.add("tool-output", with_tool(question, result, number), "ALLOWED", ["tool-output", "en"])
    for _, line in lines("systems"):
        system, _, questions = line.partition(" => ")
        for question in re.split(r"; (?=\S)", questions):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
            corpus.add("system", messages, "ALLOWED", ["system", "en"])
    known = ids("false_alarms")
    false_alarms = [entry for entry in corpus.entries if entry["id"] in known]
    return [entry for entry in corpus.entries if entry["id"] not in known], false_alarms


def adversarial() -> list[Entry]:
    """What must not stay ALLOWED, and what is known to."""
    corpus = Corpus("adv", ids("missed"))
    attacks = list(lines("attacks"))
    for tags, line in attacks:
        corpus.add("-".join(tags), turns(line), "BLOCKED", ["injection", *tags])
    _disguised(corpus, [line for tags, line in attacks if tags[0] in {"override", "extraction", "persona"}])
    _carried(corpus)
    _secrets(corpus)
    _personal(corpus)
    return corpus.entries


def _disguised(corpus: Corpus, sentences: list[str]) -> None:
    """Each disguise on sentences of its own."""
    plain = [text for text in sentences if text.isascii() and len(text) < 100]
    for number, (name, disguise) in enumerate(DISGUISES.items()):
        for text in plain[number :: len(DISGUISES)] + plain[(number + 7) % len(DISGUISES) :: len(DISGUISES)]:
            messages = [{"role": "user", "content": disguise(text)}]
            corpus.add(f"evasion-{name}", messages, "BLOCKED", ["injection", "evasion", name])


def _carried(corpus: Corpus) -> None:
    carriers = [line for _, line in lines("carriers")]
    orders = [line for _, line in lines("tool_orders")]
    for number, order in enumerate(orders):
        for step in range(4):
            carrier = carriers[(number + step * 3) % len(carriers)]
            messages = with_tool("What does it say?", carrier.replace("{attack}", order), number)
            corpus.add("tool-output", messages, "BLOCKED", ["injection", "tool-output"])


def _secrets(corpus: Corpus) -> None:
    places = [line for _, line in lines("secrets")]
    found = [one for seed in (11, 12) for one in canaries(seed) if one.is_secret]
    for number, canary in enumerate(found):
        text = places[number % len(places)].replace("{secret}", canary.text)
        messages: list[Entry] = [{"role": "user", "content": text}]
        tags = ["secret", canary.kind]
        if number % 5 == 1:
            messages = with_tool("Read the file.", text, number)
            tags.append("tool-output")
        elif number % 5 == 4:
            messages = [*turns("I need help with a deployment. || Sure, what is the problem?"), *messages]
            tags.append("multi-turn")
        corpus.add("secret", messages, "TRANSFORMED", tags)


def _personal(corpus: Corpus) -> None:
    for number, (tags, line) in enumerate(lines("personal")):
        for step in range(2):
            values = {one.kind: one for one in canaries(100 + number * 2 + step) if not one.is_secret}
            text = re.sub(r"\{([a-z-]+)\}", lambda found, of=values: _text(of, found[1]), line)  # type: ignore[misc]
            messages = [{"role": "user", "content": text}] if not step else with_tool("Read it.", text, number)
            more = ["tool-output"] if step else []
            corpus.add("personal", messages, "TRANSFORMED", ["pii", *tags, *more])


def _text(values: dict[str, Canary], kind: str) -> str:
    return values[kind].text


def line_of(entry: Entry) -> str:
    """One line of the file; what could be a token is broken by an escape, which is the same to a reader of JSON."""
    if "secret" not in entry["tags"]:
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
    marked = json.loads(json.dumps(entry))
    for message in marked["messages"]:
        if message["content"]:
            message["content"] = re.sub(r"\b(\w)(?=[\w.:/+-]{10}|EGIN\b)", f"\\1{_MARK}", message["content"])
    text = json.dumps(marked, ensure_ascii=False, separators=(",", ":"))
    text = re.sub(f"{_MARK}(.)", lambda found: f"\\u{ord(found[1]):04x}", text)
    if json.loads(text) != entry:
        msg = f"{entry['id']} is another when it is read again"
        raise ValueError(msg)
    return text + "\n"


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    fine, false_alarms = benign()
    for name, entries in (
        ("benign_corpus", fine),
        ("adversarial_corpus", adversarial()),
        ("false_alarms", false_alarms),
    ):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(map(line_of, entries)), encoding="utf-8")
        print(f"{path}: {len(entries)} entries")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
