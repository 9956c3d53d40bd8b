"""Asks again where an answer was none: the same call, with the same hold, until it is answered or its time is over.

The scripts know a hold that they have seen, so a call may be repeated at any time.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.quota import StoreUnavailable
from tollhouse.middlewares.stores.redis.greeting import reason
from tollhouse.middlewares.stores.redis.link import Link, unavailable
from tollhouse.middlewares.stores.redis.scripts import NAMES, source
from tollhouse.middlewares.stores.redis.topology import Address
from tollhouse.middlewares.stores.redis.wire import Lost, Reply, ReplyError, code, command

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.connection import Connection
    from tollhouse.middlewares.stores.redis.counters import Counters

FIRST_PAUSE_S = 0.002
_ASKING = command("ASKING")
_AGAIN = frozenset({"TRYAGAIN", "CLUSTERDOWN", "BUSY"})  # over in a moment
_ELSEWHERE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"})  # not on this connection
_OURS = frozenset({"ERR", "WRONGTYPE"})  # says nothing of the server as a whole


class Uncertain(StoreUnavailable):
    """The call went out and may have been done, now or later."""


class Caller:
    """Makes the calls for which the first answer of the hot path was not enough, and all rare ones."""

    def __init__(self, link: Link, *, op_timeout_s: float, counters: Counters) -> None:
        self._link = link
        self._op_timeout_s = op_timeout_s
        self._counters = counters

    async def ask(self, *words: bytes | int | str) -> Reply:
        """One rare command. Raises StoreUnavailable."""
        return await self.insist((command(*words),), self._link.connection, None)

    async def insist(self, parts: tuple[bytes, ...], connection: Connection | None, reply: Reply) -> Reply:
        """An answer that is no error.

        `reply` is what `connection` said to these parts; None if they have not been sent. Takes no longer than the
        timeout of a command, in all; raises StoreUnavailable, or Uncertain if the call may have been done.
        """
        deadline = asyncio.get_running_loop().time() + self._op_timeout_s
        attempt = _Attempt(self._link, self._counters, deadline)
        try:
            return await attempt.run(parts, connection, reply)
        except StoreUnavailable as error:
            self._counters.count(error.kind)
            if attempt.sent:
                raise Uncertain(str(error), kind=error.kind) from None
            raise


class _Attempt:
    """The state of one call that is repeated."""

    def __init__(self, link: Link, counters: Counters, deadline: float) -> None:
        self._link = link
        self._counters = counters
        self._deadline = deadline
        self._pause_s = FIRST_PAUSE_S
        self._timeouts = 0
        self.sent = False

    async def run(self, parts: tuple[bytes, ...], connection: Connection | None, reply: Reply) -> Reply:
        if reply is None:
            connection = connection or await self._link.get(self._deadline)
            reply = await self._send(connection, parts)
        while isinstance(reply, Lost | ReplyError):
            self._counters.retries += 1
            assert connection is not None
            if isinstance(reply, Lost):
                connection = await self._after_loss(reply)
                reply = await self._send(connection, parts)
            elif (sort := code(reply)) == "ASK":
                aside = await self._link.aside(_address(reply), self._deadline)
                aside.execute(_ASKING)
                reply = await self._send(aside, parts)
            else:
                connection = await self._after_error(sort, reply, connection)
                reply = await self._send(connection, parts)
        return reply

    async def _send(self, connection: Connection, parts: tuple[bytes, ...]) -> Reply:
        try:
            async with asyncio.timeout_at(self._deadline):
                reply: Reply = await connection.execute(*parts)
        except TimeoutError:
            self.sent = True
            raise StoreUnavailable("the quota store did not answer in time", kind="timeout") from None
        return reply

    async def _after_loss(self, lost: Lost) -> Connection:
        if lost.kind == "busy":
            raise StoreUnavailable(f"the quota store is unavailable: {lost.reason}", kind="busy")
        self.sent = True
        self._timeouts += lost.kind == "timeout"
        if self._timeouts > 1:
            raise StoreUnavailable("the quota store did not answer in time, twice", kind="timeout")
        try:
            return await self._link.get(self._deadline)
        except StoreUnavailable:
            raise StoreUnavailable(f"the quota store is unavailable: {lost.reason}", kind=lost.kind) from None

    async def _after_error(self, sort: str, error: ReplyError, connection: Connection) -> Connection:
        """Where to ask again; raises StoreUnavailable if that makes no sense."""
        if sort == "NOSCRIPT":
            for name in NAMES:
                connection.execute(command("SCRIPT", "LOAD", source(name)))
            return connection
        if sort == "MOVED":
            self._link.moved(connection, _address(error))
        elif sort in _AGAIN:
            await self._rest(sort)
        elif sort in _ELSEWHERE:
            self._link.reset(connection, StoreUnavailable(reason(sort), kind=sort.lower()))
        else:
            failure = StoreUnavailable(reason(sort), kind=sort.lower())
            if sort not in _OURS:
                self._link.report(failure)
            raise unavailable(failure)
        return await self._link.get(self._deadline)

    async def _rest(self, sort: str) -> None:
        pause = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        if asyncio.get_running_loop().time() + pause >= self._deadline:
            failure = StoreUnavailable(reason(sort), kind=sort.lower())
            self._link.report(failure)
            raise unavailable(failure)
        self._pause_s *= 2
        await asyncio.sleep(pause)


def _address(error: ReplyError) -> Address:
    """`MOVED 3999 127.0.0.1:6381`; hosts may be IPv6."""
    host, _, port = str(error).rsplit(" ", 1)[1].rpartition(":")
    return Address(host, int(port))
