"""Runs the calling script with the project's interpreter, whichever `python` it was started with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def in_venv() -> None:
    """Returns in an interpreter that has everything; ends the process if there is none."""
    python = ROOT / ".venv/bin/python"
    if not (python.exists() and (ROOT / ".venv/.native").exists()):
        sys.exit("error: .venv is not complete: run `make test-quick` once (it sets up what is missing)")
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - ourselves
    sys.path.insert(0, str(ROOT))
