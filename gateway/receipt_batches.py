"""Batches of receipts: records of a chain, and at their end its signed head (docs/contracts/eris.yaml)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.gateway.delivery import Batch
from tollhouse.middlewares.stores import chain as chains
from tollhouse.middlewares.stores.chain import Chain, ChainBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tollhouse.middlewares.stores.chain import Position

    SignedHead = Callable[[Chain, Position], dict[str, Any]]

logger = logging.getLogger("tollhouse.receipts")


class ChainBatches:
    """A `Source`. head: signs where a chain was at a position. keep_bytes: of what was delivered; None: all of it."""

    def __init__(self, chain: Chain, head: SignedHead, *, keep_bytes: int | None = None) -> None:
        self._chain = chain
        self._head = head
        self._keep_bytes = keep_bytes

    def batch(self, most: int, most_bytes: int) -> Batch | None:
        chain = self._chain
        lines, position = chain.read(most, most_bytes)
        if not lines:
            return None
        # What others are told must not be lost here: its numbers would be used again.
        chain.sync()
        told = [*lines, orjson.dumps({"type": "head", **self._head(chain, position)})]
        first = position.seq - len(lines) + 1
        return Batch(told, f"{chain.id}:{first}-{position.seq}", len(lines), position)

    def delivered(self, batch: Batch) -> None:
        chain, position = self._chain, batch.mark
        assert isinstance(position, chains.Position)
        chain.mark_delivered(position)
        if self._keep_bytes is not None:
            chain.trim(self._keep_bytes, lambda gone: orjson.dumps(self._head(chain, gone)))

    def close(self) -> None:
        self._chain.close()


class Orphans:
    """Chains in `root`, besides `own`, that no process has."""

    def __init__(self, root: Path, own: Chain, head: SignedHead, *, keep_bytes: int | None = None) -> None:
        self._root = root
        self._own = own
        self._head = head
        self._keep_bytes = keep_bytes
        self._told: set[Path] = set()  # which were said to be of no use

    def __call__(self) -> Iterator[ChainBatches]:
        for folder in chains.chains(self._root):
            if folder == self._own.folder:
                continue
            try:
                chain = Chain(folder)
            except ChainBusy:
                continue
            except (OSError, ValueError) as error:
                if folder not in self._told:
                    self._told.add(folder)
                    why = error.strerror if isinstance(error, OSError) else None
                    logger.error(  # noqa: TRY400 - a traceback says no more
                        "the receipts in %s cannot be delivered: %s", folder.name, why or type(error).__name__
                    )
                continue
            self._told.discard(folder)
            yield ChainBatches(chain, self._head, keep_bytes=self._keep_bytes)
