"""Environments of their own for programs that are measured and not depended on: Python, Node.js and Go packages.

A folder is made once for what is wanted and anew when that changes. What cannot be installed is `Unavailable`, with
the installer's own words.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
INSTALL_S = 1200
PIP = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input")


class Unavailable(RuntimeError):
    """A program that cannot be installed or started here, and why."""


def python(folder: Path, packages: Sequence[str]) -> Path:
    """A virtual environment with these packages; returns its bin folder."""

    def make() -> None:
        venv.create(folder, with_pip=True)
        _run([str(folder / "bin" / "python"), *PIP, *packages])

    return _made(folder, packages, make) / "bin"


def target(folder: Path, packages: Sequence[str]) -> Path:
    """A folder with the files of these Python packages, to be imported by this interpreter or read from."""
    return _made(folder, packages, lambda: _run([sys.executable, *PIP, "--target", str(folder), *packages]))


def node(folder: Path, packages: Mapping[str, str]) -> Path:
    """A folder with these npm packages, in these versions wherever they are needed; returns its node_modules."""

    def make() -> None:
        folder.mkdir(parents=True)
        package = {"private": True, "dependencies": packages, "overrides": packages}
        (folder / "package.json").write_text(json.dumps(package))
        _run([_program("npm"), "install", "--silent", "--no-audit", "--no-fund"], cwd=folder)

    return _made(folder, [f"{name}@{version}" for name, version in packages.items()], make) / "node_modules"


def go(folder: Path, package: str) -> Path:
    """A folder with the program of a Go package (`path@version`)."""

    def make() -> None:
        folder.mkdir(parents=True)
        _run([_program("go"), "install", package], env={**os.environ, "GOBIN": str(folder)})

    return _made(folder, [package], make)


def _made(folder: Path, wanted: Sequence[str], make: Callable[[], object]) -> Path:
    stamp = folder / "installed"
    text = " ".join(wanted)
    if not stamp.exists() or stamp.read_text() != text:
        print(f"installing {text}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        make()
        stamp.write_text(text)
    return folder


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def _run(command: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not installed within {INSTALL_S} s") from None
    if done.returncode:
        raise Unavailable(f"cannot be installed: {last_lines(done.stderr or done.stdout)}")


def last_lines(text: str, count: int = 3) -> str:
    """The end of a log as one line for a report, without addresses and places of this machine."""
    bare = re.sub(r"https?://\S+?(?=:?(\s|$))", "(address)", text).replace(f"{ROOT}/", "")
    lines = [line.strip() for line in bare.splitlines() if line.strip()]
    return " / ".join(line[:300] for line in lines[-count:])
