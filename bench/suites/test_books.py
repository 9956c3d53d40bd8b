"""`pytest bench/suites/test_books.py`: rows of the ledger and receipts, off the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.hot.books import PIECES
from bench.suites.timing import named, timed

if TYPE_CHECKING:
    from bench.hot.piece import Piece


@pytest.mark.parametrize("piece", PIECES, ids=named)
def test_books(benchmark: Any, piece: Piece) -> None:
    timed(benchmark, piece)
