"""Clients that read slowly or not at all: memory stays bounded, the upstream waits, and not a byte is lost."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.support.chunks import DONE, finish
from tests.support.client import Stream, chat_body, post, stream_chat
from tests.support.hostile import bulk_event
from tests.support.net import wait_until

if TYPE_CHECKING:
    from tests.support.gateway import Gateway
    from tests.support.upstream import ScriptedUpstream, Seen

MIB = 1024 * 1024
STALLED = 20
# What one read brings (up to 256 KiB under uvloop) waits in a few places between the two sockets: ready, being sent,
# in the server's queue and in its write buffer. Bounded, and the same however long the stall takes.
PER_READER = 3 * MIB
# The first 160 MiB that pass still shape the heap: 3 to 6 MiB more, by how the pieces of twenty streams happen to lie
# in it. Later ones add 0 to 2.4 each, and in the end nothing.
SLOPE = 6 * MIB
# More than the kernel's buffers of two connections can hold.
BULK_EVENTS = 32 * 1024
QUIET_S = 0.3


def test_stalled_readers_cost_bounded_memory(any_gateway: Gateway, upstream: ScriptedUpstream) -> None:
    with _stalled(any_gateway, "hostile/endless-stream"):
        pass  # pays for what is allocated once
    any_gateway.wait_idle()
    before = any_gateway.rss
    earlier = len(upstream.log.of("endless-stream"))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_stalled(any_gateway, "hostile/endless-stream")) for _ in range(STALLED)]
        seen = upstream.log.of("endless-stream")[earlier:]
        assert len(seen) == STALLED
        _wait_until_paused(seen)
        grown = any_gateway.rss - before
        print(f"{any_gateway.server}: {grown / MIB:.1f} MiB for {STALLED} stalled readers")
        assert grown < STALLED * PER_READER
        assert post(any_gateway, chat_body("hostile/fine")).status == 200, "the others are served all the same"

        _read_on(streams, seen)
        settled = any_gateway.rss - before
        _read_on(streams, seen)
        grown = any_gateway.rss - before
        print(f"{any_gateway.server}: {settled / MIB:.1f} MiB after one read, {grown / MIB:.1f} MiB after two")
        assert grown < STALLED * PER_READER
        assert grown < settled + SLOPE, "160 MiB later it is still as much"
    wait_until(lambda: all(one.closed_at for one in seen), what="the upstreams are let go")
    any_gateway.wait_idle()


def test_stream_is_whole_after_a_stall(any_gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = f"bulk@{BULK_EVENTS}-{any_gateway.server}"
    with _stalled(any_gateway, f"hostile/{model}") as stream:
        (seen,) = upstream.log.of(model)
        _wait_until_paused([seen])
        assert not seen.answered, "the upstream must still have something to say"
        got = stream.read()
    expected = b"".join(map(bulk_event, range(BULK_EVENTS))) + finish() + DONE
    assert len(got) == len(expected)
    assert got == expected, "byte for byte"


def _stalled(gateway: Gateway, model: str) -> Stream:
    """A stream whose client reads the head and then nothing."""
    return stream_chat(gateway, model, receive_buffer=4096)


def _wait_until_paused(seen: list[Seen]) -> None:
    """Until no upstream could send anything for a while."""
    sent: list[int] = []
    since = time.monotonic()

    def is_paused() -> bool:
        nonlocal sent, since
        now = [one.sent for one in seen]
        if now != sent:
            sent, since = now, time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait_until(is_paused, what="the upstreams are paused", every_s=0.02)


def _read_on(streams: list[Stream], seen: list[Seen]) -> None:
    """Take 8 MiB of each stream and stall again."""
    paused_at = [one.sent for one in seen]
    for stream in streams:
        _read(stream, 8 * MIB)
    assert all(one.sent > at for one, at in zip(seen, paused_at, strict=True)), "reading goes on"
    _wait_until_paused(seen)


def _read(stream: Stream, size: int) -> None:
    while size > 0:
        piece = stream.response.read1(65536)  # unwatched: that takes longer than sending 320 MiB
        assert piece
        size -= len(piece)
