"""Credentials that end: fetched when first wanted, renewed beside requests, kept until they end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tollhouse.providers.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

RENEW_AT = 0.75  # of a credential's life: what is left is time to try again
MARGIN_S = 30.0  # a credential that ends while a request is on its way is none
PAUSE_S = 5.0  # after a renewal that has failed, while the present one holds
NO_CREDENTIALS = "upstream_auth"
logger = logging.getLogger("tollhouse.credentials")


@dataclass(frozen=True, slots=True)
class Lease(Generic[T]):
    """A credential, and how long it holds; None: until the process ends."""

    value: T
    seconds: float | None = None


class Source(Protocol[T]):
    """Where credentials come from. `name` is for errors and logs: "the instance's role"."""

    name: str

    def fetch(self) -> Awaitable[Lease[T]]:
        """A new one. Raises UpstreamError, without a secret in it."""


class Credentials(Protocol[T_co]):
    """What a request is authorised with, now."""

    def ready(self) -> T_co | None:
        """The credential, if there is one that still holds."""

    async def wait(self) -> T_co:
        """The credential once there is one. Raises UpstreamError if there will be none."""


class Fixed(Generic[T]):
    """A credential that was configured and never ends."""

    def __init__(self, value: T) -> None:
        self._value = value

    def ready(self) -> T | None:
        return self._value

    async def wait(self) -> T:
        return self._value


class Renewed(Generic[T]):
    """The present credential of a source, one fetch at a time. Who comes before there is one waits, nobody else."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source
        self._value: T | None = None
        self._renew_at = 0.0  # time.monotonic
        self._ends_at = 0.0
        self._fetching: asyncio.Task[T] | None = None

    def ready(self) -> T | None:
        now = monotonic()
        if now >= self._ends_at:
            return None
        if now >= self._renew_at:
            self._fetch()
        return self._value

    async def wait(self) -> T:
        # Others wait for the same: that one of them goes must not end it.
        return await asyncio.shield(self._fetch())

    def _fetch(self) -> asyncio.Task[T]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.get_running_loop().create_task(self._fetched())
            self._fetching.add_done_callback(_seen)
        return self._fetching

    def _told(self, error: Exception) -> UpstreamError:
        """Whoever could not be reached, it is of the source that an operator has to know."""
        if not isinstance(error, UpstreamError):
            return none_from(self._source.name, type(error).__name__)
        return error if error.code == NO_CREDENTIALS else none_from(self._source.name, error.message)

    async def _fetched(self) -> T:
        try:
            lease = await self._source.fetch()
        except Exception as error:  # noqa: BLE001 - a key that is none, a moment without a zone
            self._renew_at = monotonic() + PAUSE_S
            told = self._told(error)
            logger.warning("%s", told.message)
            raise told from None
        now = monotonic()
        self._value = lease.value
        seconds = float("inf") if lease.seconds is None else lease.seconds
        self._renew_at = now + seconds * RENEW_AT
        self._ends_at = now + seconds - MARGIN_S
        return lease.value


def _seen(task: asyncio.Task[T]) -> None:
    """Nobody may be waiting: the next request asks again."""
    if not task.cancelled():
        task.exception()


def none_from(name: str, why: object) -> UpstreamError:
    """There is no credential; why: a status or a word of the source's, never what it said."""
    return UpstreamError(f"the gateway got no credentials from {name} ({why})", code=NO_CREDENTIALS)


def seconds_until(moment: str) -> float:
    """From now until "2026-11-21T12:00:00Z". Raises ValueError."""
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


def sendable(value: str) -> str:
    """As it is, if it can stand in a header: who lends it must not write the rest of the request. Raises ValueError."""
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError
    return value
