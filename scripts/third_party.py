"""Write THIRD-PARTY.md: the licences of what is compiled into the extension.

Usage: python scripts/third_party.py    # when Cargo.lock has changed; needs cargo, and no network

Python's packages are not in the wheel, and bring their own along. Of licences to choose from, Apache-2.0 is taken: it
is the project's own, so its text is in LICENSE.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "THIRD-PARTY.md"
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
APACHE = "Apache-2.0"
# In a crate taken under Apache-2.0, what stands beside that and the licences that were not chosen.
BESIDE = re.compile(r"NOTICE|LICENSE-UNICODE", re.IGNORECASE)
LICENCE = re.compile(r"LICEN[CS]E|COPYING|NOTICE", re.IGNORECASE)
# What config/vocabularies and config/prices.json are made from; both are under the MIT licence.
DATA = {
    "tiktoken (OpenAI's vocabularies)": "Copyright (c) 2022 OpenAI, Shantanu Jain",
    "genai-prices": "Copyright (c) Pydantic Services Inc. 2025 to present",
}
MIT = """\
MIT License

{owner}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""
HEAD = """\
# Third-party software

What is compiled into `tollhouse._native`, with the licence that it is used under, and the data that come along.
`scripts/third_party.py` writes this file. The text of Apache-2.0 is in `LICENSE`. The standard library of Rust is used
under Apache-2.0; SQLite, which `libsqlite3-sys` holds, is in the public domain. Packages of Python are installed
beside, each with its licence in its own folder.
"""


class Crate(NamedTuple):
    name: str
    version: str
    licence: str
    folder: Path

    @property
    def taken(self) -> str:
        """The licence that it is used under."""
        choices = re.split(r" OR |/", self.licence)
        return APACHE if APACHE in choices else "MIT" if "MIT" in choices else self.licence

    def texts(self) -> list[str]:
        """What its licence asks to be repeated."""
        wanted = BESIDE if self.taken == APACHE else LICENCE
        return [_tidy(path.read_text()) for path in sorted(self.folder.rglob("*")) if wanted.match(path.name)]


def page() -> str:
    """The file as it should be."""
    crates = shipped()
    lines = [HEAD, "| Crate | Version | Licence |", "|---|---|---|"]
    lines += [f"| {crate.name} | {crate.version} | {crate.taken} |" for crate in crates]
    texts = {MIT.format(owner=owner): [name] for name, owner in DATA.items()}
    for crate in crates:
        found = crate.texts()
        if not found and crate.taken != APACHE:
            sys.exit(f"{crate.name} {crate.version} has no text of its licence, {crate.licence}")
        for text in found:
            texts.setdefault(text, []).append(crate.name)
    for text, names in texts.items():
        lines += ["", f"## {', '.join(dict.fromkeys(names))}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def shipped() -> list[Crate]:
    """The crates whose code is in the extension: not those of tests, of build scripts and of macros."""
    command = ["cargo", "tree", "--locked", "--offline", "-p", "tollhouse-native", "-e", "normal,no-proc-macro"]
    command += [word for target in TARGETS for word in ("--target", target)]
    told = _run([*command, "--prefix", "none", "--format", "{p}|{l}"])
    folders = _folders()
    crates = set()
    for line in filter(None, told.splitlines()):
        package, _, licence = line.removesuffix(" (*)").partition("|")
        name, version, *local = package.split()
        if not local:
            version = version.removeprefix("v")
            crates.add(Crate(name, version, licence, folders[name, version]))
    return sorted(crates)


def _folders() -> dict[tuple[str, str], Path]:
    """Where the sources are of each package of the lock."""
    packages = json.loads(_run(["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]))["packages"]
    return {(package["name"], package["version"]): Path(package["manifest_path"]).parent for package in packages}


def _run(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.replace("\f", "\n").strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(page())
