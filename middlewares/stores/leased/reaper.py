"""Leases of nodes that are gone are charged in full, by any node: what they had out may have been used."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.leased.lease import frame
from tollhouse.middlewares.stores.redis.wire import bulk

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.caller import Caller
    from tollhouse.middlewares.stores.redis.plan import Keys

_NOTHING = Struct("<q4Q").pack(0, 0, 0, 0, 0)
_METER_BYTES = 32


async def expire_leases(caller: Caller, keys: Keys, limit: int = 100) -> int:
    """Charge up to `limit` leases whose time is over; how many. Two nodes at it at once do no harm.

    Raises StoreUnavailable.
    """
    time = await caller.ask("TIME")
    assert isinstance(time, list)
    seconds, microseconds = (int(part) for part in time if isinstance(part, bytes))
    now = seconds * 1000 + microseconds // 1000
    due = await caller.ask("ZRANGE", keys.leases, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
    assert isinstance(due, list)
    return sum([await _expire(caller, keys, lease) for lease in due if isinstance(lease, bytes)])


async def _expire(caller: Caller, keys: Keys, lease: bytes) -> int:
    """1 if it was expired by this call. One that has changed meanwhile is alive: it is due again when it is not."""
    found = await caller.ask("HGETALL", lease)
    assert isinstance(found, list)
    pairs: list[bytes] = found  # type: ignore[assignment]
    meters = dict(zip(pairs[::2], pairs[1::2], strict=True))
    for name in (b"state", b"number"):
        meters.pop(name, None)
    packed = b"".join(value[:_METER_BYTES] for value in meters.values())
    fixed = b"".join(map(bulk, (lease, keys.leases, keys.ledger)))
    call = frame(fixed, list(meters), packed, b"expire", 0, 0, _NOTHING * len(meters), [])
    return int(await caller.insist((call,), None, None) == b"expired")
