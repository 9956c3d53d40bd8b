"""Embeddings of models that take less at a time than a caller may ask for: several calls, told as one.

The first call goes alone: a refusal (of the credentials, of the model) is then all that has happened, and is told as it
is. What fails after others were answered is an error for which the whole request may be billed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from tollhouse._native import FAULT, RequestError, ResponseReader, embedding_answer, embedding_calls
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.errors import UpstreamCannot, UpstreamError, UpstreamProtocolError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.timeouts import Timeouts

logger = logging.getLogger("tollhouse.providers")
AT_ONCE = 8  # calls of one request
_AT_ONCE_BYTES = 64 * 1024  # of answers that are put together in the event loop's thread
_MOST = 64 * 1024 * 1024  # bytes of all answers
_COUNT = b"x-amzn-bedrock-input-token-count"
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

Send = Callable[[bytes], Call]
Part = tuple[bytes, int, int | None]  # an answer, its texts, its tokens where the head tells them


def not_embedding(provider: str) -> UpstreamCannot:
    msg = f"this model of {provider} is not served at /v1/embeddings"
    return UpstreamCannot(msg, code="unsupported_endpoint", param="model")


def embedded(ask: Ask, dialect: str, send: Send, timeouts: Timeouts) -> Call:
    """A call whose answer is OpenAI's. send: starts one to the model. Raises UpstreamCannot (for tokens, say)."""
    try:
        bodies, is_base64, warnings = embedding_calls(ask.view, dialect)
    except RequestError as error:
        raise UpstreamCannot(error.message, code=error.code, param=error.param) from None
    call = Call(ResponseReader("completions"), timeouts)
    call.warnings = tuple(warnings)
    joint = _Joint(call, bodies, send)
    call.on_abort = joint.abort
    call.opening = joint.open(lambda parts: embedding_answer(parts, dialect, model=ask.model, base64=is_base64))
    return call


class _Joint:
    def __init__(self, call: Call, bodies: list[tuple[bytes, int]], send: Send) -> None:
        self._call = call
        self._bodies = bodies
        self._send = send
        self._open: set[Call] = set()
        self._parts: dict[int, Part] = {}
        self._size = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self, join: Callable[[list[Part]], bytes]) -> None:
        """Until the first call is sent: if it cannot be, nobody has to be paid."""
        first = self._started(0)
        try:
            if first.opening is not None:
                await first.opening
        except BaseException:
            self.abort()
            raise
        if self._call.flags & SETTLED:
            return
        self._call.hidden = first.hidden
        self._task = asyncio.get_running_loop().create_task(self._run(first, join))

    def abort(self) -> None:
        """Nobody waits any more."""
        if self._task is not None:
            self._task.cancel()
        while self._open:  # fail: one that is still being opened must not be sent
            self._open.pop().fail(UpstreamError("nobody waits for the answer any more"))

    def _started(self, index: int) -> Call:
        call = self._send(self._bodies[index][0])
        self._open.add(call)
        return call

    async def _run(self, first: Call, join: Callable[[list[Part]], bytes]) -> None:
        call, total_s = self._call, self._call.timeouts.total_s
        error: UpstreamError | None = None
        try:
            async with asyncio.timeout(total_s):
                await self._settled(first)
                if first.reader.status != 200:
                    _feed(call, first.reader, first.take())
                    return
                self._keep(0, first)
                rest = iter(range(1, len(self._bodies)))
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(AT_ONCE, len(self._bodies) - 1)):
                        group.create_task(self._work(rest))
                parts = [self._parts[index] for index in range(len(self._bodies))]
                body = join(parts) if self._size <= _AT_ONCE_BYTES else await asyncio.to_thread(join, parts)
                _feed(call, first.reader, body)
        except TimeoutError:
            error = UpstreamTimeout(f"the embeddings were not complete within {total_s:g} s")
        except ValueError:
            error = UpstreamProtocolError("the upstream's answer is not one of embeddings")
        except UpstreamError as single:
            error = single
        except ExceptionGroup as several:
            found = several.exceptions[0]
            error = found if isinstance(found, UpstreamError) else UpstreamProtocolError("a part of the answer is lost")
        except Exception as unforeseen:  # noqa: BLE001 - somebody waits for it
            logger.error("unexpected %s while embeddings were put together", type(unforeseen).__name__)  # noqa: TRY400
            error = UpstreamProtocolError("the answers could not be put together")
        while self._open:  # of what has failed
            self._open.pop().close()
        if error is not None:
            call.on_abort = None
            call.fail(error)

    async def _work(self, rest: Iterator[int]) -> None:
        for index in rest:
            call = self._started(index)
            if call.opening is not None:
                await call.opening
            await self._settled(call)
            status = call.reader.status
            if status != 200:
                msg = f"the upstream refused a part of the texts ({status})"
                raise UpstreamError(msg, status=status if status == 429 else None)
            self._keep(index, call)

    async def _settled(self, call: Call) -> None:
        await call.wait(SETTLED, asyncio.get_running_loop())
        self._open.discard(call)
        if call.flags & FAULT:
            raise call.cause()

    def _keep(self, index: int, call: Call) -> None:
        told = next((value for _, value in call.reader.pick([_COUNT])), b"")
        body = call.take()
        self._size += len(body)
        if self._size > _MOST:
            msg = f"the upstream's answers are larger than {_MOST} bytes"
            raise UpstreamProtocolError(msg, code="upstream_too_large")
        self._parts[index] = body, self._bodies[index][1], int(told) if told.isdigit() else None


def _feed(call: Call, like: ResponseReader, body: bytes) -> None:
    """The answer as if it had come by itself, with the head of another one."""
    if call.flags & SETTLED:
        return
    lines = [b"%b: %b\r\n" % (name, value) for name, value in like.headers if name not in _FRAMING]
    head = b"HTTP/1.1 %d \r\n%bcontent-length: %d\r\n\r\n" % (like.status, b"".join(lines), len(body))
    call.on_abort = None
    call.raise_flags(call.reader.feed(head + body))
