"""Limits and budgets in Redis: every decision is one script, asked over one pipelined connection.

What a hold takes and gives back is said in `middlewares/stores/quota.py` and done in `admit.lua` and `finish.lua`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tollhouse.middlewares.stores.quota import (
    Admitted,
    Denied,
    Meter,
    Stale,
    StoreUnavailable,
    check_settlement,
)
from tollhouse.middlewares.stores.redis.caller import Caller, Uncertain
from tollhouse.middlewares.stores.redis.counters import Counters
from tollhouse.middlewares.stores.redis.ledger import Ledger
from tollhouse.middlewares.stores.redis.link import Link
from tollhouse.middlewares.stores.redis.memory import Memory, Open
from tollhouse.middlewares.stores.redis.outbox import Outbox
from tollhouse.middlewares.stores.redis.plan import FINISH_NUMBERS, VERBS, Hold, Keys, Plan, admit_numbers
from tollhouse.middlewares.stores.redis.reaper import expire_due
from tollhouse.middlewares.stores.redis.topology import Topology, parse
from tollhouse.middlewares.stores.redis.upkeep import Upkeep
from tollhouse.middlewares.stores.redis.wait import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tollhouse.middlewares.stores.quota import Admission
    from tollhouse.middlewares.stores.redis.connection import Connection
    from tollhouse.middlewares.stores.redis.wire import Reply

logger = logging.getLogger("tollhouse.store")

_NODE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_NUMBERS = FINISH_NUMBERS(0, 0)
_NO_ENTRY = b"\r\n$0\r\n\r\n"


class RedisQuota:
    """The store of quotas that several nodes share. For one event loop.

    `url`: redis://, rediss://, unix://, redis+sentinel://host:26379,host2/mymaster, redis+cluster://host,host2; a
    cluster behind redis:// is noticed. All keys begin with `{prefix}` and so are in one slot. Timeouts are in seconds:
    a call takes at most two of `op_timeout_s`. With `wait_replicas` an admission counts once so many replicas have it.
    A server that took over and lacks something is not used for `fence_s`, so that all nodes can tell it what they know.
    Raises ValueError for a URL, prefix or node id that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tollhouse",
        connect_timeout_s: float = 0.25,
        op_timeout_s: float = 0.1,
        node_id: str = "node",
        wait_replicas: int = 0,
        fence_s: float = 0.5,
        upkeep_every_s: float = 1.0,
    ) -> None:
        if not _NODE_ID.fullmatch(node_id):
            raise ValueError(f"a node id has 1 to 64 letters, digits, dots, dashes or underscores, not {node_id!r}")
        self.counters = Counters()
        self._keys = Keys(prefix)
        self._node_id = node_id
        self._target = parse(url)
        self._link = Link(
            Topology(self._target, key=self._keys.tag, connect_timeout_s=connect_timeout_s),
            name=f"tollhouse-{node_id}",
            connect_timeout_s=connect_timeout_s,
            op_timeout_s=op_timeout_s,
            counters=self.counters,
            fence=self._tell_again,
        )
        self._caller = Caller(self._link, op_timeout_s=op_timeout_s, counters=self.counters)
        self._outbox = Outbox()
        self._memory = Memory()
        self._upkeep = Upkeep(
            self._link, self._caller, self._outbox, self._memory, self._keys, self.counters, every_s=upkeep_every_s
        )
        self._wait = (
            Wait(wait_replicas, timeout_ms=int(op_timeout_s * 500), probe=self._keys.probe) if wait_replicas else None
        )
        self._fence_s = fence_s
        self._next_key = _names(self._keys, node_id)

    def __repr__(self) -> str:
        return f"RedisQuota({self._target.kind}, {', '.join(map(str, self._target.addresses))})"

    @property
    def available(self) -> bool:
        """Whether the next call can be expected to be answered."""
        return self._link.available

    @property
    def unsent(self) -> int:
        """Ends of holds that the store has not been told yet."""
        return len(self._outbox)

    async def open(self) -> None:
        """Connect, and begin to look after the store. A server that cannot be reached now is no error.

        Raises StoreUnsuitable for one that may lose what it is told, ValueError for certificates that cannot be used.
        """
        # Not sooner: a process that was forked must not make the same names as its parent.
        self._next_key = _names(self._keys, self._node_id)
        await self._link.open()
        self._upkeep.start()

    async def close(self) -> None:
        """Tell what has not been told, if that is possible at once, and disconnect."""
        await self._upkeep.stop()
        await self._link.close()

    def plan(self, meters: Iterable[Meter]) -> Plan:
        """Meters to be charged together, in the order in which they are to be asked; to be kept and used again.

        None at all: nothing is limited, and the ledger has what the request cost.
        Raises ValueError for meters that cannot be.
        """
        return Plan(tuple(meters), self._keys)

    async def admit(
        self, plan: Plan, *, tokens: int = 0, want: int = 0, minimum: int = 0, expires_in_ms: int, meta: bytes = b""
    ) -> Admission:
        """Take 1 or `tokens` from its buckets, a place, and up to `want` but no less than `minimum` from its budgets.

        The hold is charged in full if it is not ended within `expires_in_ms`; `meta` is its entry in the ledger then.
        Raises StoreUnavailable; nothing is held then, or what may be held is given back later.
        """
        key = self._next_key()
        numbers = admit_numbers(tokens, want, minimum, expires_in_ms)
        parts = (plan.admit_head, key, plan.admit_tail, numbers, b"\r\n$%d\r\n" % len(meta), meta, b"\r\n")
        connection = self._link.connection
        started = perf_counter()
        try:
            reply: Any = None if connection is None else await connection.execute(*parts)
            if type(reply) is not list:
                reply = await self._caller.insist(parts, connection, reply)
        except (Uncertain, asyncio.CancelledError):
            head = (plan.finish_head, key, plan.finish_tail)
            self._outbox.put("cancel", head, (_NO_NUMBERS, _NO_ENTRY), uncertain=True)
            raise
        counters = self.counters
        counters.calls += 1
        counters.latency_s += perf_counter() - started
        sort = reply[0]
        if sort == 1:
            granted, now_ms = reply[1], reply[2]
            self._memory.open[key] = Open(plan, granted, tokens, now_ms + expires_in_ms, meta)
            if self._wait is not None:
                await self._replicated(key, plan)
            return Admitted(
                Hold(key, plan, granted), granted, now_ms, tuple(zip(reply[3::2], reply[4::2], strict=True))
            )
        if sort == 0:
            wait = reply[2]
            return Denied(reply[1], None if wait < 0 else wait, reply[3])
        if sort == 2:
            return Stale(reply[1])
        raise StoreUnavailable("the admission was repeated after its hold had ended", kind="finished")

    async def settle(self, hold: Hold, *, amount: int, tokens: int = 0, entry: bytes = b"") -> str:
        """What the request came to: `amount` in nano-USD, its tokens, and its line for the ledger.

        Answers `settled`; `late` if the hold had expired, `duplicate` if it has been settled or released,
        `unknown` if the store had lost it (it is charged). Raises StoreUnavailable; then it is kept and told again when
        the store is back: do not repeat it.
        """
        check_settlement(amount, tokens)
        tail = (FINISH_NUMBERS(amount, tokens), b"\r\n$%d\r\n" % len(entry), entry, b"\r\n")
        return await self._finish(hold, "settle", tail)

    async def release(self, hold: Hold) -> str:
        """Give everything back: only where the upstream has surely not been asked.

        Answers `released`, `duplicate` if the hold had ended, or `unknown`. Raises StoreUnavailable as settle does.
        """
        return await self._finish(hold, "release", (_NO_NUMBERS, _NO_ENTRY))

    async def expire_due(self, limit: int = 100) -> int:
        """Charge up to `limit` holds whose time is over, of whichever node; how many. Also done once a second.

        Raises StoreUnavailable.
        """
        return await expire_due(self._caller, self._keys, limit)

    def ledger(self, reader: str) -> Ledger:
        """What was charged, to be read and stored elsewhere by whoever is named `reader`."""
        return Ledger(self._caller, self._keys, reader)

    async def _finish(self, hold: Hold, verb: str, tail: tuple[bytes, ...]) -> str:
        plan = hold.plan
        parts = (plan.finish_head, hold.key, plan.finish_tail, VERBS[verb], *tail)
        connection = self._link.connection
        started = perf_counter()
        try:
            reply: Reply = None if connection is None else await connection.execute(*parts)
            if type(reply) is not bytes:
                reply = await self._caller.insist(parts, connection, reply)
                assert isinstance(reply, bytes)
        except (StoreUnavailable, asyncio.CancelledError) as error:
            uncertain = not isinstance(error, StoreUnavailable) or isinstance(error, Uncertain)
            self._outbox.put(verb, parts[:3], tail, uncertain=uncertain)
            raise
        counters = self.counters
        counters.calls += 1
        counters.latency_s += perf_counter() - started
        self._memory.end(hold.key, verb, parts[:3], tail)
        return reply.decode()

    async def _tell_again(self, connection: Connection) -> None:
        """Before a server that took over is used: what it may lack. Others need a moment to do the same."""
        if await self._memory.tell(connection):
            logger.warning("the server of the quota store lacked what it had been told; it was told again")
            await asyncio.sleep(self._fence_s)
            await self._memory.tell(connection)

    async def _replicated(self, key: bytes, plan: Plan) -> None:
        """Returns when enough replicas have the admission; else it is given back. Raises StoreUnavailable."""
        wait, connection = self._wait, self._link.connection
        assert wait is not None
        try:
            reply: Reply = None if connection is None else await wait.on(connection)
            if isinstance(reply, int) and reply >= wait.replicas:
                return
            raise StoreUnavailable("too few replicas have the admission", kind="replicas")  # noqa: TRY301 - the same end
        except (StoreUnavailable, asyncio.CancelledError) as error:
            if isinstance(error, StoreUnavailable):
                self.counters.count(error.kind)
            self._memory.open.pop(key, None)
            self._outbox.put(
                "cancel", (plan.finish_head, key, plan.finish_tail), (_NO_NUMBERS, _NO_ENTRY), uncertain=True
            )
            raise


def _names(keys: Keys, node_id: str) -> Callable[[], bytes]:
    """Makes keys of holds, as arguments of commands. Nobody can guess them, and no two are the same."""
    name = b"%b%b.%b." % (keys.hold, node_id.encode(), secrets.token_urlsafe(12).encode())
    template = b"$%d\r\n%b%%012x\r\n" % (len(name) + 12, name.replace(b"%", b"%%"))
    numbers = count(1)
    return lambda: template % next(numbers)
