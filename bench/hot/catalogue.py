"""All pieces of the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hot import answers, books, requests, stages, whole

if TYPE_CHECKING:
    from bench.hot.piece import Piece

# The longest first: they are counted side by side.
PIECES: list[Piece] = [
    *whole.PIECES,
    *requests.PIECES,
    *stages.PIECES,
    *answers.PIECES,
    *books.PIECES,
]
