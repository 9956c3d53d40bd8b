"""A provider's answer on its way out: JSON as a whole, events and sound as they come."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse._native import END, FAULT, READY
from tollhouse.gateway.errors import normalise, upstream_status
from tollhouse.gateway.sinks import PING
from tollhouse.middlewares.guard import AnswerStopped
from tollhouse.middlewares.media import Media
from tollhouse.middlewares.quota_errors import usd
from tollhouse.providers.call import CHUNK, HIDDEN, SETTLED
from tollhouse.providers.errors import UpstreamProtocolError

if TYPE_CHECKING:
    from tollhouse.gateway.passthrough.handler import PassThrough
    from tollhouse.gateway.passthrough.routing import Way
    from tollhouse.gateway.passthrough.table import Passage
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import AnswerStream
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.call import Call
    from tollhouse.providers.router import Target

MOST_TEXT = 64 * 1024 * 1024  # bytes of an answer that has to be scanned as a whole
_RETURNED = (
    b"content-type",
    b"content-disposition",
    b"retry-after",
    b"retry-after-ms",
    b"openai-processing-ms",
    b"openai-version",
)
_JSON = (b"content-type", b"application/json")
_EVENT_STREAM: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_FIRST = READY | END | FAULT
# Ids of what else a batch has the provider keep.
_MADE_BY_BATCH = ("output_file_id", "error_file_id")


class Answering:
    """Of one request, by one target."""

    def __init__(
        self, owner: PassThrough, passage: Passage, exchange: Exchange, way: Way, target: Target, call: Call
    ) -> None:
        self._owner = owner
        self._passage = passage
        self._exchange = exchange
        self._way = way
        self._target = target
        self._call = call
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Raises Refusal or UpstreamError if nothing has been sent yet."""
        reader = self._call.reader
        media = _media(reader.pick((b"content-type",)))
        if not 200 <= reader.status < 300:
            await self._error()
        elif reader.is_event_stream:
            await self._stream()
        elif media.is_json:
            await self._json()
        elif self._exchange.answer_guard is not None and media.name.startswith("text/"):
            await self._text(media)
        else:
            await self._bytes()

    async def _error(self) -> None:
        exchange, target, reader = self._exchange, self._target, self._call.reader
        body = await self._whole()
        self._owner.count(exchange, target, f"http_{reader.status}")
        exchange.error_code = f"http_{reader.status}"
        if self._call.hidden:
            body = body.replace(self._call.hidden, HIDDEN)
        body = normalise(reader.status, body, target.provider)
        if exchange.answer_guard is not None:
            body = await exchange.answer_guard.checked(exchange, body)
        headers = [_JSON, *(header for header in reader.pick(_RETURNED) if header[0] != b"content-type")]
        await exchange.respond(upstream_status(reader.status), self._headers(headers), body)

    async def _json(self) -> None:
        exchange, reader = self._exchange, self._call.reader
        body = await self._whole()
        if self._passage.keeps:
            body = await self._owned(body)
        if exchange.answer_guard is not None:
            body = await exchange.answer_guard.checked(exchange, body)
        exchange.usage = reader.usage
        headers = self._headers(reader.pick(_RETURNED))
        outcome = exchange.outcome
        cost = reader.cost(outcome.price) if outcome is not None and outcome.price is not None else None
        if cost is not None:
            headers.append((b"x-gateway-cost-usd", usd(cost).encode()))
        await exchange.respond(reader.status, headers, body)

    async def _text(self, media: Media) -> None:
        """A transcript, say: scanned as a whole, so held until it is complete."""
        exchange, reader = self._exchange, self._call.reader
        guard = exchange.answer_guard
        assert guard is not None
        text = media.decode(await self._whole())
        passed = orjson.loads(await guard.checked(exchange, orjson.dumps(text)))
        await exchange.respond(reader.status, self._headers(reader.pick(_RETURNED)), media.encode(passed))

    async def _bytes(self) -> None:
        """Sound, images, files: as they come, never looked into."""
        exchange, call = self._exchange, self._call
        await exchange.start(call.reader.status, self._headers(call.reader.pick(_RETURNED)))
        last = await self._pass_on(None)
        if call.flags & FAULT:
            # There is no other way to tell: what was promised does not come, and the connection ends before it should.
            error = call.cause()
            exchange.error_code = error.code
            self._owner.count(exchange, self._target, error.code)
            return
        await exchange.raw_send({"type": "http.response.body", "body": last, "more_body": False})

    async def _stream(self) -> None:
        exchange, call = self._exchange, self._call
        reader = call.reader
        exchange.stream = True
        guard = exchange.answer_guard
        stream = guard.stream(exchange) if guard is not None else None
        await exchange.start(200, [*self._headers(reader.pick(_RETURNED)), *_EVENT_STREAM])
        try:
            last = await self._pass_on(stream)
            if call.flags & FAULT:
                error = call.cause()
                exchange.error_code = error.code
                self._owner.count(exchange, self._target, error.code)
                message = error.message if guard is None else guard.text(error.message)
                last += reader.fault_event(message, error.code)
        except AnswerStopped as stop:
            call.close()
            last = stop.last
        finally:
            if stream is not None:
                stream.close()
        exchange.usage = reader.usage
        await exchange.raw_send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pass_on(self, stream: AnswerStream | None) -> bytes:
        """Send chunks as they come; returns what is to be sent last."""
        exchange, call = self._exchange, self._call
        while True:
            chunk = call.take(CHUNK)
            if call.flags & SETTLED and not call.flags & READY:
                return chunk if stream is None else stream.feed(chunk, end=True)
            if stream is not None and chunk:
                chunk = stream.feed(chunk)
            if chunk:
                await exchange.raw_send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not call.flags & _FIRST and not await call.wait(_FIRST, self._loop) and exchange.stream:
                await exchange.raw_send({"type": "http.response.body", "body": PING, "more_body": True})

    async def _whole(self) -> bytes:
        call = self._call
        pieces: list[bytes] = []
        size = 0
        while True:
            pieces.append(call.take())
            size += len(pieces[-1])
            if size > MOST_TEXT:
                msg = f"the upstream's answer is larger than {MOST_TEXT} bytes"
                raise UpstreamProtocolError(msg, code="upstream_too_large")
            if call.flags & FAULT:
                raise call.cause()
            if call.flags & END:
                return b"".join(pieces)
            await call.wait(_FIRST, self._loop)

    async def _owned(self, body: bytes) -> bytes:
        """Whose is what this answer tells of: noted for what is new, left out where it is somebody else's."""
        given: Any = orjson.loads(body)
        if not isinstance(given, dict):
            return body
        passage, principal = self._passage, self._exchange.principal
        assert principal is not None
        if isinstance(given.get("data"), list):
            if principal.admin:
                return body
            entries = [entry for entry in given["data"] if isinstance(entry, dict)]
            mine = await self._owner.owners.owned([str(entry.get("id")) for entry in entries], principal.id)
            given["data"] = [entry for entry in entries if entry.get("id") in mine]
            for entry in given["data"]:
                await self._note(entry)
            return orjson.dumps(given)
        if passage.method == "DELETE":
            await self._owner.owners.forget(str(given.get("id")))
        else:
            await self._note(given)
        return body

    async def _note(self, entry: dict[str, Any]) -> None:
        ids = [entry[name] for name in ("id", *_MADE_BY_BATCH) if isinstance(entry.get(name), str)]
        await self._owner.owners.add(ids, self._target.provider, self._way.owner)

    def _headers(self, received: Headers) -> Headers:
        exchange = self._exchange
        exchange.overhead_ns = overhead = perf_counter_ns() - exchange.started_ns - exchange.upstream_ns
        return [
            *received,
            *self._owner.headers,
            (b"x-gateway-decision", exchange.decision),
            (b"x-gateway-provider", self._target.provider.encode()),
            (b"x-gateway-overhead-us", b"%d" % (overhead // 1000)),
        ]


def _media(content_type: list[tuple[bytes, bytes]]) -> Media:
    """Of an answer; a charset that nobody knows is no reason to refuse sound."""
    value = content_type[-1][1].partition(b";")[0].strip() if content_type else b""
    return Media(value.decode("latin-1").lower())
