"""`pytest bench/suites/test_requests.py`: a request on its way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.hot.requests import PIECES
from bench.suites.timing import named, timed

if TYPE_CHECKING:
    from bench.hot.piece import Piece


@pytest.mark.parametrize("piece", PIECES, ids=named)
def test_requests(benchmark: Any, piece: Piece) -> None:
    timed(benchmark, piece)
