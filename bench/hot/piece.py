"""A piece of the hot path: how it is set up, and how a block of so many units of its work is made ready and run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Block = Callable[[], Awaitable[None] | None]
# So many units -> what does them. What a unit needs is made here, so that it is in no figure.
Prepare = Callable[[int], Block]


@dataclass(frozen=True)
class Piece:
    """`open` sets up within the running event loop.

    units: of work in a block that is counted; blocks: that are, of which the one with the fewest instructions tells.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Prepare]]
    units: int = 50
    blocks: int = 6


def piece(name: str, make: Callable[[], Prepare], *, units: int = 50) -> Piece:
    """One that leaves nothing behind."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Prepare]:
        yield make()

    return Piece(name, opened, units)


def repeated(call: Callable[[], object]) -> Prepare:
    """The same call again and again."""

    def prepare(units: int) -> Block:
        def run() -> None:
            for _ in range(units):
                call()

        return run

    return prepare


def each(make: Callable[[], T], call: Callable[[T], object]) -> Prepare:
    """A call for each of what is made beforehand."""

    def prepare(units: int) -> Block:
        made = [make() for _ in range(units)]

        def run() -> None:
            for one in made:
                call(one)

        return run

    return prepare


def matches(name: str, only: Collection[str]) -> bool:
    """Whether it has one of these in it; all have where there are none."""
    return not only or any(text in name for text in only)


async def ran(block: Block) -> None:
    """Run a block, and wait for it where that takes waiting."""
    pending = block()
    if pending is not None:
        await pending
