"""The way to the server that owns our keys: kept open, found anew when it moves, and known to work or not."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.quota import StoreUnavailable, StoreUnsuitable
from tollhouse.middlewares.stores.redis.connection import Connection
from tollhouse.middlewares.stores.redis.counters import Counters
from tollhouse.middlewares.stores.redis.greeting import Server, greet
from tollhouse.middlewares.stores.redis.topology import Address, Topology
from tollhouse.middlewares.stores.redis.wire import Lost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("tollhouse.store")
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Link:
    """`connection` is the one to use, None while there is none.

    `fence`, if given, is awaited with the connection to a server other than the last, before anybody else may use it.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        name: str,
        connect_timeout_s: float,
        op_timeout_s: float,
        counters: Counters,
        fence: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.connection: Connection | None = None
        self._topology = topology
        self._name = name
        self._connect_timeout_s = connect_timeout_s
        self._op_timeout_s = op_timeout_s
        self._counters = counters
        self._fence = fence
        self._tls: ssl.SSLContext | None = None
        self._last: str | None = None  # run_id of the server that we used
        self._hint: Address | None = None  # where a redirection led
        self._failure: StoreUnavailable | None = None  # of the last attempt to connect
        self._trouble: StoreUnavailable | None = None  # the server answers, but does not work
        self._said_available: bool | None = None
        self._settled = asyncio.Event()  # an attempt to connect has ended, well or not
        self._wake = asyncio.Event()
        self._aside: dict[Address, Connection] = {}  # nodes that take over our slot
        self._keeper: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        return self.connection is not None and self._trouble is None

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Why the server does not work though it answers."""
        return self._trouble

    async def open(self) -> None:
        """Waits for the first attempt. A server that cannot be reached is no error: it is tried again.

        Raises StoreUnsuitable, or ValueError for certificates that cannot be used.
        """
        loop = asyncio.get_running_loop()
        self._tls = await loop.run_in_executor(None, self._topology.target.tls_context)
        self._keeper = loop.create_task(self._keep(), name="quota store")
        await self._settled.wait()
        if isinstance(self._failure, StoreUnsuitable):
            failure = self._failure
            await self.close()
            raise failure

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        connection, self.connection = self.connection, None
        for each in [connection, *self._aside.values()]:
            if each is not None:
                each.abort(Lost("closed", "the store is closed"))
        self._failure = StoreUnavailable("the store is closed", kind="closed")

    async def get(self, deadline: float) -> Connection:
        """The connection; waits for it until `deadline` (the loop's time) unless connecting has failed already.

        Raises StoreUnavailable.
        """
        try:
            async with asyncio.timeout_at(deadline):
                while self.connection is None:
                    if self._failure is not None:
                        raise unavailable(self._failure)
                    await self._settled.wait()
        except TimeoutError:
            raise StoreUnavailable("the connection to the store was lost", kind="connect") from None
        return self.connection

    async def aside(self, address: Address, deadline: float) -> Connection:
        """A connection to a node that is taking over our slot. Raises StoreUnavailable."""
        known = self._aside.get(address)
        if known is not None and known.closed is None:
            return known
        try:
            async with asyncio.timeout_at(deadline):
                connection, _ = await self._connect(address)
        except TimeoutError:
            raise StoreUnavailable("no connection to a node of the cluster", kind="connect") from None
        known = self._aside.get(address)
        if known is not None and known.closed is None:  # somebody else was as quick
            connection.retire()
            return known
        self._aside[address] = connection
        return connection

    def moved(self, connection: Connection, address: Address) -> None:
        """Our slot has moved: what is asked from now on goes to `address`."""
        if connection is self.connection:
            self._leave(connection)
            self._hint = address
            connection.retire()
            while self._aside:
                self._aside.popitem()[1].retire()

    def reset(self, connection: Connection, why: StoreUnavailable) -> None:
        """The server of this connection is not the right one any more: find it anew."""
        connection.abort(Lost(why.kind, str(why)))

    def report(self, trouble: StoreUnavailable | None) -> None:
        """The server answers but does not do its work; None: it does."""
        self._trouble = trouble
        self._tell()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._establish()
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    logger.exception("connecting to the quota store failed")
                    error = StoreUnavailable(f"connecting failed: {type(error).__name__}", kind="internal")
                self._failure = error
                self._counters.count(error.kind)
                self._settled.set()
                self._tell()
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            pause = FIRST_PAUSE_S
            await self._wake.wait()
            if self.connection is None and self._hint is None:
                self._tell()

    async def _establish(self) -> None:
        """A new connection in `connection`; raises StoreUnavailable."""
        self._wake.clear()
        address, self._hint = self._hint, None
        if address is None:
            address = await self._topology.locate(self._tls)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection, server = await self._connect(address)
        except TimeoutError:
            raise StoreUnavailable(f"no connection to {address} in time", kind="connect") from None
        if server.mode == "cluster" and not self._topology.is_cluster:
            connection.retire()
            self._topology.use_cluster()
            self._hint = await self._topology.locate(self._tls)
            await self._establish()
            return
        if server.role != "master":
            connection.retire()
            raise StoreUnavailable("the server is a replica", kind="replica")
        if self._fence is not None and self._last is not None and server.run_id != self._last:
            try:
                await self._fence(connection)
            except BaseException:
                connection.abort(Lost("fenced", "the server could not be told what it lacks"))
                raise
        self._last = server.run_id
        self._counters.connects += 1
        self._failure = None
        self._trouble = None
        self.connection = connection
        self._settled.set()
        self._tell()
        if connection.closed is not None:
            self._leave(connection)

    async def _connect(self, address: Address) -> tuple[Connection, Server]:
        loop = asyncio.get_running_loop()

        def protocol() -> Connection:
            return Connection(loop, op_timeout_s=self._op_timeout_s, on_close=self._leave)

        tls = self._tls
        try:
            if address.port:
                _, connection = await loop.create_connection(
                    protocol, address.host, address.port, ssl=tls, server_hostname=address.host if tls else None
                )
            else:
                _, connection = await loop.create_unix_connection(protocol, address.host)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or "handshake"
            raise StoreUnavailable(f"TLS with {address} failed: {why}", kind="tls") from None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else type(error).__name__
            raise StoreUnavailable(f"{address} cannot be reached: {why}", kind="connect") from None
        try:
            return connection, await greet(connection, self._topology.target, name=self._name)
        except BaseException:
            connection.abort(Lost("connect", "the server was not usable"))
            raise

    def _leave(self, connection: Connection) -> None:
        if connection is self.connection:
            self.connection = None
            self._settled.clear()
            self._wake.set()

    def _tell(self) -> None:
        """One line per change."""
        now = self.available
        if now == self._said_available:
            return
        if now:
            if self._said_available is not None:
                logger.info("the quota store is available again")
        else:
            why = self._trouble or self._failure or "the connection was lost"
            logger.warning("the quota store is unavailable: %s", why)
        self._said_available = now


def unavailable(cause: StoreUnavailable) -> StoreUnavailable:
    """The same again: an exception that is kept must not be raised, for it would collect tracebacks."""
    return StoreUnavailable(f"the quota store is unavailable: {cause}", kind=cause.kind)
