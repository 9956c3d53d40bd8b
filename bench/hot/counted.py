"""`python -m bench.hot.counted LIBRARY AT_ONCE [ONLY ...]`: runs the pieces such that callgrind counts each alone.

Every piece has a process of its own, forked when all is imported, so that none depends on what ran before: an
interpreter learns which attributes the instances of a class have, say. Starting, setting up and warming up are not
counted. Of each piece some blocks are, each in a dump of its name. Prints how many units a block of each has.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import uvloop

from bench.hot.catalogue import PIECES
from bench.hot.piece import matches, piece, ran, repeated

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from bench.hot.piece import Piece

NEVER_S = 1e6
WARM = 40  # units at least: the interpreter adapts to what it has run some times


class StillLoop(uvloop.Loop):
    """No timer comes due: on a machine that is busy, or under callgrind, they would fall into every block."""

    def call_later(self, delay: float, *rest: Any, **context: Any) -> TimerHandle:  # type: ignore[override]
        return super().call_later(NEVER_S + delay, *rest, **context)

    def call_at(self, when: float, *rest: Any, **context: Any) -> TimerHandle:  # type: ignore[override]
        return super().call_at(NEVER_S + when, *rest, **context)


def _nothing() -> None:
    """So much is done in no piece."""


# What lies between two requests to callgrind even so; taken off from all others.
NOTHING = piece("nothing", lambda: repeated(_nothing), units=0)


async def count(callgrind: ctypes.CDLL, one: Piece) -> None:
    async with one.open() as prepare:
        for _ in range(2 + WARM // max(one.units, 1)):
            await ran(prepare(one.units))
        blocks = [prepare(one.units) for _ in range(one.blocks)]
        name = one.name.encode()
        gc.collect()
        gc.disable()
        callgrind.start()
        for block in blocks:
            callgrind.zero()
            await ran(block)
            callgrind.dump(name)
        callgrind.stop()


def fork(callgrind: ctypes.CDLL, one: Piece) -> None:
    """Count a piece in a child."""
    if os.fork():
        return
    code = 1
    try:
        with asyncio.Runner(loop_factory=StillLoop) as runner:
            runner.run(count(callgrind, one))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
        traceback.print_exc()
    finally:
        os._exit(code)


def main(library: str, at_once: int, *only: str) -> int:
    callgrind = ctypes.CDLL(library)
    failed = running = 0
    for one in (NOTHING, *(one for one in PIECES if matches(one.name, only))):
        if running == at_once:
            failed += os.wait()[1] != 0
            running -= 1
        print(one.units, one.name, flush=True)
        fork(callgrind, one)
        running += 1
    return failed + sum(os.wait()[1] != 0 for _ in range(running))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
