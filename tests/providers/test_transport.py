"""The transport against real sockets; what a whole gateway makes of bad upstreams is tested end to end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from tollhouse._native import END, FAULT, READY, ResponseReader
from tollhouse.providers import call as call_module
from tollhouse.providers.call import Call
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.errors import UpstreamBusy, UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import KEEP_FEW, KEEP_IDLE_S, Connection, Origin, StaleConnection

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A server whose connections run `handler`; counts them."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._tasks: set[asyncio.Task[None] | None] = set()
        self.connections = 0
        self.closed = asyncio.Event()
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._handler(reader, writer)
        finally:
            writer.transport.abort()
            self.closed.set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # connections that were aborted are told so by a callback


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def origin(port: int, *, tls=None, host="127.0.0.1", **options) -> Origin:
    return Origin(name="up", host=host, port=port, tls=tls, deadlines=Deadlines(), **options)


async def start(to: Origin, *, stream=False, body=b"{}", **timeouts) -> Call:
    call = Call(ResponseReader("chat"), Timeouts(**timeouts))
    head = b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: %d\r\n\r\n" % len(body)
    opening = to.start(call, head, body, stream=stream)
    if opening is not None:
        await opening
    return call


async def wait(call: Call, mask: int = END | FAULT) -> bool:
    return await asyncio.wait_for(call.wait(mask, asyncio.get_running_loop()), 5)


async def keep_answering(reader, writer):
    while True:
        await read_request(reader)
        writer.write(OK)


async def test_a_connection_is_kept_and_used_again():
    async with Upstream(keep_answering) as upstream:
        to = origin(upstream.port)
        for _ in range(3):
            call = await start(to)
            assert await wait(call)
            assert (call.reader.status, call.take()) == (200, b"ok")
        assert upstream.connections == 1
        to.close()


async def test_calls_at_once_take_a_connection_each():
    async with Upstream(keep_answering) as upstream:
        to = origin(upstream.port)
        calls = await asyncio.gather(*(start(to) for _ in range(5)))
        for call in calls:
            await wait(call)
        assert upstream.connections == 5
        to.close()


async def test_a_large_body_arrives_whole():
    got = []

    async def handler(reader, writer):
        got.append(await read_request(reader))
        writer.write(OK)

    async with Upstream(handler) as upstream:
        body = b"x" * 3_000_000
        call = await start(origin(upstream.port), body=body)
        await wait(call)
        assert got[0].endswith(b"\r\n\r\n" + body)


async def test_a_refused_connection_names_host_and_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(UpstreamUnreachable, match=f"127.0.0.1:{port} cannot be reached"):
            await start(origin(port))


async def test_a_metadata_address_is_never_dialled():
    with pytest.raises(UpstreamUnreachable) as caught:
        await start(origin(80, host="169.254.169.254"))
    assert caught.value.code == "upstream_address_denied"


async def test_a_connect_that_hangs_times_out():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = [socket.socket() for _ in range(3)]
    for sock in full:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    try:
        with pytest.raises(UpstreamTimeout) as caught:
            await start(origin(listener.getsockname()[1]), connect_s=0.2)
        assert caught.value.code == "upstream_connect_timeout"
    finally:
        for sock in [*full, listener]:
            sock.close()


async def _silent(reader, writer):
    await read_request(reader)
    await reader.read()


@pytest.mark.parametrize(
    ("stream", "timeouts", "message"),
    [
        (True, {"first_event_s": 0.2}, "no first event"),
        (False, {"idle_s": 0.2}, "sent nothing"),
        (False, {"total_s": 0.2}, "in total"),
    ],
)
async def test_a_silent_upstream_times_out_and_is_closed(stream, timeouts, message):
    async with Upstream(_silent) as upstream:
        call = await start(origin(upstream.port), stream=stream, **timeouts)
        await wait(call)
        error = call.cause()
        assert isinstance(error, UpstreamTimeout)
        assert message in error.message
        await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_silence_in_the_middle_of_a_stream_times_out_and_what_came_is_kept():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(STREAM + EVENT)
        await reader.read()

    async with Upstream(handler) as upstream:
        call = await start(origin(upstream.port), stream=True, idle_s=0.2)
        await wait(call)
        assert "in the middle" in call.cause().message
        assert call.take() == EVENT


@pytest.mark.parametrize("end", ["silence", "reset"])
async def test_a_stream_whose_choices_have_ended_needs_nothing_more(end):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(STREAM + FINISH)
        await writer.drain()
        if end == "silence":
            await reader.read()
        else:
            await taken.wait()
            reset(writer)

    taken = asyncio.Event()
    async with Upstream(handler) as upstream:
        call = await start(origin(upstream.port), stream=True, idle_s=0.2)
        await wait(call, READY)
        assert call.take() == FINISH
        taken.set()
        await wait(call)
        assert (call.flags & (END | FAULT), call.error, call.take()) == (END, None, DONE)


async def test_a_stream_that_has_finished_is_given_its_end_long_before_its_upstream_is_given_up(monkeypatch):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(STREAM + EVENT + FINISH + USAGE)
        await reader.read()

    monkeypatch.setattr(call_module, "LAST_WORD_S", 0.2)
    async with Upstream(handler) as upstream:
        call = await start(origin(upstream.port), stream=True, idle_s=300)
        await wait(call)
        assert (call.flags & (END | FAULT), call.error) == (END, None)
        assert call.take() == EVENT + FINISH + USAGE + DONE
        await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_a_keepalive_is_due_after_silence_and_again():
    async with Upstream(_silent) as upstream:
        call = await start(origin(upstream.port), stream=True, keepalive_s=0.1)
        assert await wait(call) is False
        assert await wait(call) is False
        call.close()
        await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_no_keepalive_is_due_while_a_stream_flows():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(STREAM)
        for _ in range(10):
            writer.write(EVENT)
            await asyncio.sleep(0.1)

    async with Upstream(handler) as upstream:
        call = await start(origin(upstream.port), stream=True, keepalive_s=0.4)
        assert await wait(call), "the end of the connection"
        assert call.take() == EVENT * 10


async def test_closing_a_call_closes_the_upstream_at_once():
    async with Upstream(_silent) as upstream:
        to = origin(upstream.port)
        call = await start(to)
        call.close()
        await asyncio.wait_for(upstream.closed.wait(), 1)
        call.close()


def _answering_after(release):
    async def handler(reader, writer):
        while True:
            await read_request(reader)
            await release.wait()
            writer.write(OK)

    return handler


async def test_beyond_the_places_callers_queue_and_then_are_told():
    release = asyncio.Event()
    async with Upstream(_answering_after(release)) as upstream:
        to = origin(upstream.port, max_in_flight=1, queue_wait_s=0.1)
        first = await start(to)
        for _ in range(2):  # whoever has gone takes no room in the queue
            with pytest.raises(UpstreamBusy, match="no place"):
                await start(to)
        to = origin(upstream.port, max_in_flight=1, queue_wait_s=5)
        running = await start(to)
        queued = asyncio.create_task(start(to))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamBusy, match="full"):
            await start(to)
        release.set()
        await wait(first)
        await wait(running)
        await wait(await queued)


async def test_the_place_of_a_call_that_finds_no_connection_is_the_next_ones():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    to = origin(port, max_in_flight=1, queue_wait_s=60)
    first, second = (asyncio.create_task(start(to)) for _ in range(2))
    for task in (first, second):
        with pytest.raises(UpstreamUnreachable):
            await asyncio.wait_for(task, 5)
    assert (to.places.in_flight, to.places.waiting) == (0, 0)


async def test_a_call_that_ends_before_it_is_sent_leaves_its_place_to_the_next():
    async with Upstream(keep_answering) as upstream:
        to = origin(upstream.port, max_in_flight=1, queue_wait_s=60)
        call = Call(ResponseReader("chat"), Timeouts())
        opening = to.start(call, b"GET / HTTP/1.1\r\n\r\n", b"", stream=False)
        assert opening is not None
        queued = asyncio.create_task(start(to))
        call.fail(UpstreamTimeout("over"))
        await opening
        await wait(await asyncio.wait_for(queued, 5))
        assert (to.places.in_flight, to.places.waiting) == (0, 0)
        assert upstream.connections == 1  # the one that was opened for it


async def test_connections_that_close_at_once_are_not_looked_for_one_by_one():
    looks = 0

    class Kept(Connection):
        __slots__ = ()

        def __eq__(self, other):
            nonlocal looks
            looks += 1
            return self is other

        __hash__ = object.__hash__

    to = origin(1)
    kept = [Kept(to) for _ in range(1000)]
    for connection in kept:
        to.keep(connection)
    for connection in reversed(kept):
        to.forget(connection)
    assert looks < 1000


async def test_of_many_idle_connections_those_of_long_ago_are_closed():
    to = origin(1)
    to.deadlines.now = 1000.0
    kept = []
    for age in (KEEP_IDLE_S + 1, 5.0):
        for _ in range(2 * KEEP_FEW):
            connection, transport = Connection(to), Closable()
            connection.connection_made(transport)
            connection.idle_since = to.deadlines.now - age
            kept.append(transport)
            to.keep(connection)
    old, young = kept[: 2 * KEEP_FEW], kept[2 * KEEP_FEW :]
    assert all(transport.is_closing() for transport in old)
    assert not any(transport.is_closing() for transport in young)


class Closable(asyncio.Transport):
    """A transport that can be closed, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        self._closed = True


