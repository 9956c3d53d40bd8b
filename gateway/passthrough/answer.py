"""A provider's answer on its way out: JSON as a whole, events and sound as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tollhouse._native import FAULT
from tollhouse.gateway.answer import RETURNED, Answer
from tollhouse.middlewares.media import Media
from tollhouse.providers.errors import UpstreamProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.gateway.passthrough.routing import Passed
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.errors import UpstreamError

_RETURNED = (*RETURNED, b"content-disposition")
# Ids of what else a batch has the provider keep.
_MADE_BY_BATCH = ("output_file_id", "error_file_id")


class PassedAnswer(Answer):
    """Of one attempt at what is no conversation."""

    __slots__ = ()

    def send(self) -> Awaitable[None]:
        """All of it; raises Refusal or UpstreamError if nothing has been sent yet."""
        self._exchange.provider = self._attempt.target.provider
        body = self._attempt.body
        if body is not None:
            return self._held(body)
        return self._stream() if self._call.reader.is_event_stream else self._bytes()

    async def _held(self, body: bytes) -> None:
        exchange, reader = self._exchange, self._call.reader
        passed: Passed = exchange.passed
        guard = exchange.answer_guard
        media = media_of(reader.pick((b"content-type",)))
        if not 200 <= reader.status < 300:
            if reader.status == 404 and passed.way.name is not None:
                await passed.owners.gone(passed.way.name)
            await self._whole(body)
        elif media.is_json:
            await self._whole(await self._owned(passed, body) if passed.passage.keeps else body)
        else:
            # A transcript, say: scanned as a whole, so held until it is complete.
            assert guard is not None
            text = orjson.loads(await guard.checked(exchange, orjson.dumps(media.decode(body))))
            await exchange.respond(reader.status, self._headers(reader.pick(_RETURNED)), media.encode(text))

    async def _bytes(self) -> None:
        """Sound, images, files: as they come, never looked into."""
        exchange, call = self._exchange, self._call
        await exchange.start(call.reader.status, self._headers(call.reader.pick(_RETURNED)))
        last = await self._pass_on(None)
        if call.flags & FAULT:
            # There is no other way to tell: what was promised does not come, and the connection ends before it should.
            return
        await exchange.raw_send({"type": "http.response.body", "body": last, "more_body": False})

    async def _stream(self) -> None:
        self._exchange.stream = True
        await super()._stream()

    def _broken_off(self, error: UpstreamError) -> bytes:
        event = super()._broken_off(error)
        return event if self._call.reader.is_event_stream else b""

    async def _owned(self, passed: Passed, body: bytes) -> bytes:
        """Whose is what this answer tells of: noted for what is new, left out where it is somebody else's."""
        try:
            given: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            msg = "the upstream's answer is not JSON"
            raise UpstreamProtocolError(msg, code="upstream_protocol") from None
        if not isinstance(given, dict):
            return body
        passage, owners, principal = passed.passage, passed.owners, self._exchange.principal
        assert principal is not None
        if isinstance(given.get("data"), list):
            if principal.admin:
                return body
            entries = [entry for entry in given["data"] if isinstance(entry, dict)]
            mine = await owners.owned([str(entry.get("id")) for entry in entries], principal.id)
            given["data"] = [entry for entry in entries if entry.get("id") in mine]
            await self._note(passed, given["data"])
            return orjson.dumps(given)
        if passage.method == "DELETE":
            await owners.forget(str(given.get("id")))
        else:
            await self._note(passed, [given])
        return body

    async def _note(self, passed: Passed, entries: list[dict[str, Any]]) -> None:
        named = [entry.get(name) for entry in entries for name in ("id", *_MADE_BY_BATCH)]
        ids = [name for name in named if isinstance(name, str)]
        await passed.owners.add(ids, self._attempt.target.provider, passed.way.owner)

    def _headers(self, received: Headers) -> Headers:
        headers = super()._headers(received)
        if self._exchange.passed.passage.keeps:  # there is no model
            return [header for header in headers if header[0] != b"x-gateway-model"]
        return headers


def media_of(content_type: Headers) -> Media:
    """Of an answer; a charset that nobody knows is no reason to refuse sound."""
    value = content_type[-1][1].partition(b";")[0].strip() if content_type else b""
    return Media(value.decode("latin-1").lower())
