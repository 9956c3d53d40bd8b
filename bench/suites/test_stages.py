"""`pytest bench/suites/test_stages.py`: the stages of the chain, each alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.hot.stages import PIECES
from bench.suites.timing import named, timed

if TYPE_CHECKING:
    from bench.hot.piece import Piece


@pytest.mark.parametrize("piece", PIECES, ids=named)
def test_stages(benchmark: Any, piece: Piece) -> None:
    timed(benchmark, piece)
