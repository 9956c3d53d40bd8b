"""What this node has told Redis lately: a server that took over from another is told again before anybody may go on.

Redis replicates after it has answered, so a promoted replica, or a server that restarts, may lack the last writes.
Holds are known by their ids: telling it all again changes only what was lost. Open holds are restored, ended ones ended
again with the same amounts, and the ledger gets the lines that it lacks.

What stays lost: what buckets gave in that time, and everything of a node that died together with the server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from tollhouse.middlewares.stores.quota import SETTLED_MS
from tollhouse.middlewares.stores.redis.greeting import expected
from tollhouse.middlewares.stores.redis.outbox import again
from tollhouse.middlewares.stores.redis.plan import VERBS, Plan

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.connection import Connection

# How far behind a replica may be.
SPAN_S = SETTLED_MS / 4000
MAX_ENDED = 50_000
BATCH = 500
_NUMBERS = Struct("<3Q").pack


class Open(NamedTuple):
    """A hold of this node; its expiry is in milliseconds of the store's clock."""

    plan: Plan
    granted: int
    tokens: int
    expiry_ms: int
    meta: bytes


class Ended(NamedTuple):
    """A call of this node that has ended a hold, and when (time.monotonic)."""

    at: float
    verb: str
    head: tuple[bytes, ...]
    tail: tuple[bytes, ...]


class Memory:
    """Holds by their keys, as arguments of commands."""

    def __init__(self) -> None:
        self.open: dict[bytes, Open] = {}
        self.ended: deque[Ended] = deque(maxlen=MAX_ENDED)
        self.restored = 0

    def end(self, key: bytes, verb: str, head: tuple[bytes, ...], tail: tuple[bytes, ...]) -> None:
        """A call has ended the hold."""
        self.open.pop(key, None)
        self.ended.append(Ended(monotonic(), verb, head, tail))

    def forget_old(self, now_ms: int) -> None:
        """What a server that takes over knows for sure, and holds that have expired by the store's clock."""
        oldest = monotonic() - SPAN_S
        while self.ended and self.ended[0].at < oldest:
            self.ended.popleft()
        for key in [key for key, hold in self.open.items() if hold.expiry_ms < now_ms]:
            del self.open[key]

    async def tell(self, connection: Connection) -> int:
        """Tell a server everything again; how much of it was new to it. Raises StoreUnavailable."""
        now = monotonic()
        calls = [(*end.head, VERBS[again(end.verb, now - end.at)], *end.tail) for end in self.ended]
        calls += [_restoring(key, hold) for key, hold in self.open.items()]
        new = 0
        for start in range(0, len(calls), BATCH):
            answers = await asyncio.gather(*(connection.execute(*parts) for parts in calls[start : start + BATCH]))
            new += sum(expected(answer) not in {0, b"duplicate"} for answer in answers)
        self.restored += new
        return new


def _restoring(key: bytes, hold: Open) -> tuple[bytes, ...]:
    plan = hold.plan
    numbers = _NUMBERS(hold.granted, hold.tokens, hold.expiry_ms)
    return plan.restore_head, key, plan.restore_tail, numbers, b"\r\n$%d\r\n" % len(hold.meta), hold.meta, b"\r\n"
