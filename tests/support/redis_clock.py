"""A clock for the scripts that tests can set: it is read from a key instead of asking the server for the time."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.redis import scripts
from tollhouse.middlewares.stores.redis.wire import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis import RedisServer
    from tollhouse.middlewares.stores.redis.connection import Connection

_READ = scripts._read


class Clock:
    """`now` in milliseconds since the epoch."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()
        self.now = 0

    def set(self, now: int) -> None:
        self.now = now
        with self._client.pipeline() as pipeline:
            pipeline.delete("clock")
            pipeline.rpush("clock", now // 1000, now % 1000 * 1000)
            pipeline.execute()

    def set_on(self, connection: Connection, now: int) -> None:
        """The same for what is asked on `connection` from now on; nobody waits for it."""
        if now != self.now:
            self.now = now
            connection.execute(command("DEL", "clock"))
            connection.execute(command("RPUSH", "clock", now // 1000, now % 1000 * 1000))

    def close(self) -> None:
        self._client.close()


@contextlib.contextmanager
def settable_clock(server: RedisServer) -> Iterator[Clock]:
    """For stores that are opened within the block."""

    def read(name: str) -> bytes:
        text = _READ(name)
        if name == "common":
            assert text.count(b'call("TIME")') == 1
            text = text.replace(b'call("TIME")', b'call("LRANGE", "clock", 0, 1)')
        return text

    clock = Clock(server)
    scripts._read = read
    _forget()
    try:
        yield clock
    finally:
        scripts._read = _READ
        _forget()
        clock.close()


def _forget() -> None:
    scripts.source.cache_clear()
    scripts.digest.cache_clear()
