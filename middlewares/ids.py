"""Request ids: 16 random bytes from a pool, because a system call per id costs more than the id."""

from __future__ import annotations

import os

_POOL_IDS = 256
_pool: list[str] = []


def _fill() -> None:
    noise = os.urandom(16 * _POOL_IDS).hex()
    _pool.extend(noise[i : i + 32] for i in range(0, len(noise), 32))


def new_id() -> str:
    """`req_` and 32 hexadecimal digits, unpredictable and unique."""
    if not _pool:
        _fill()
    return "req_" + _pool.pop()


# A forked child must not hand out its parent's ids.
os.register_at_fork(after_in_child=_pool.clear)
