"""Holds whose time is over are charged in full, by any node: the upstream may have worked for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.redis.plan import FINISH_NUMBERS, VERBS, Keys, finish_frame
from tollhouse.middlewares.stores.redis.wire import bulk

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.caller import Caller

_METER_BYTES = 32
_NO_NUMBERS = FINISH_NUMBERS(0, 0)


async def expire_due(caller: Caller, keys: Keys, limit: int) -> int:
    """How many were expired here. Two nodes at it at once do no harm: the script expires a hold once.

    Raises StoreUnavailable.
    """
    seconds, microseconds = map(int, await _list(caller, "TIME"))
    now = seconds * 1000 + microseconds // 1000
    due = await _list(caller, "ZRANGE", keys.expiries, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
    if not due:
        return 0
    holds = await _list(caller, "MGET", *due)
    calls = [_expire(caller, keys, key, hold) for key, hold in zip(due, holds, strict=True)]
    return sum(await asyncio.gather(*calls))


async def _expire(caller: Caller, keys: Keys, key: bytes, hold: bytes | None) -> int:
    """1 if it was expired by this call. A hold that has ended meanwhile is taken off the list of expiries."""
    names, packed, meta = _record(hold)
    head, tail = finish_frame(keys, names, packed)
    parts = (head, bulk(key), tail, VERBS["expire"], _NO_NUMBERS, b"\r\n", bulk(meta))
    return int(await caller.insist(parts, None, None) == b"expired")


def _record(hold: bytes | None) -> tuple[list[bytes], bytes, bytes]:
    """The keys of its meters, their plan and its meta, as admit.lua wrote them."""
    header, _, rest = (hold or b"x 0 0 0 0").partition(b"\n")
    count = int(header.split(b" ")[4])
    if not count:  # ended, or of a plan without meters
        return [], b"", rest[1:]
    *names, rest = rest.split(b"\n", count)
    size = _METER_BYTES * count
    return names, rest[:size], rest[size:]


async def _list(caller: Caller, *words: bytes | int | str) -> list[bytes]:
    reply = await caller.ask(*words)
    assert isinstance(reply, list)
    return reply  # type: ignore[return-value]
