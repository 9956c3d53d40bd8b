"""A tree whose pieces are counted: this one, or another commit's beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import callgrind
from bench.callgrind import said
from bench.compiler import compiled
from bench.gateways.entry import ROOT

SOURCE = "bench/hot/counting.c"
EXTENSION = "native/python/tollhouse/_native.abi3.so"
NATIVE = ("native/core", "native/binding", "Cargo.toml", "Cargo.lock")
TIMEOUT_S = 1200
# Without the debugging information of lines, which nobody reads; counting begins when it is asked for.
OPTIONS = ("--instr-atstart=no", "--dump-line=no")


def count(tree: Path, *, only: Collection[str] = ()) -> dict[str, float]:
    """Instructions of a unit of each piece; `only` those that have one of these in their name."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as folder:
        library, out = Path(scratch) / "counting.so", Path(folder)
        needs = "a C compiler and valgrind's headers (package valgrind)"
        compiled(tree / SOURCE, library, "-shared", "-fPIC", needs=needs)
        command = [sys.executable, "-m", "bench.hot.counted", str(library), str(os.cpu_count() or 1), *only]
        env = {**environment(tree), "LD_PRELOAD": str(library)}  # for its heap
        told = callgrind.run(command, out, *OPTIONS, timeout_s=TIMEOUT_S, env=env, cwd=tree)
        blocks = callgrind.asked(out)
    units = {name: int(number) for number, _, name in (line.partition(" ") for line in told.splitlines())}
    # The smallest block is what a piece takes: what happens now and then (a table grows) is in some of them.
    nothing = min(blocks.pop("nothing"))
    return {name: round((min(counts) - nothing) / units[name], 1) for name, counts in blocks.items()}


def environment(tree: Path) -> dict[str, str]:
    """In which a tree's own package is imported. The same everywhere, because the addresses of a process, and with them
    the order of what is hashed by address, depend on the size of its environment.
    """
    return {
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(tree / "native" / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A commit's tree, with its extension: this tree's where both are made of the same sources, else built for it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            _give_extension(tree, commit)
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def _give_extension(tree: Path, commit: str) -> None:
    if has_our_extension(commit):
        shutil.copy2(ROOT / EXTENSION, tree / EXTENSION)
        return
    print(f"building the extension of {commit}")
    target = ROOT / "build" / "hot"
    build = ["cargo", "build", "-q", "--release", "--locked", "-p", "tollhouse-native", "--target-dir", str(target)]
    subprocess.run(build, cwd=tree, check=True, env={**os.environ, "PYO3_PYTHON": sys.executable})
    shutil.copy2(target / "release" / "lib_native.so", tree / EXTENSION)


def has_our_extension(commit: str) -> bool:
    """Whether the sources of the extension are the same there."""
    return not subprocess.run(["git", "diff", "--quiet", commit, "--", *NATIVE], cwd=ROOT, check=False).returncode


def git(*arguments: str) -> str:
    return said("git", "-C", str(ROOT), *arguments)
