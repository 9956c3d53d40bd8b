"""A tree whose pieces are counted: this one, or another commit's beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import callgrind
from bench.callgrind import said
from bench.gateways.entry import ROOT
from bench.hot.catalogue import GROUPS

SOURCE = "bench/hot/client_requests.c"
EXTENSION = "native/python/tollhouse/_native.abi3.so"
NATIVE = ("native/core", "native/binding", "Cargo.toml", "Cargo.lock")
TIMEOUT_S = 600
# Without the debugging information of lines, which nobody reads; counting begins when it is asked for.
OPTIONS = ("--instr-atstart=no", "--dump-line=no")


def count(tree: Path, *, only: str = "") -> dict[str, float]:
    """Instructions of a unit of each piece; `only` those whose name has this in it.

    The groups run at the same time, as many as there are processors. Each in an environment of its own, because the
    addresses of a process, and with them the order of what is hashed by address, depend on the size of its environment.
    """
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        library = Path(scratch) / "client_requests.so"
        _compile(tree / SOURCE, library)
        groups = [group for group, pieces in GROUPS.items() if any(only in one.name for one in pieces)]
        counted = pool.map(lambda group: _count(tree, library, group, only), groups)
        return {name: count for group in counted for name, count in group.items()}


def environment(tree: Path) -> dict[str, str]:
    """In which a tree's own package is imported."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(tree / "native" / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


def _compile(source: Path, library: Path) -> None:
    done = subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"counting needs a C compiler and valgrind's headers (package valgrind):\n{done.stderr}")


def _count(tree: Path, library: Path, group: str, only: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.hot.counted", str(library), group, *([only] if only else [])]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        told = callgrind.run(command, out, *OPTIONS, timeout_s=TIMEOUT_S, env=environment(tree), cwd=tree)
        blocks = callgrind.asked(out)
    units = {name: int(number) for number, _, name in (line.partition(" ") for line in told.splitlines())}
    # The smallest block is what a piece takes: what a process does now and then (a tick, say) is in some of them.
    nothing = min(blocks.pop("nothing"))
    return {name: round((min(counts) - nothing) / units[name], 1) for name, counts in blocks.items()}


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
