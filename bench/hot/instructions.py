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
from pathlib import Path

from bench import callgrind
from bench.callgrind import Counts
from bench.gateways.entry import ROOT
from bench.hot import tree

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
    parser.add_argument("--only", default="", metavar="TEXT", help="pieces whose name has this in it")
    options = parser.parse_args()
    found = tree.count(ROOT, only=options.only)
    used = toolchain()
    for name, number in found.items():
        print(f"{name:45} {number:14.1f}")
    if options.update:
        before = Counts.read(COUNTS).instructions if COUNTS.exists() and options.only else {}
        Counts(used, {**before, **found}).write(COUNTS)
        return 0
    problems = _problems(found, used, options.base, options.only)
    print(*problems, sep="\n", file=sys.stderr)
    print(f"instructions: {len(found)} pieces, {len(problems)} problems")
    if problems:
        print("if that is meant: make instructions-hot INSTRUCTIONS=--update", file=sys.stderr)
    return 1 if problems else 0


def _problems(found: dict[str, float], used: str, base: str | None, only: str) -> list[str]:
    committed = Counts.read(COUNTS)
    held = {name: number for name, number in committed.instructions.items() if only in name}
    if base is None and committed.toolchain == used:
        return _twice(found, held, only, least=1 - SLACK)
    if base is None:
        print(f"what is committed is from {committed.toolchain}\nthis is {used}")
        base = _writer()
    if base is None:
        print("and there is no commit to measure beside it: a quarter more is let through")
        return callgrind.judge(found, held, most=OTHER_TOOLCHAIN)
    print(f"beside it, {base} is measured")
    with tree.checked_out(base) as other:
        held = tree.count(other, only=only)
    common = {name: number for name, number in held.items() if name in found}
    return _twice({name: found[name] for name in common}, common, only, least=None)


def _twice(found: dict[str, float], held: dict[str, float], only: str, *, least: float | None) -> list[str]:
    problems = callgrind.judge(found, held, most=1 + SLACK, least=least)
    if not problems or found.keys() != held.keys():
        return problems
    again = tree.count(ROOT, only=only)
    return callgrind.judge(
        {name: min(number, again[name]) for name, number in found.items()}, held, most=1 + SLACK, least=least
    )


def _writer() -> str | None:
    """The commit that wrote the counts, if it is known and the extension is still made of the same sources."""
    try:
        commit = tree.git("log", "-1", "--format=%H", "--", str(COUNTS))
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit if commit and tree.has_our_extension(commit) else None


if __name__ == "__main__":
    sys.exit(main())
