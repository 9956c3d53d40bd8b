"""Scripts of upstreams whose HTTP is right and whose event streams are odd."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.chunks import BASE, DONE, completion, delta, event, finish, tool_delta, usage
from tests.support.hostile import script

if TYPE_CHECKING:
    from tests.support.upstream import Peer

EMOJI = "\N{GRINNING FACE}"
PLAIN = delta("Hello ") + delta("wörld ") + delta(EMOJI) + finish()
ERROR = event(
    {"error": {"message": "the model is overloaded", "type": "overloaded_error", "param": None, "code": None}}
)


async def _stream(peer: Peer, *chunks: bytes, lines: tuple[str, ...] = ()) -> None:
    await peer.stream_head(*lines)
    for chunk in chunks:
        await peer.chunk(chunk)
    await peer.end()


@script("plain")
async def plain(peer: Peer) -> None:
    """`plain@17`: a good stream, its bytes written in two parts cut at this offset; without argument byte by byte."""
    whole = PLAIN + usage() + DONE
    cut = int(peer.argument) if peer.argument else None
    pieces = [whole[:cut], whole[cut:]] if cut is not None else [bytes([byte]) for byte in whole]
    await peer.stream_head()
    for piece in pieces:
        if piece:
            await peer.chunk(piece)
            # Each part has to arrive by itself.
            await asyncio.sleep(0.003 if cut is not None else 0)
    await peer.end()


@script("line-ends")
async def line_ends(peer: Peer) -> None:
    """`line-ends@crlf`, `@cr`, `@mixed`; CR and LF are split over chunks."""
    lf = PLAIN + DONE
    text = {
        "crlf": lf.replace(b"\n", b"\r\n"),
        "cr": lf.replace(b"\n", b"\r"),
        "mixed": lf.replace(b"\n\n", b"\r\n\n", 1).replace(b"\n\n", b"\r\r", 1),
    }[peer.argument]
    await peer.stream_head()
    for piece in text.split(b"\r")[:-1]:
        await peer.chunk(piece + b"\r")
        await asyncio.sleep(0.002)
    await peer.chunk(text.split(b"\r")[-1] or b"\n")
    await peer.end()


@script("pausing")
async def pausing(peer: Peer) -> None:
    """`pausing@0.3`: so much silence between two events."""
    await peer.stream_head()
    await peer.chunk(delta("a"))
    await peer.pause(float(peer.argument))
    await peer.chunk(delta("b") + finish() + usage() + DONE)
    await peer.end()


@script("no-space")
async def no_space(peer: Peer) -> None:
    await _stream(peer, (PLAIN + DONE).replace(b"data: ", b"data:"))


@script("two-data-lines")
async def two_data_lines(peer: Peer) -> None:
    split = delta("two").replace(b',"choices"', b',\ndata: "choices"', 1)
    await _stream(peer, split, finish(), DONE)


@script("bom")
async def bom(peer: Peer) -> None:
    await _stream(peer, b"\xef\xbb\xbf" + PLAIN, DONE)


@script("not-events")
async def not_events(peer: Peer) -> None:
    """Comments, `retry:` and `id:` blocks between the events."""
    noise = (b": OPENROUTER PROCESSING\n\n", b"retry: 3000\n\n", b"id: 7\n\n", b": a\nid: 8\nretry: 1\n\n")
    first, second = delta("a"), delta("b")
    await _stream(peer, noise[0], first, noise[1], noise[2], second, noise[3], finish(), DONE)


@script("emoji-split")
async def emoji_split(peer: Peer) -> None:
    """An emoji of four bytes, each byte in a chunk of its own; in a text and in a tool's arguments."""
    await peer.stream_head()
    tool = tool_delta('{"face":"', name="smile") + tool_delta(EMOJI) + tool_delta('"}')
    whole = delta(f"<{EMOJI}>") + tool + finish("tool_calls") + DONE
    for part in _cut_in_bytes(whole, EMOJI.encode()):
        await peer.chunk(part)
        await asyncio.sleep(0.002)
    await peer.end()


@script("surrogates-split")
async def surrogates_split(peer: Peer) -> None:
    r"""`\uD83D` in one delta, `\uDE00` in the next."""
    halves = [delta("HALF").replace(b"HALF", half) for half in (rb"\uD83D", rb"\uDE00")]
    await _stream(peer, *halves, finish(), DONE)


@script("raw-bytes")
async def raw_bytes(peer: Peer) -> None:
    """Invalid UTF-8 in a text."""
    await _stream(peer, delta("RAW").replace(b"RAW", b"\xff\xc3"), finish(), DONE)


@script("no-blank-line")
async def no_blank_line(peer: Peer) -> None:
    """The last event has no blank line behind it."""
    await _stream(peer, PLAIN, DONE.rstrip(b"\n"))


