"""Scripts of upstreams that misbehave at the level of HTTP: in heads, lengths, encodings, connections and statuses.

Streams whose events are odd are in tests.support.sse_scripts.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import orjson

from tests.support.chunks import DONE, completion, delta, finish, usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.upstream import Peer, Script

MIB = 1024 * 1024
SCRIPTS: dict[str, Script] = {}


def script(name: str) -> Callable[[Script], Script]:
    def register(function: Script) -> Script:
        SCRIPTS[name] = function
        return function

    return register


@script("fine")
async def fine(peer: Peer) -> None:
    """A good answer, streamed when a stream was asked for (usage included then, as the gateway always asks)."""
    if not peer.seen.json.get("stream"):
        await peer.answer(completion())
        return
    await peer.stream_head()
    for piece in (delta("fi"), delta("ne"), finish(), usage(), DONE):
        await peer.chunk(piece)
    await peer.end()


@script("status")
async def status(peer: Peer) -> None:
    """`status@503`: that status with an OpenAI error body; 429 comes with Retry-After, 3xx with a Location."""
    code = int(peer.argument)
    lines = {429: ["retry-after: 7"], 302: ["location: http://169.254.169.254/"]}.get(code, [])
    fault = {"error": {"message": f"upstream says {code}", "type": "server_error", "param": None, "code": code}}
    await peer.answer(orjson.dumps(fault), *lines, status=f"{code} Whatever")


@script("flaky")
async def flaky(peer: Peer) -> None:
    """`flaky@2-tag`: as many times 500 as the number says, then fine."""
    failures = int(peer.argument.partition("-")[0])
    before = sum(1 for seen in peer.log.of(peer.seen.model)) - 1
    if before < failures:
        await peer.answer(b'{"error":{"message":"not now","type":"server_error"}}', status="500 Oops")
    else:
        await fine(peer)


@script("header-flood")
async def header_flood(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\n")
    for i in range(64):
        await peer.send(b"x-flood-%d: %b\r\n" % (i, b"a" * (MIB // 64)))
    await peer.send(b"content-length: 2\r\n\r\n{}")
    await peer.until_gone(5)


@script("many-headers")
async def many_headers(peer: Peer) -> None:
    await peer.head(*(f"x-{i}: 1" for i in range(5000)), "content-length: 2")
    await peer.send(b"{}")


@script("1xx-flood")
async def informational_flood(peer: Peer) -> None:
    while not peer.gone:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 100)


@script("endless-head-line")
async def endless_head_line(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nx-long: ")
    while not peer.gone:
        await peer.send(b"a" * 65536)


@script("endless-event-line")
async def endless_event_line(peer: Peer) -> None:
    """An event that never ends: no newline, ever."""
    await peer.stream_head()
    await peer.chunk(delta("a"))
    await peer.chunk(b"data: ")
    while not peer.gone:
        await peer.chunk(b"a" * 65536)


@script("endless-body")
async def endless_body(peer: Peer) -> None:
    """A JSON body without length and without end."""
    await peer.head("content-type: application/json", "transfer-encoding: chunked")
    while not peer.gone:
        await peer.chunk(b" " * 65536)


@script("endless-stream")
async def endless_stream(peer: Peer) -> None:
    """Good events for ever, as fast as they are read."""
    await peer.stream_head()
    events = b"".join(delta(f"{i:064d}") for i in range(64))
    while not peer.gone:
        await peer.chunk(events)


@script("ticking")
async def ticking(peer: Peer) -> None:
    """`ticking@10`: a good event every so many milliseconds, for ever."""
    await peer.stream_head()
    while not peer.gone:
        await peer.chunk(delta("tick "))
        await peer.pause(float(peer.argument.partition("-")[0] or 10) / 1000)


@script("counting")
async def counting(peer: Peer) -> None:
    """`counting@20,5`: so many events, so many milliseconds apart, then a proper end."""
    count, interval = map(int, peer.argument.split("-")[0].split(","))
    await peer.stream_head()
    for i in range(count):
        await peer.chunk(delta(f"{i} "))
        await peer.pause(interval / 1000)
    await peer.chunk(finish() + usage() + DONE)
    await peer.end()


@script("hang-after-finish")
async def hang_after_finish(peer: Peer) -> None:
    """Everything is said, [DONE] included, but the body does not end."""
    await peer.stream_head()
    await peer.chunk(delta("all") + finish() + DONE)
    await peer.until_gone()


@script("length-short")
async def length_short(peer: Peer) -> None:
    """Fewer bytes than announced, then the end."""
    await peer.head("content-type: application/json", f"content-length: {len(completion()) + 100}")
    await peer.send(completion())
    peer.close()


@script("length-long")
async def length_long(peer: Peer) -> None:
    """More bytes than announced: what follows could be taken for the next answer (response splitting)."""
    smuggled = b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"SMUGGLED"'
    await peer.head("content-type: application/json", f"content-length: {len(completion())}")
    # In one write: bytes that arrive later, after the next request has gone out, look like its answer to anybody.
    await peer.send(completion() + smuggled)


@script("length-twice")
async def length_twice(peer: Peer) -> None:
    await peer.head("content-type: application/json", "content-length: 5", f"content-length: {len(completion())}")
    await peer.send(completion())


@script("length-and-chunked")
async def length_and_chunked(peer: Peer) -> None:
    await peer.head("content-type: application/json", "content-length: 4", "transfer-encoding: chunked")
    await peer.chunk(completion())
    await peer.end()


@script("bad-chunk-size")
async def bad_chunk_size(peer: Peer) -> None:
    await peer.head("content-type: application/json", "transfer-encoding: chunked")
    await peer.send(b"fffffffffffffffffffff\r\n{}\r\n")


@script("not-http")
async def not_http(peer: Peer) -> None:
    await peer.send(b"220 mail.example ESMTP ready\r\n")
    await peer.until_gone(5)


@script("gzip")
async def gzipped(peer: Peer) -> None:
    await peer.answer(gzip.compress(completion()), "content-encoding: gzip")


@script("gzip-bomb")
async def gzip_bomb(peer: Peer) -> None:
    """64 MiB of spaces in 64 KiB: 64 members of a MiB, of which packing one takes no time."""
    await peer.answer(gzip.compress(b" " * MIB) * 64, "content-encoding: gzip")


@script("invalid-utf8")
async def invalid_utf8(peer: Peer) -> None:
    await peer.answer(completion().replace(b"fine", b"\xff\xfe\xc3"))


@script("invalid-utf8-error")
async def invalid_utf8_error(peer: Peer) -> None:
    await peer.answer(b'{"error":{"message":"\xff\xfe"}}', status="500 Oops")


@script("not-json")
async def not_json(peer: Peer) -> None:
    await peer.answer(b"<html>It works!</html>", kind="text/html")


@script("not-json-error")
async def not_json_error(peer: Peer) -> None:
    await peer.answer(b"<html>Bad Gateway</html>", kind="text/html", status="502 Bad Gateway")


@script("empty")
async def empty(peer: Peer) -> None:
    await peer.answer(b"")


@script("slow-head")
async def slow_head(peer: Peer) -> None:
    """A byte of the head every 50 ms: never silent, never done."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-drip: a\r\n" * 10_000:
        await peer.send(bytes([byte]))
        if await peer.until_gone(0.05):
            return


