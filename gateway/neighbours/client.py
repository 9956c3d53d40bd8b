"""One call to one service: bounded in time as a whole, counted, and not made while the service is known to fail."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import orjson

from tollhouse._native import FAULT, READY, ResponseReader, __version__
from tollhouse.gateway.neighbours.away import Away, Rejected
from tollhouse.providers.breaker import CLOSED, OPEN, Breaker
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.errors import UpstreamBusy, UpstreamError, UpstreamTimeout
from tollhouse.providers.factory import tls_context
from tollhouse.providers.health import is_alive
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import Origin, StaleConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.metrics import NeighbourMetrics
    from tollhouse.providers.deadlines import Deadlines

T = TypeVar("T")
MAX_ANSWER = 4 * 1024 * 1024  # bytes
MAX_IN_FLIGHT = 64
_WINDOW_S = 30.0  # of the breaker
_PORTS = {"http": 80, "https": 443}
_HEADER_VALUE = re.compile(rb"[\x20-\x7e]*").fullmatch
logger = logging.getLogger("tollhouse.neighbours")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status was expected. headers: names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> object:
        """Raises ValueError."""
        return orjson.loads(self.body)


class Client:
    """Of one service; everything it is asked goes to the one origin that is configured.

    on_change: told of the service and of its breaker's state, when that becomes OPEN, or CLOSED again.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        deadlines: Deadlines,
        metrics: NeighbourMetrics,
        on_change: Callable[[str, int], None] | None = None,
    ) -> None:
        self.name = settings.name
        self.timeout_s = settings.timeout_s
        self.breaker = Breaker(allowed_fails=settings.failures, window_s=_WINDOW_S, cooldown_s=settings.cooldown_s)
        self._metrics = metrics
        self._on_change = on_change
        self._was = CLOSED
        metrics.watch(self.name, self.breaker)
        total = settings.timeout_s
        # Ours is the exact clock; those of the transport tick and come after it.
        self._timeouts = Timeouts(total, total + 1.0, total + 1.0, total + 1.0, 0.0)
        self._origin: Origin | None = None
        if settings.url is None:
            return
        url = urlsplit(settings.url)
        host = url.hostname or ""
        port = url.port or _PORTS[url.scheme]
        self._origin = Origin(
            name=f"the {self.name.replace('_', ' ')} service",
            host=host,
            port=port,
            tls=tls_context if url.scheme == "https" else None,
            deadlines=deadlines,
            max_in_flight=MAX_IN_FLIGHT,
            queue_wait_s=total,
        )
        self._base = url.path.rstrip("/")
        shown = f"[{host}]" if ":" in host else host
        shown = shown if url.port is None else f"{shown}:{port}"
        credential = "" if settings.token is None else f"authorization: Bearer {settings.token.reveal()}\r\n"
        self._fields = (
            f"host: {shown}\r\n{credential}user-agent: tollhouse/{__version__}\r\n"
            "accept: application/json\r\naccept-encoding: identity\r\n"
        ).encode("ascii")

    @property
    def is_set(self) -> bool:
        """Whether anybody has said where the service is."""
        return self._origin is not None

    async def ask(
        self,
        method: str,
        path: str,
        read: Callable[[Reply], T],
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Collection[tuple[str, str]] = (),
        expected: Collection[int] = (200,),
    ) -> T:
        """What `read` makes of an answer with one of the expected statuses.

        read: raises ValueError, KeyError or TypeError for what is malformed. path: below that of the configured URL.
        Raises Away within the service's timeout, and Rejected for another 4xx.
        """
        now = monotonic()
        breaker = self.breaker
        if self._origin is None:
            raise self._refused("unset")
        if not breaker.admits(now):
            raise self._refused("breaker")
        probe = breaker.enter(now)
        outcome = "cancelled"
        try:
            reply = await self._exchange(method, self._base + path, body, content_type, headers)
            if reply.status not in expected:
                raise self._unexpected(reply.status)
            try:
                found = read(reply)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise Away(self.name, "malformed") from None
        except Away as away:
            outcome = away.cause
            raise
        else:
            outcome = "ok"
            return found
        finally:
            self._note(outcome, probe=probe, seconds=monotonic() - now)

    async def is_alive(self, path: str = "/health") -> bool:
        """Whether it answers at all, apart from what it is for. The breaker is neither asked nor told."""
        if self._origin is None:
            return False
        try:
            reply = await self._exchange("GET", self._base + path, None, "", ())
        except Away:
            return False
        return is_alive(reply.status)

    def close(self) -> None:
        if self._origin is not None:
            self._origin.close()

    def _refused(self, cause: str) -> Away:
        self._metrics.refused(self.name, cause)
        return Away(self.name, cause)

    def _unexpected(self, status: int) -> Away:
        # Of a 4xx the request is the cause; 401 and 403 are about the gateway itself, 408 and 429 pass.
        if 400 <= status < 500 and status not in {401, 403, 408, 429}:
            return Rejected(self.name, status)
        return Away(self.name, "status", status)

    def _note(self, outcome: str, *, probe: int, seconds: float) -> None:
        self._metrics.called(self.name, outcome, seconds)
        breaker, now = self.breaker, monotonic()
        if outcome in {"ok", "rejected"}:
            breaker.succeed(now)
        elif outcome in {"cancelled", "busy"}:  # says nothing of the service
            if probe:
                breaker.leave(probe)
        else:
            breaker.fail(now, outcome)
        state = breaker.state(now)
        if state != self._was and state in {OPEN, CLOSED}:
            self._was = state
            if state == OPEN:
                logger.warning("the %s service is left alone for a while: %s", self.name, breaker.cause)
            else:
                logger.info("the %s service answers again", self.name)
            if self._on_change is not None:
                self._on_change(self.name, state)

    async def _exchange(
        self, method: str, path: str, body: bytes | None, content_type: str, headers: Collection[tuple[str, str]]
    ) -> Reply:
        lines = [f"{method} {path} HTTP/1.1\r\n".encode("ascii"), self._fields]
        for name, value in headers:
            if _HEADER_VALUE(value.encode("latin-1", "replace")) is None:
                raise Away(self.name, "malformed")
            lines.append(f"{name}: {value}\r\n".encode("latin-1"))
        if body is not None:
            lines.append(f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n".encode("ascii"))
        head = b"".join([*lines, b"\r\n"])
        try:
            async with asyncio.timeout(self.timeout_s):
                try:
                    return await self._once(head, body or b"")
                except StaleConnection:
                    return await self._once(head, body or b"")
        except TimeoutError:
            cause = "timeout"
        except UpstreamTimeout:
            cause = "timeout"
        except UpstreamBusy:
            cause = "busy"
        except UpstreamError as error:
            cause = "unreachable" if error.code in {"upstream_unreachable", "upstream_address_denied"} else "malformed"
        raise Away(self.name, cause)

    async def _once(self, head: bytes, body: bytes) -> Reply:
        origin = self._origin
        assert origin is not None
        reader = ResponseReader("raw", max_body=MAX_ANSWER)
        call = Call(reader, self._timeouts)
        try:
            opening = origin.start(call, head, body, stream=False)
            if opening is not None:
                await opening
            parts = []
            loop = asyncio.get_running_loop()
            while not call.flags & SETTLED:
                await call.wait(READY | SETTLED, loop)
                if call.flags & READY:
                    parts.append(call.take())
            if call.flags & FAULT:
                raise call.cause()
            parts.append(call.take())
            return Reply(reader.status, dict(reader.headers), b"".join(parts))
        finally:
            call.close()
