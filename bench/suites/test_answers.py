"""`pytest bench/suites/test_answers.py`: an answer on its way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.hot.answers import PIECES
from bench.suites.timing import named, timed

if TYPE_CHECKING:
    from bench.hot.piece import Piece


@pytest.mark.parametrize("piece", PIECES, ids=named)
def test_answers(benchmark: Any, piece: Piece) -> None:
    timed(benchmark, piece)
