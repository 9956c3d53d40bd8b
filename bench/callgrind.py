"""Instructions counted by valgrind's callgrind, and how they are held against those that are committed.

On one toolchain they repeat within a fraction of a per cent where times do not, so they are the part of the benchmarks
that can fail a build. Callgrind shows programs a processor of its own, without AVX-512.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TOTAL = re.compile(r"^(?:totals|summary): (\d+)$", re.MULTILINE)
_ASKED = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)


def run(
    command: Sequence[str],
    out: Path,
    *options: str,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Standard output of a program under callgrind, whose counts go into the folder `out`, a file for each thread.

    Raises SystemExit with what it said if it fails.
    """
    callgrind = [
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        f"--callgrind-out-file={out}/out.%p",
        *options,
    ]
    done = subprocess.run(
        [*callgrind, *command], capture_output=True, text=True, check=False, timeout=timeout_s, env=env, cwd=cwd
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def threads(out: Path) -> list[int]:
    """Instructions of each thread of a program that has ended."""
    return [_total(path.read_text(), path) for path in sorted(out.glob("out.*-*"))]


def asked(out: Path) -> dict[str, list[int]]:
    """Instructions of the first thread in each part that the program itself had counted, by the names that it gave."""
    found: dict[str, list[int]] = {}
    for path in sorted(out.glob("out.*.*-01")):
        text = path.read_text()
        name = _ASKED.search(text)
        if name is not None:
            found.setdefault(name[1], []).append(_total(text, path))
    return found


def _total(text: str, path: Path) -> int:
    found = _TOTAL.search(text)
    if found is None:
        raise SystemExit(f"callgrind wrote no total into {path.name}")
    return int(found[1])


def said(*command: str) -> str:
    """What a program says of its version."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def rustc() -> str:
    """Name and version of the compiler."""
    return " ".join(said("rustc", "--version").split()[:2])


@dataclass(frozen=True)
class Counts:
    """Instructions by name, and what was measured with."""

    toolchain: str
    instructions: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Counts:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"toolchain": self.toolchain, "instructions": self.instructions}, indent=2) + "\n")


def judge(
    found: Mapping[str, float], held: Mapping[str, float], *, most: float = 1.0, least: float | None = None
) -> list[str]:
    """Say what is wrong, a line each. most, least: of what is held against it, such a part."""
    problems = []
    for name, count in found.items():
        against = held.get(name)
        if against is None:
            problems.append(f"{name}: has no ceiling; --update gives it one")
        elif count > against * most:
            problems.append(f"{name}: {count:.2f} instructions, at most {against * most:.2f}")
        elif least is not None and count < against * least:
            problems.append(
                f"{name}: {count:.2f} instructions, less than {against * least:.2f}: --update holds it there"
            )
    return problems + [f"{name}: is not measured any more" for name in held.keys() - found.keys()]