async def test_a_caller_that_gives_up_in_the_queue_leaves_no_trace():
    async with Upstream(keep_answering) as upstream:
        to = origin(upstream.port, max_in_flight=1, queue_wait_s=5)
        call = await start(to)
        queued = asyncio.create_task(start(to))
        await asyncio.sleep(0)
        queued.cancel()
        await wait(call)
        with contextlib.suppress(asyncio.CancelledError):
            await queued
        await wait(await start(to))


async def test_a_kept_connection_that_was_closed_meanwhile_is_told_as_stale():
    async def once(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)  # and no answer: the close crosses the next request

    async with Upstream(once) as upstream:
        to = origin(upstream.port)
        await wait(await start(to))
        call = await start(to)
        await wait(call)
        assert isinstance(call.cause(), StaleConnection)
        fresh = await start(to)
        await wait(fresh)
        assert fresh.reader.status == 200


async def test_a_new_connection_that_closes_without_an_answer_is_no_stale_one():
    async def slam(reader, writer):
        await read_request(reader)

    async with Upstream(slam) as upstream:
        call = await start(origin(upstream.port))
        await wait(call)
        assert isinstance(call.cause(), UpstreamProtocolError)
        assert call.cause().code == "upstream_truncated"


async def test_a_reset_in_the_middle_is_a_lost_connection():
    async def run(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        reset(writer)

    async with Upstream(run) as upstream:
        call = await start(origin(upstream.port))
        await wait(call)
        assert call.flags & FAULT
        assert call.cause().status == 502


async def test_a_reader_that_does_not_take_pauses_the_upstream():
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(STREAM)
        while True:
            writer.write(EVENT * 100)
            sent += len(EVENT) * 100
            await writer.drain()

    async with Upstream(flood) as upstream:
        call = await start(origin(upstream.port), stream=True, idle_s=0.3)
        await wait(call, READY)
        before = -1
        while before != sent:  # until nothing moves for longer than an idle time: pausing is no silence
            before = sent
            await asyncio.sleep(0.5)
        assert not call.flags & FAULT
        assert call.reader.pending < 1_000_000
        taken = len(call.take())
        await wait(call, READY)
        assert taken > 0
        assert not call.flags & FAULT
        call.close()


async def test_bytes_that_nobody_asked_for_end_the_connection():
    async def chatty(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(1)

    async with Upstream(chatty) as upstream:
        to = origin(upstream.port)
        await wait(await start(to))
        (connection,) = to._idle
        connection.data_received(b"HTTP/1.1 200 OK\r\n")
        await asyncio.wait_for(upstream.closed.wait(), 5)
        assert not to._idle


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def _server_tls(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_works_with_a_certificate_that_fits(authority):
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with Upstream(keep_answering, _server_tls(authority, "localhost")) as upstream:
        to = origin(upstream.port, host="localhost", tls=lambda: client)
        for _ in range(2):
            call = await start(to)
            await wait(call)
            assert call.take() == b"ok"
        assert upstream.connections == 1
        to.close()


@pytest.mark.parametrize("name", ["localhost", "other.example"])
async def test_tls_refuses_a_certificate_that_does_not(authority, name):
    client = ssl.create_default_context()
    if name != "localhost":
        authority.configure_trust(client)
    async with Upstream(keep_answering, _server_tls(authority, name)) as upstream:
        with pytest.raises(UpstreamUnreachable, match="TLS failed"):
            await start(origin(upstream.port, host="localhost", tls=lambda: client))


async def test_one_stale_connection_tells_about_the_others():
    async def twice(reader, writer):
        for _ in range(2):
            await read_request(reader)
            writer.write(OK)
        await read_request(reader)  # and no answer

    async with Upstream(twice) as upstream:
        to = origin(upstream.port)
        for _ in range(2):
            calls = [await start(to), await start(to)]
            for call in calls:
                await wait(call)
        stale = await start(to)
        await wait(stale)
        assert isinstance(stale.cause(), StaleConnection)
        assert not to._idle
