"""How long a proof runs: short every day; with QUOTA_LONG=1 (`make proofs`) as long as docs/correctness.md says."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("QUOTA_LONG") == "1"
SHORT_S, LONG_S = 120, 3600


def rounds(short: int, long: int, *, variable: str) -> int:
    """As many as the environment says, else as this form has."""
    return int(os.environ.get(variable) or (long if IS_LONG else short))
