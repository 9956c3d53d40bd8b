"""`python -m bench.detection.instructions`: how many instructions detection takes, against ceilings.

The ceilings lie in instructions.json: a tenth above what was measured. With another compiler than the one they were
measured with, a quarter more is let through. `--update` measures the ceilings anew.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from bench import callgrind
from bench.callgrind import Counts

CEILINGS = pathlib.Path(__file__).with_suffix(".json")
ROOT = pathlib.Path(__file__).parents[2]
EXAMPLE = "scan_instructions"
MARGIN = 1.10
OTHER_TOOLCHAIN = 1.25
DOUBLING = 2.2
SKIPPED = "no AVX2"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Case:
    """Instructions per unit (a byte; for loading, the whole), and how many times as many twice the input takes."""

    name: str
    per_unit: float
    doubling: float | None = None


def measure() -> list[Case] | None:
    """Run all cases under callgrind. None: this processor has not what the ceilings are for."""
    build = ["cargo", "build", "-q", "--release", "--locked", "-p", "tollhouse-core", "--example", EXAMPLE]
    subprocess.run(build, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--no-deps", "--format-version=1"]
    folder = json.loads(subprocess.run(metadata, cwd=ROOT, capture_output=True, check=True).stdout)["target_directory"]
    binary = str(pathlib.Path(folder, "release", "examples", EXAMPLE))
    with tempfile.TemporaryDirectory() as out:
        said = callgrind.run([binary], pathlib.Path(out), timeout_s=TIMEOUT_S)
        if "failed" in said:
            raise SystemExit(f"{EXAMPLE} failed:\n{said}")
        if SKIPPED in said:
            return None
        # The first thread is the one that starts the others.
        counts = callgrind.threads(pathlib.Path(out))[1:]
    names = [line.partition("\t") for line in said.splitlines()]
    if len(names) != len(counts):
        raise SystemExit(f"{len(names)} cases, but {len(counts)} threads")
    return pair([(name, int(units), count) for (units, _, name), count in zip(names, counts, strict=True)])


def pair(rows: list[tuple[str, int, int]]) -> list[Case]:
    """Make one case of an input and the same at twice its size, which follow each other under one name."""
    cases: list[Case] = []
    last: tuple[str, int] | None = None
    for name, units, count in rows:
        if last and last[0] == name:
            cases[-1] = Case(name, round(count / units, 2), round(count / last[1], 3))
        else:
            cases.append(Case(name, round(count / units, 2)))
        last = name, count
    return cases


def judge(cases: list[Case], ceilings: Mapping[str, float], *, allowance: float = 1.0) -> list[str]:
    """Say what is wrong, in a line for each case."""
    problems = callgrind.judge({case.name: case.per_unit for case in cases}, ceilings, most=allowance)
    for case in cases:
        if case.doubling is not None and case.doubling > DOUBLING:
            problems.append(f"{case.name}: twice the input takes {case.doubling:.2f} times the instructions")
    return problems


def main() -> int:
    """Measure, then compare or write."""
    parser = argparse.ArgumentParser(description="Instructions that detection takes, against ceilings.")
    parser.add_argument("--update", action="store_true", help="write ceilings from what is measured now")
    options = parser.parse_args()
    cases = measure()
    if cases is None:
        print("instructions: skipped, the ceilings are for processors with AVX2")
        return 0
    compiler = callgrind.rustc()
    for case in cases:
        doubled = "" if case.doubling is None else f"   x2: {case.doubling:.2f}"
        print(f"{case.name:30} {case.per_unit:14.2f}{doubled}")
    if options.update:
        ceilings = {case.name: round(case.per_unit * MARGIN, 2) for case in cases}
        Counts(compiler, ceilings).write(CEILINGS)
        return 0
    committed = Counts.read(CEILINGS)
    same = committed.toolchain == compiler
    if not same:
        print(f"the ceilings are from {committed.toolchain}, this is {compiler}: a quarter more is let through")
    problems = judge(cases, committed.instructions, allowance=1.0 if same else OTHER_TOOLCHAIN)
    print(*problems, sep="\n", file=sys.stderr)
    print(f"instructions: {len(cases)} cases, {len(problems)} problems")
    if problems:
        print("if the cost is meant: make instructions INSTRUCTIONS=--update", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