@script("hang")
async def hang(peer: Peer) -> None:
    await peer.until_gone()


@script("hang-after-head")
async def hang_after_head(peer: Peer) -> None:
    await peer.stream_head()
    await peer.until_gone()


@script("hang-mid-stream")
async def hang_mid_stream(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("a"))
    await peer.until_gone()


@script("close-at-once")
async def close_at_once(peer: Peer) -> None:
    peer.close()


@script("reset-at-once")
async def reset_at_once(peer: Peer) -> None:
    peer.reset()


@script("reset-mid-body")
async def reset_mid_body(peer: Peer) -> None:
    await peer.head("content-type: application/json", "content-length: 10000")
    await peer.send(b'{"id":"chatcmpl-1",')
    await asyncio.sleep(0.05)
    peer.reset()


@script("reset-mid-stream")
async def reset_mid_stream(peer: Peer) -> None:
    await peer.stream_head()
    await peer.chunk(delta("a"))
    await asyncio.sleep(0.05)
    peer.reset()


@script("close-idle")
async def close_idle(peer: Peer) -> None:
    """The race of keep-alive: the connection's second request meets a closing server."""
    earlier = sum(1 for seen in peer.log.requests if seen.connection == peer.seen.connection) - 1
    if earlier:
        peer.reset()
    else:
        await peer.answer(completion())


@script("busy")
async def busy(peer: Peer) -> None:
    """`busy@429-tag`: that status once, with a short Retry-After, then fine."""
    if len(peer.log.of(peer.seen.model)) > 1:
        await fine(peer)
        return
    fault = b'{"error":{"message":"busy","type":"server_error","param":null,"code":"busy"}}'
    await peer.answer(fault, "retry-after-ms: 20", "retry-after: 1", status=f"{peer.argument.partition('-')[0]} Busy")


@script("hang-before-done")
async def hang_before_done(peer: Peer) -> None:
    """Every choice has finished, but neither [DONE] nor the end of the body follows."""
    await peer.stream_head()
    await peer.chunk(delta("all") + finish())
    await peer.until_gone()


@script("bulk")
async def bulk(peer: Peer) -> None:
    """`bulk@1000`: so many numbered events of 1 KiB, as fast as they are read, then a proper end."""
    await peer.stream_head()
    for i in range(int(peer.argument.partition("-")[0])):
        if peer.gone:
            return
        await peer.chunk(bulk_event(i))
    await peer.chunk(finish() + DONE)
    await peer.end()


def bulk_event(number: int) -> bytes:
    return delta(f"{number:01024d}")


@script("slow-answer")
async def slow_answer(peer: Peer) -> None:
    """`slow-answer@50`: a whole answer after so many milliseconds."""
    await peer.pause(float(peer.argument.partition("-")[0]) / 1000)
    await peer.answer(completion())
