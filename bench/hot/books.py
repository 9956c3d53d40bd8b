"""What is written down off the loop: rows of the ledger and receipts, a batch at a time."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bench.hot import exchanges
from bench.hot.piece import Piece
from tollhouse.middlewares.receipt import receipt
from tollhouse.middlewares.stores.chain import Chain
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

if TYPE_CHECKING:
    from bench.hot.piece import Block, Prepare

BATCH = 64
NOW_MS = 1_795_000_000_000
TOKENS = (100, 0, 0, 64, 0, 0, 0)


def charge(number: int) -> Charge:
    """Of one key and one model, as most that follow one another are."""
    who = ("production", "team", None, "gpt-4o-mini", None, "openai", "gpt-4o-mini", "2026-11-20")
    detail = orjson.dumps((f"req_{number:032x}", *who, "complete", True, *TOKENS))
    return Charge(number, "settled", str(number), 1234, NOW_MS + number, detail)


@asynccontextmanager
async def _ledger() -> AsyncIterator[Prepare]:
    numbers = count(1)
    with tempfile.TemporaryDirectory() as folder:
        file = LedgerFile(Path(folder) / "ledger.db")

        def prepare(units: int) -> Block:
            charges = [charge(next(numbers)) for _ in range(units)]
            return lambda: file.append("bench", charges)

        yield prepare
        file.close()


@asynccontextmanager
async def _receipts() -> AsyncIterator[Prepare]:
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder) / "chain")

        def prepare(units: int) -> Block:
            batch: list[dict[str, Any]] = [receipt(exchanges.ended()) for _ in range(units)]

            def run() -> None:
                chain.append(batch)

            return run

        yield prepare
        chain.close()


PIECES: list[Piece] = [
    Piece("ledger: row", _ledger, BATCH),
    Piece("receipt: in the chain", _receipts, BATCH),
]
