"""Both ends of connections without sockets."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.transport import Connection, Origin


class Nowhere(asyncio.Transport):
    """Takes what is written and forgets it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None: ...

    def writelines(self, list_of_data: Any) -> None: ...


class Place(NamedTuple):
    """An origin, and the one connection that it has."""

    origin: Origin
    connection: Connection


def origin() -> Place:
    """One that is connected, and whose calls never grow old."""
    made = Origin(name="openai", host="127.0.0.1", port=9, tls=None, deadlines=Deadlines())
    connection = Connection(made)
    connection.connection_made(Nowhere())
    connection.idle_since = float("inf")
    made.keep(connection)
    return Place(made, connection)
