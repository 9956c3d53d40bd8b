"""The body of a request that is passed through: read under caps, parsed, decided on by policy, scanned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse.gateway.passthrough.payload import Nothing, Payload, payload_of
from tollhouse.middlewares.body import BodyStage
from tollhouse.middlewares.guard import LONG

if TYPE_CHECKING:
    from tollhouse.config.settings import BodyLimits
    from tollhouse.gateway.passthrough.table import Passage
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import Guard
    from tollhouse.middlewares.policy import PolicyStage


class Uploads(BodyStage):
    """Bodies that are no conversation may be files, so they have a cap of their own."""

    def __init__(self, limits: BodyLimits, guard: Guard | None, policy: PolicyStage | None) -> None:
        super().__init__(
            max_bytes=limits.max_upload_bytes,
            read_timeout_s=limits.read_timeout_s,
            min_bytes_per_s=limits.min_bytes_per_s,
        )
        self._limits = limits
        self._guard = guard
        self._policy = policy

    async def payload(self, passage: Passage, exchange: Exchange) -> Payload:
        """What may go on of the body. Raises Refusal."""
        if not passage.has_body:
            self._decide(passage, exchange, None)
            guard = exchange.guard or self._guard
            if guard is not None:
                guard.arm(exchange)
            return Nothing()
        await self._read(exchange, "")
        body, exchange.body = exchange.body, b""
        if len(body) <= LONG:
            return self._checked(passage, exchange, body)
        return await asyncio.get_running_loop().run_in_executor(None, self._checked, passage, exchange, body)

    def _accept(self, exchange: Exchange, kind: str, body: bytes) -> None:
        exchange.body = body

    def _checked(self, passage: Passage, exchange: Exchange, body: bytes) -> Payload:
        payload = payload_of(body, exchange.headers.get(b"content-type", b""), self._limits)
        self._decide(passage, exchange, payload.model)
        guard = exchange.guard or self._guard
        if guard is not None:
            payload.scan(lambda given: guard.check_json(exchange, given))
        return payload

    def _decide(self, passage: Passage, exchange: Exchange, model: str | None) -> None:
        """As the chain does where a body is a conversation."""
        if self._policy is not None:
            self._policy.decide(exchange, passage.path, model or passage.default_model)
