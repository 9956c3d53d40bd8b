"""Tokens of a prompt counted here, for upstreams that offer no count of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader
from tollhouse.providers.call import Call

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.timeouts import Timeouts

AT_ONCE = 16 * 1024  # bytes of a body that is counted in the event loop's thread: a few ms at most
ENCODING = "o200k_base"  # of models whose own nobody publishes; near enough for an estimate, which is what a count is


def counted(ask: Ask, timeouts: Timeouts, *, encoding: str | None = None) -> Call:
    """An answer to `count_tokens`: text by the model's encoding where it is known; images and sound are not counted."""
    call = Call(ResponseReader("raw"), timeouts)
    name = encoding or ENCODING
    if len(ask.view.body) <= AT_ONCE:
        _tell(call, ask.view.prompt_tokens(name))
    else:
        call.opening = _count(call, ask, name)
    return call


async def _count(call: Call, ask: Ask, encoding: str) -> None:
    _tell(call, await asyncio.to_thread(ask.view.prompt_tokens, encoding))


def _tell(call: Call, tokens: int) -> None:
    body = b'{"input_tokens":%d}' % tokens
    head = b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    call.raise_flags(call.reader.feed(head + body))