@script("finish-without-done")
async def finish_without_done(peer: Peer) -> None:
    await _stream(peer, PLAIN)


@script("close-after-finish")
async def close_after_finish(peer: Peer) -> None:
    """The connection ends between the last choice and the word for that."""
    await peer.stream_head()
    await peer.chunk(PLAIN)
    peer.close()


@script("one-of-two")
async def one_of_two(peer: Peer) -> None:
    """The connection ends when the first of two choices has ended, and before the second begins."""
    await close_after_finish(peer)


@script("cut-off")
async def cut_off(peer: Peer) -> None:
    """The body ends properly, the stream does not: no finish, no [DONE]."""
    await _stream(peer, delta("a"), delta("b"))


@script("cut-off-connection")
async def cut_off_connection(peer: Peer) -> None:
    """The connection ends in the middle."""
    await peer.stream_head()
    await peer.chunk(delta("a"))
    await peer.send(b"40\r\ndata: {")
    peer.close()


@script("overloaded-mid-stream")
async def overloaded_mid_stream(peer: Peer) -> None:
    await _stream(peer, delta("a"), ERROR)


@script("trailing-json-error")
async def trailing_json_error(peer: Peer) -> None:
    """An error as bare JSON behind the last event, as several servers write it."""
    await _stream(peer, delta("a"), b'{"error":{"message":"CUDA out of memory","type":"server_error","code":500}}')


@script("error-first")
async def error_first(peer: Peer) -> None:
    await _stream(peer, ERROR)


@script("error-in-chunk")
async def error_in_chunk(peer: Peer) -> None:
    """200 and a chunk that has an `error` beside the usual fields."""
    error = {"message": "provider failed", "type": "server_error", "code": 502}
    await _stream(peer, event(BASE | {"choices": [], "error": error}), DONE)


@script("no-events")
async def no_events(peer: Peer) -> None:
    await _stream(peer)


@script("malformed-event")
async def malformed_event(peer: Peer) -> None:
    await _stream(peer, delta("a"), b'data: {"choices":[{"delta":{"content":\n\n', delta("b"), finish(), DONE)


@script("malformed-tool-event")
async def malformed_tool_event(peer: Peer) -> None:
    broken = tool_delta("12")[:-12] + b"\n\n"
    await _stream(peer, tool_delta('{"a":', name="f"), broken, finish("tool_calls"), DONE)


@script("late")
async def late(peer: Peer) -> None:
    """`late@700`: silence for so many milliseconds before the first event and in the middle."""
    silence_s = float(peer.argument.partition("-")[0]) / 1000
    await peer.pause(silence_s)
    await peer.stream_head()
    await peer.pause(silence_s)
    await peer.chunk(delta("a"))
    await peer.pause(silence_s)
    await peer.chunk(delta("b") + finish() + DONE)
    await peer.end()


@script("late-failure")
async def late_failure(peer: Peer) -> None:
    await peer.pause(float(peer.argument.partition("-")[0]) / 1000)
    await peer.answer(b'{"error":{"message":"gave up"}}', status="500 Oops")


@script("usage-everywhere")
async def usage_everywhere(peer: Peer) -> None:
    """A growing usage object on every chunk: the last one counts, the sum is wrong."""
    amounts = [{"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 7 + n} for n in (1, 2, 3)]
    await _stream(
        peer, *(delta(f"{n} ", usage=amount) for n, amount in enumerate(amounts)), finish(usage=amounts[-1]), DONE
    )


@script("no-usage")
async def no_usage(peer: Peer) -> None:
    await _stream(peer, delta("one two three four "), finish(), DONE)


@script("finish-with-content")
async def finish_with_content(peer: Peer) -> None:
    choice = {"index": 0, "delta": {"content": "all at once"}, "finish_reason": "stop"}
    await _stream(peer, event(BASE | {"choices": [choice]}), DONE)


@script("two-choices")
async def two_choices(peer: Peer) -> None:
    pieces = [delta(text, index=index) for text, index in (("a", 0), ("x", 1), ("b", 0), ("y", 1))]
    await _stream(peer, *pieces, finish(index=1), finish(index=0), DONE)


@script("whole-instead-of-stream")
async def whole_instead_of_stream(peer: Peer) -> None:
    """A JSON answer although a stream was asked for."""
    await peer.answer(completion())


def _cut_in_bytes(whole: bytes, part: bytes) -> list[bytes]:
    """`whole` in pieces such that every byte of every `part` stands alone."""
    pieces: list[bytes] = []
    for between in whole.split(part):
        if pieces:
            pieces.extend(bytes([byte]) for byte in part)
        pieces.append(between)
    return [piece for piece in pieces if piece]
