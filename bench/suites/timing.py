"""Times a piece of the hot path with pytest-benchmark: blocks of its work, what a block needs made beforehand."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import uvloop

from bench.hot.piece import ran

if TYPE_CHECKING:
    from bench.hot.piece import Block, Piece

ROUNDS = 60
WARM = 5


def timed(benchmark: Any, piece: Piece) -> None:
    """Rounds of a block; prints what the figures come to for one unit."""
    loop = uvloop.new_event_loop()
    stack = AsyncExitStack()
    prepare = loop.run_until_complete(stack.enter_async_context(piece.open()))
    try:

        def run(block: Block) -> None:
            loop.run_until_complete(ran(block))

        benchmark.extra_info["units"] = piece.units
        benchmark.pedantic(run, setup=lambda: ((prepare(piece.units),), {}), rounds=ROUNDS, warmup_rounds=WARM)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    if benchmark.stats is not None:
        stats = benchmark.stats.stats
        least, median = (seconds / piece.units * 1e6 for seconds in (stats.min, stats.median))
        print(f"\n{piece.name}: {least:.2f} us, median {median:.2f} us")


def named(piece: Piece) -> str:
    """How pytest calls it."""
    return piece.name
