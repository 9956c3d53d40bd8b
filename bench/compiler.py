"""What of the bench is written in C."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def compiled(source: Path, target: Path, *options: str, needs: str = "a C compiler") -> None:
    """Make `target`. Raises SystemExit where that cannot be done, with what it needs and what the compiler said."""
    command = [os.environ.get("CC", "cc"), "-O2", *options, "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{source.name} needs {needs}:\n{done.stderr}")
