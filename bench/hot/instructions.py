"""`python -m bench.hot.instructions`: how many instructions the pieces of the hot path take, against what is committed.

instructions.json has what a unit of each took, and the toolchain. A piece that takes 4 % more is a problem; so is one
that takes 4 % less, because from there on a tenth more would go unseen: `--update` writes what is measured now. What is
beyond the first time is measured once more, and the smaller counts.

Another interpreter or compiler takes other instructions. There the pieces of another commit are measured in the same
run, and this tree is held against those: `--base COMMIT`, else the commit that wrote instructions.json.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import callgrind
from bench.callgrind import Counts
from bench.gateways.entry import ROOT
from bench.hot import tree
from bench.hot.piece import matches

COUNTS = Path(__file__).with_suffix(".json")
SLACK = 0.04
OTHER_TOOLCHAIN = 1.25  # where there is nothing to measure beside this tree


def toolchain() -> str:
    """All that makes the same sources take other instructions."""
    flags = str(sysconfig.get_config_var("CONFIG_ARGS"))
    optimised = "optimised" if "--enable-optimizations" in flags else "not optimised"
    cpu = "AVX2" if " avx2 " in Path("/proc/cpuinfo").read_text() else "no AVX2"
    return ", ".join(
        (
            f"{platform.python_implementation()} {platform.python_version()}",
            f"{platform.python_compiler()} {optimised}",
            os.confstr("CS_GNU_LIBC_VERSION") or platform.libc_ver()[0],
            callgrind.rustc(),
            callgrind.said("valgrind", "--version"),
            f"{platform.machine()} {cpu}",
        )
    )


def main() -> int:
    """Measure, then compare or write."""
    parser = argparse.ArgumentParser(description="Instructions of the hot path, against what is committed.")
    parser.add_argument("--update", action="store_true", help="write down what is measured now")
    parser.add_argument("--base", metavar="COMMIT", help="hold this tree against a commit that is measured as well")
    parser.add_argument("--only", nargs="*", default=[], metavar="TEXT", help="pieces with one of these in their name")
    parser.add_argument("--once", action="store_true", help="do not measure again what is beyond")
    options = parser.parse_args()
    found = tree.count(ROOT, only=options.only)
    used = toolchain()
    for name, number in found.items():
        print(f"{name:45} {number:14.1f}")
    if options.update:
        before = Counts.read(COUNTS).instructions if COUNTS.exists() and options.only else {}
        Counts(used, {**before, **found}).write(COUNTS)
        return 0
    limits = _limits(found, used, options.base, options.only)
    problems = limits.problems(found)
    if problems and not options.once:
        beyond = [name for name in found if any(problem.startswith(f"{name}: ") for problem in problems)]
        again = tree.count(ROOT, only=beyond) if beyond else {}
        found |= {name: min(number, found[name]) for name, number in again.items() if name in found}
        problems = limits.problems(found)
    print(*problems, sep="\n", file=sys.stderr)
    print(f"instructions: {len(found)} pieces, {len(problems)} problems")
    if problems:
        print("if that is meant: make instructions-hot INSTRUCTIONS=--update", file=sys.stderr)
    return 1 if problems else 0


@dataclass(frozen=True)
class Limits:
    """What counts are held against. most, least: such a part of that."""

    held: Mapping[str, float]
    most: float = 1 + SLACK
    least: float | None = None

    def problems(self, found: Mapping[str, float]) -> list[str]:
        return callgrind.judge(found, self.held, most=self.most, least=self.least)


def _limits(found: Mapping[str, float], used: str, base: str | None, only: Sequence[str]) -> Limits:
    committed = Counts.read(COUNTS)
    held = {name: number for name, number in committed.instructions.items() if matches(name, only)}
    if base is None and committed.toolchain == used:
        return Limits(held, least=1 - SLACK)
    if base is None:
        print(f"what is committed is from {committed.toolchain}\nthis is {used}")
        base = _writer()
    if base is None:
        print("and there is no commit to measure beside it: a quarter more is let through")
        return Limits(held, OTHER_TOOLCHAIN)
    print(f"beside it, {base} is measured")
    with tree.checked_out(base) as other:
        measured = tree.count(other, only=only)
    # A piece that is new has nothing to be held against.
    return Limits({name: measured.get(name, number) for name, number in found.items()})


def _writer() -> str | None:
    """The commit that wrote the counts, if it is known and the extension is still made of the same sources."""
    try:
        commit = tree.git("log", "-1", "--format=%H", "--", str(COUNTS))
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit if commit and tree.has_our_extension(commit) else None


if __name__ == "__main__":
    sys.exit(main())
