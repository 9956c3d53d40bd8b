"""Answers that are used again: one call for all who want the same, a bound on how old, another while a service fails.

An answer's age counts from when it was asked for, so a slow service makes no answer younger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from tollhouse.gateway.neighbours.away import Away

if TYPE_CHECKING:
    from asyncio import Task

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MOST = 10_000


class Tally:
    """Plain numbers, read when somebody looks."""

    __slots__ = ("hits", "misses", "stale")

    def __init__(self) -> None:
        self.hits = self.misses = self.stale = 0


class Cache(Generic[K, V]):
    """By key; the oldest are let go of beyond `most`.

    negative_ttl_s: for values that `is_negative`; they have a room of their own, so that a flood of nonsense drives out
    nothing else. They are never used beyond their time.
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        stale_s: float,
        negative_ttl_s: float = 1.0,
        is_negative: Callable[[V], bool] = lambda value: value is None,
        most: int = MOST,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ttl_s = ttl_s
        self._stale_s = max(stale_s, ttl_s)
        self._negative_ttl_s = negative_ttl_s
        self._is_negative = is_negative
        self._most = most
        self._clock = clock
        self._known: dict[K, tuple[float, V]] = {}  # asked at, value
        self._refused: dict[K, tuple[float, V]] = {}
        self._flights: dict[K, Task[V]] = {}
        self.tally = Tally()

    def fresh(self, key: K) -> tuple[V] | None:
        """The value, in a tuple of its own as it may be None; None: it has to be asked for."""
        found, ttl_s = self._known.get(key), self._ttl_s
        if found is None:
            found, ttl_s = self._refused.get(key), self._negative_ttl_s
        if found is None or self._clock() - found[0] >= ttl_s:
            return None
        self.tally.hits += 1
        return (found[1],)

    def peek(self, key: K) -> V | None:
        """The last good value, however old."""
        found = self._known.get(key)
        return None if found is None else found[1]

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """A fresh value, else what `ask` answers, else one that is not too old. Raises Away."""
        found = self.fresh(key)
        if found is not None:
            return found[0]
        flight = self._flights.get(key)
        if flight is None:
            self.tally.misses += 1
            flight = self._flights[key] = asyncio.get_running_loop().create_task(self._fly(key, ask))
            flight.add_done_callback(_seen)
        try:
            # Others wait for the same: that one of them goes must not end it.
            return await asyncio.shield(flight)
        except Away:
            kept = self._known.get(key)
            if kept is None or self._clock() - kept[0] >= self._stale_s:
                raise
            self.tally.stale += 1
            return kept[1]

    async def _fly(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        asked_at = self._clock()
        try:
            value = await ask()
        finally:
            del self._flights[key]
        self._known.pop(key, None)
        self._refused.pop(key, None)
        room = self._refused if self._is_negative(value) else self._known
        room[key] = asked_at, value
        if len(room) > self._most:
            del room[next(iter(room))]
        return value

    def clear(self) -> None:
        self._known.clear()
        self._refused.clear()

    def close(self) -> None:
        """End what is under way."""
        for flight in tuple(self._flights.values()):
            flight.cancel()


def _seen(task: Task[V]) -> None:
    """Nobody may be waiting any more."""
    if not task.cancelled():
        task.exception()
