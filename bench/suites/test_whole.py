"""`pytest bench/suites/test_whole.py`: whole requests, through the app and over sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.hot.whole import PIECES
from bench.suites.timing import named, timed

if TYPE_CHECKING:
    from bench.hot.piece import Piece


@pytest.mark.parametrize("piece", PIECES, ids=named)
def test_whole(benchmark: Any, piece: Piece) -> None:
    timed(benchmark, piece)
