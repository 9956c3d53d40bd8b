"""What the store has charged, in order, until everybody who stores it elsewhere has it.

Readers keep the id of the last entry beside the entries they have stored, in one transaction, and read on from there:
every entry is stored exactly once, without the acknowledgement per entry that consumer groups want, and a reader that
comes back after a crash needs nothing from Redis. Each reader sees all entries.

A server that took over may be told again what a reader had from the one before. So per hold a reader keeps at most one
`estimated` entry and one other, and of a `settled` or `unknown` one behind an `estimated` only the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tollhouse.middlewares.stores.redis.caller import Caller
    from tollhouse.middlewares.stores.redis.plan import Keys

START = "0-0"
BATCH = 500


class Entry(NamedTuple):
    """`cost` in nano-USD is what was added to each of `budgets` (name, start of the window); below 0 for a correction.

    `id` goes up from entry to entry and begins with the store's time in milliseconds. `status` is settled, late (after
    the hold had been charged in full: the difference), estimated (it expired) or unknown (the store had lost the hold).
    """

    id: str
    hold: str
    status: str
    cost: int
    budgets: tuple[tuple[str, int], ...]
    entry: bytes


class Ledger:
    """The ledger for one reader, by a name that stays the same when it is started again."""

    def __init__(self, caller: Caller, keys: Keys, reader: str) -> None:
        self._caller = caller
        self._keys = keys
        self._reader = reader

    async def read(self, after: str = START, count: int = BATCH) -> list[Entry]:
        """Up to `count` entries behind `after`, oldest first; none if there are none yet. Raises StoreUnavailable."""
        rows = await self._caller.ask("XRANGE", self._keys.ledger, f"({after}", "+", "COUNT", count)
        assert isinstance(rows, list)
        skipped = len(self._keys.tag) + len(":m:")
        return [_entry(row, skipped) for row in rows]  # type: ignore[arg-type]

    async def entries(self, after: str = START) -> AsyncIterator[Entry]:
        """All that there are behind `after` at this moment. Raises StoreUnavailable."""
        while batch := await self.read(after):
            for entry in batch:
                yield entry
            after = batch[-1].id

    async def stored(self, last: str) -> None:
        """The reader has everything up to and with entry `last`; what all readers have is dropped here.

        A reader counts from its first call on; forget one that is gone for good, or nothing is dropped any more.
        """
        await self._caller.ask("HSET", self._keys.readers, self._reader, last)
        await self._trim()

    async def forget(self) -> None:
        """The reader will not come back."""
        await self._caller.ask("HDEL", self._keys.readers, self._reader)
        await self._trim()

    async def length(self) -> int:
        """How many entries are kept."""
        found = await self._caller.ask("XLEN", self._keys.ledger)
        assert isinstance(found, int)
        return found

    async def _trim(self) -> None:
        positions = await self._caller.ask("HVALS", self._keys.readers)
        assert isinstance(positions, list)
        if positions:
            least = min(tuple(map(int, position.split(b"-"))) for position in positions)  # type: ignore[union-attr]
            following = f"{least[0]}-{least[1] + 1}"
            await self._caller.ask("XTRIM", self._keys.ledger, "MINID", following)


def _entry(row: list[object], skipped: int) -> Entry:
    id_, pairs = row
    assert isinstance(id_, bytes)
    assert isinstance(pairs, list)
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    names = [key[skipped:].decode().rpartition(":") for key in fields[b"budgets"].split(b"\n") if key]
    return Entry(
        id=id_.decode(),
        hold=fields[b"id"].decode(),
        status=fields[b"status"].decode(),
        cost=int(fields[b"cost"]),
        budgets=tuple((name, int(start)) for name, _, start in names),
        entry=fields[b"entry"],
    )
