"""The signed policy document: fetched in the background, handed to whoever checks it; the last good one stays."""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.gateway.neighbours.away import Away
from tollhouse.gateway.neighbours.tenancy import GUARD_HEADER, tenant_of
from tollhouse.middlewares.errors import Unavailable
from tollhouse.middlewares.guard import UNAVAILABLE
from tollhouse.middlewares.stage import Stage
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.client import Client, Reply
    from tollhouse.gateway.neighbours.policy_kept import KeptPolicy
    from tollhouse.middlewares.exchange import Exchange

_FIRST_RETRY_S, _LAST_RETRY_S = 0.25, 5.0
_JITTER = 0.1
logger = logging.getLogger("tollhouse.neighbours")


class PolicyFeed:
    """Asks every ttl_s. apply_policy: takes the document as it came, gives the version that it has put into effect, and
    raises ValueError for one that must not take effect. An empty one never reaches it. kept: where the last good one
    outlives the process.

    The policy is current once one was applied, and for stale_s after the service has confirmed it last.
    """

    def __init__(
        self,
        client: Client,
        settings: ServiceSettings,
        *,
        apply_policy: Callable[[bytes], Awaitable[str]],
        kept: KeptPolicy | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._apply_policy = apply_policy
        self._kept = kept
        self._is_kept = True  # or why not was said
        self.document = b""  # the last good one
        self.problem = ""  # why a later one was not applied
        self._tag = ""
        self._confirmed_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        return monotonic() - self._confirmed_at < self._settings.stale_s

    async def open(self) -> None:
        await self._restore()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        await ended(self._task)

    async def look(self) -> bool:
        """Ask once; whether the service has confirmed what is applied now."""
        asked_at = monotonic()
        headers, expected = [("if-none-match", self._tag)] if self._tag else [], (200, 304) if self._tag else (200,)
        try:
            found = await self._client.ask("GET", "/v1/policy", _document, headers=headers, expected=expected)
        except Away:
            return False
        if found is not None and found[0] != self.document and not await self._apply(*found):
            return False
        self._confirmed_at = asked_at
        await self._keep_document()
        return True

    async def _restore(self) -> None:
        """What was good before a restart, for as long as it would have been without."""
        if self._kept is None:
            return
        try:
            found = await asyncio.to_thread(self._kept.load)
        except OSError as error:
            logger.error("the kept policy cannot be read: %s", error.strerror)  # noqa: TRY400
            return
        if found is not None and await self._apply(found[0], "", whence="from before the restart"):
            self._confirmed_at = monotonic() - found[1]

    async def _keep_document(self) -> None:
        kept, document = self._kept, self.document
        if kept is None:
            return
        try:
            await asyncio.to_thread(kept.keep, document)
        except OSError as error:
            if self._is_kept:
                logger.error("the policy cannot be kept for a restart: %s", error.strerror)  # noqa: TRY400
            self._is_kept = False
        else:
            self._is_kept = True

    async def _apply(self, document: bytes, tag: str, *, whence: str = "from its service") -> bool:
        try:
            version = await self._apply_policy(document)
        except Exception as error:  # noqa: BLE001 - whatever it is, the last good one stays
            problem = str(error) if isinstance(error, ValueError) else type(error).__name__
            reason = getattr(error, "reason", "error")
            if problem != self.problem:
                self.problem = problem
                logger.error("the policy %s is not applied (%s): %s", whence, reason, problem)  # noqa: TRY400
            return False
        self.document, self._tag, self.problem = document, tag, ""
        logger.info("version %s of the policy, %s, decides from now on", version, whence)
        return True

    async def _keep(self) -> None:
        wait_s = _FIRST_RETRY_S
        while True:
            if await self.look():
                pause_s, wait_s = self._settings.ttl_s, _FIRST_RETRY_S
            else:
                pause_s, wait_s = min(wait_s, self._settings.ttl_s), min(2 * wait_s, _LAST_RETRY_S)
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - not in step with others


def _document(reply: Reply) -> tuple[bytes, str] | None:
    """The document and its tag; None: it is still the one that is known. Raises ValueError."""
    if reply.status == 304:
        return None
    if not reply.body.strip():
        raise ValueError
    return reply.body, reply.headers.get(b"etag", b"").decode("latin-1")


class PolicyGate(Stage):
    """Refuses what may reach a model while there is no current policy; open, it lets that pass and says so.

    went_on: told of each request that it has let pass like that.
    """

    def __init__(self, feed: PolicyFeed, *, is_closed: bool, went_on: Callable[[str], None]) -> None:
        self._feed = feed
        self.is_closed = is_closed
        self._went_on = went_on

    @property
    def is_shut(self) -> bool:
        return self.is_closed and not self._feed.is_current

    def enter(self, exchange: Exchange) -> None:
        if tenant_of(exchange, "") is None:
            return
        if self._feed.is_current:
            exchange.response_headers.append((GUARD_HEADER, b"policy-service;ran"))
            return
        if self.is_closed:
            msg = "there is no current policy to decide by"
            raise Unavailable(msg, code=UNAVAILABLE, retry=True, headers=[(b"retry-after", b"1")])
        self._went_on("policy")
        exchange.response_headers.append((GUARD_HEADER, b"policy-service;skipped=unavailable"))
