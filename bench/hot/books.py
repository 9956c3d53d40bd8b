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
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.ledger import LedgerFile
from tollhouse.middlewares.stores.quota import Admitted

if TYPE_CHECKING:
    from bench.hot.piece import Block, Prepare

BATCH = 64
TOKENS = (100, 0, 0, 64, 0, 0, 0)


def settle(store: EmbeddedQuota, number: int) -> None:
    """A record of one key and one model, as most that follow one another are."""
    who = ("production", "team", None, "gpt-4o-mini", None, "openai", "gpt-4o-mini", "2026-11-20")
    detail = orjson.dumps((f"req_{number:032x}", *who, "complete", True, *TOKENS))
    held = store.admit(store.plan([]), expires_in_ms=60_000)
    assert isinstance(held, Admitted)
    store.settle(held.hold, amount=1234, entry=detail)


@asynccontextmanager
async def _ledger() -> AsyncIterator[Prepare]:
    numbers = count(1)
    with tempfile.TemporaryDirectory() as folder:
        store, file = EmbeddedQuota(), LedgerFile(Path(folder) / "ledger.db")

        def prepare(units: int) -> Block:
            for _ in range(units):
                settle(store, next(numbers))

            def run() -> None:
                assert store.records is not None
                file.append_from("bench", store.records, units)

            return run

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
