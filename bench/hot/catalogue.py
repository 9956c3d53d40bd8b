"""All pieces of the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hot import answers, books, requests, stages, whole

if TYPE_CHECKING:
    from bench.hot.piece import Piece

# By what is counted in a process of its own.
GROUPS: dict[str, list[Piece]] = {
    "pieces": [*requests.PIECES, *stages.PIECES, *answers.PIECES, *books.PIECES],
    "whole": whole.PIECES,
}
