from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

from tests.gateway.server.raw import EVENTS, GET, answer, body_of, echo, get, piece, post, serving, start, until
from tollhouse.gateway.server.server import HttpServer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nx: " + b"a" * (64 * 1024) + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * (64 * 1024), 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nx : y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nx: y\n\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_is_refused(head, status):
    async with serving(echo) as running:
        client = await running.connect()
        client.send(get("/before") + head)
        assert (await client.response()).body == b"/before|"
        got = await client.response()
        assert (got.status, got.header("connection")) == (status, "close")
        assert b'"error"' in got.body
        assert await client.rest() == b""


async def test_a_hundred_headers_are_served():
    async with serving(echo) as running:
        assert (await running.ask(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100 + b"\r\n")).status == 200


# The clock


async def test_a_slow_head_is_a_408():
    async with serving(echo, head_s=0.1) as running:
        client = await running.connect()
        for byte in b"GET / HTTP/1.1\r\nhost: aaaaaaaa"[:20]:
            client.send(bytes([byte]))
            await asyncio.sleep(0.01)
        assert (await client.response()).status == 408
        assert await client.rest() == b""


async def test_a_connection_without_a_request_is_closed():
    async with serving(echo, head_s=0.05) as running:
        client = await running.connect()
        assert (await client.response()).status == 408
        await client.rest()
        client.close()
        await until(lambda: not running.server._connections)


async def test_an_idle_connection_outlives_the_time_for_a_head_but_not_its_own():
    async with serving(echo, head_s=0.05, idle_s=0.3) as running:
        client = await running.connect()
        for _ in range(2):
            client.send(GET)
            assert (await client.response()).status == 200
            await asyncio.sleep(0.15)
        since = time.monotonic()
        assert await client.rest() == b""
        assert time.monotonic() - since < 1


async def test_a_stalled_body_ends_the_connection_and_the_app_hears_of_it():
    told = asyncio.Event()

    async def app(scope, receive, send):
        with pytest.raises(ConnectionError):
            await body_of(receive)
        told.set()

    async with serving(app, body_s=0.1) as running:
        client = await running.connect()
        client.send(post(b"12345")[:-1])
        assert await client.gone()
        await told.wait()


async def test_a_client_that_takes_nothing_is_left():
    told = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.is_set():
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        told.set()

    gone = asyncio.Event()
    async with serving(app, stall_s=0.1) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(GET)
        await until(lambda: running.server._connections)
        (connection,) = running.server._connections
        await until(lambda: connection.exchange is not None)
        connection.exchange.watch(gone.set)
        await asyncio.wait_for(told.wait(), 5)
        assert not running.server._connections


async def test_a_body_that_keeps_coming_may_take_its_time():
    async with serving(echo, body_s=0.1) as running:
        client = await running.connect()
        request = post(b"0123456789")
        client.send(request[:-10])
        for byte in request[-10:]:
            await asyncio.sleep(0.03)
            client.send(bytes([byte]))
        assert (await client.response()).body == b"/|0123456789"


@pytest.mark.parametrize("expects", [b"", b"expect: 100-continue\r\n"])
async def test_a_client_is_not_blamed_for_a_body_that_the_app_has_not_asked_for(expects):
    async def app(scope, receive, send):
        await asyncio.sleep(0.3)
        await echo(scope, receive, send)

    async with serving(app, body_s=0.1) as running:
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n" + expects + b"\r\n")
        if expects:
            assert (await client.response()).status == 100
        else:
            await asyncio.sleep(0.35)
        client.send(b"ab")
        assert (await client.response()).body == b"/|ab"


async def test_a_long_answer_needs_no_word_of_the_client():
    async def app(scope, receive, send):
        await body_of(receive)
        await asyncio.sleep(0.3)
        await answer(send, b"at last")

    async with serving(app, head_s=0.05, idle_s=0.05, body_s=0.05) as running:
        assert (await running.ask(post(b"x"))).body == b"at last"


async def test_a_client_that_is_refused_and_stays_is_cut_off(monkeypatch):
    monkeypatch.setattr("tollhouse.gateway.server.server.LINGER_S", 0.05)
    async with serving(echo) as running:
        client = await running.connect()
        client.send(b"nonsense\r\n\r\n")
        assert (await client.response()).status == 400
        await until(lambda: not running.server._connections)


async def test_beyond_the_most_connections_is_a_503():
    async with serving(echo, max_connections=2) as running:
        clients = [await running.connect() for _ in range(2)]
        for client in clients:
            client.send(GET)
            assert (await client.response()).status == 200
        third = await running.connect()
        assert (await third.response()).status == 503
        assert await third.rest() == b""
        third.close()
        clients[0].close()
        await until(lambda: len(running.server._connections) == 1)
        assert (await running.ask(GET)).status == 200


async def test_many_who_come_at_once_are_let_in_within_a_few_turns():
    async with serving(echo) as running:
        assert (await running.ask(GET)).status == 200
        socks = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(100)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(running.server._connections) == 101
        for sock in socks:
            sock.sendall(GET)
        async with asyncio.timeout(5):
            for sock in socks:
                sock.settimeout(0)
                assert (await asyncio.get_running_loop().sock_recv(sock, 100)).startswith(b"HTTP/1.1 200")
                sock.close()
        await until(lambda: len(running.server._connections) == 1)
        assert not running.server._opening


# The life of a server


async def test_state_of_the_lifespan_is_copied_for_every_request():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["pool"] = ["shared"]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(dict(scope["state"]))
        scope["state"]["mine"] = 1
        await answer(send)

    sock = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, sock)
    task = asyncio.create_task(server.serve())
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    for _ in range(2):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
    assert seen == [{"pool": ["shared"]}] * 2
    assert seen[0]["pool"] is seen[1]["pool"]
    server.finish()
    await task
    writer.close()


@pytest.mark.parametrize("how", ["raises", "says so", "says so and stays"])
async def test_a_start_that_fails_is_raised(how):
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        if how == "raises":
            msg = "no database"
            raise OSError(msg)
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if how == "says so and stays":
            await receive()

    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = HttpServer(app, sock)
        async with asyncio.timeout(10):
            with pytest.raises(OSError if how == "raises" else RuntimeError, match=r"no database|startup failed"):
                await server.serve()


async def test_finish_closes_idle_connections_and_the_others_with_their_response():
    go_on = asyncio.Event()
    log: list[str] = []

    async def app(scope, receive, send):
        if scope["path"] == "/wait":
            await go_on.wait()
        await answer(send, scope["path"].encode())

    async with serving(app, log=log) as running:
        idle, busy, streaming = [await running.connect() for _ in range(3)]
        idle.send(GET)
        await idle.response()
        busy.send(get("/wait") + get("/never"))
        streaming.send(b"GET /half HTTP/1.1\r\n")
        await asyncio.sleep(0.02)
        running.server.finish()
        assert await idle.rest() == b""
        assert not running.task.done()
        streaming.send(b"host: a\r\n\r\n")
        go_on.set()
        for client, path in ((busy, b"/wait"), (streaming, b"/half")):
            got = await client.response()
            assert (got.body, got.header("connection")) == (path, "close")
            assert await client.gone()
        async with asyncio.timeout(2):
            await running.task
        assert log == ["startup", "shutdown"]
        with pytest.raises(OSError):
            await running.connect()


async def asked(sock: socket.socket) -> bytes:
    """The whole answer to a request on a socket that nobody but its system reads meanwhile."""
    sock.sendall(GET)
    sock.settimeout(0)
    return await asyncio.get_running_loop().sock_recv(sock, 4096)


async def test_what_was_sent_before_the_end_is_answered_although_nobody_had_read_it():
    async with serving(echo) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as sock:
            assert b"connection: close" not in await asked(sock)
            sock.sendall(GET)
            running.server.finish()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                last = await loop.sock_recv(sock, 4096)
                assert last.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" in last
                assert await loop.sock_recv(sock, 4096) == b""
                await running.task


@pytest.mark.parametrize("is_pipelined", [True, False])
async def test_after_an_answer_that_could_not_say_it_was_the_last_one_more_is_answered(is_pipelined):
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/stream":
            await start(send, EVENTS)
            await piece(send, b"begun")
            await go_on.wait()
            await piece(send, b"", more=False)
        else:
            await answer(send, scope["path"].encode())

    async with serving(app) as running:
        client = await running.connect()
        client.send(get("/stream"))
        assert b"close" not in await client.reader.readuntil(b"begun\r\n")
        if is_pipelined:
            client.send(get("/last"))
            (connection,) = running.server._connections
            await until(lambda: connection._reader.held)
        running.server.finish(60)
        go_on.set()
        assert await client.reader.readuntil(b"0\r\n\r\n")
        if not is_pipelined:
            await until(lambda: running.server.awaits)
            client.send(get("/last"))
        got = await client.response()
        assert (got.body, got.header("connection")) == (b"/last", "close")
        assert await client.rest() == b""
        assert not running.server.awaits
        async with asyncio.timeout(5):
            await running.task


async def test_a_client_that_does_not_ask_in_time_has_its_connection_closed():
    async with serving(echo) as running:
        clients = [await running.connect() for _ in range(2)]
        clients[0].send(GET)
        assert (await clients[0].response()).header("connection") is None
        await until(lambda: len(running.server._connections) == 2)
        since = running.server.loop.time()
        running.server.finish(0.2)
        assert running.server.awaits
        for client in clients:
            assert await client.rest() == b""
        assert running.server.loop.time() - since > 0.19, "its timers count milliseconds"
        async with asyncio.timeout(5):
            await running.task


async def test_one_that_has_had_the_time_to_ask_has_it_closed_at_once():
    async with serving(echo) as running:
        await running.answered()
        then = running.server.ticks
        await until(lambda: running.server.ticks > then + 20)
        (connection,) = running.server._connections
        running.server.finish(0.15)
        assert connection.transport.is_closing()
        assert not running.server.awaits


async def test_who_may_still_ask_may_not_once_it_has_to_end_now():
    async with serving(echo) as running:
        client = await running.answered()
        running.server.finish(60)
        assert running.server.awaits
        running.server.finish()
        assert await client.rest() == b""
        async with asyncio.timeout(5):
            await running.task


async def test_a_blank_line_that_nobody_has_read_is_no_request_to_wait_for():
    async with serving(echo) as running:
        client = await running.answered()
        client.send(b"\r\n")
        running.server.finish(0.05)
        assert running.server.awaits
        assert await client.rest() == b""
        async with asyncio.timeout(5):
            await running.task


async def test_the_app_is_shut_down_after_the_last_request_has_ended():
    log: list[str] = []

    async def app(scope, receive, send):
        await answer(send)
        await asyncio.sleep(0.1)  # books what was used
        log.append("booked")

    async with serving(app, log=log) as running:
        client = await running.connect()
        client.send(GET)
        assert (await client.response()).status == 200
        running.server.finish()
        async with asyncio.timeout(2):
            await running.task
    assert log == ["startup", "booked", "shutdown"]


async def test_a_server_that_no_longer_accepts_still_serves():
    async with serving(echo) as running:
        client = await running.answered()
        running.server.stop_accepting()
        running.server.stop_accepting()
        client.send(GET)
        got = await client.response()
        assert (got.status, got.header("connection")) == (200, None)
        with pytest.raises(OSError):
            await running.connect()
        assert not running.task.done()


async def test_connections_that_were_accepted_behind_another_are_answered_before_the_end(monkeypatch):
    async with serving(echo) as running:
        server = running.server
        opened = server.opened
        has_ended: list[bool] = []

        def opened_last(connection: Any) -> None:
            monkeypatch.undo()
            opened(connection)
            if server._opening:  # asyncio accepts all of them by itself
                server.closed(connection)  # this one leaves at that moment
                server.finish()
            has_ended.append(server._ended.is_set())

        monkeypatch.setattr(server, "opened", opened_last)
        with contextlib.ExitStack() as stack:
            # All of them are there before the loop looks.
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", running.port))) for _ in range(8)]
            for client in clients:
                client.sendall(GET)
                client.setblocking(False)
            async with asyncio.timeout(2):
                answers = [await server.loop.sock_recv(client, 4096) for client in clients[1:]]
                server.finish()
                await running.task
        assert has_ended == [False]
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


async def test_abandon_leaves_clients_that_do_not_read_and_ends_their_requests():
    ended = []

    async def app(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        finally:
            ended.append(scope["path"])

    log: list[str] = []
    async with serving(app, log=log) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(GET)
        await asyncio.sleep(0.1)
        running.server.finish()
        await asyncio.sleep(0.05)
        assert not running.task.done()
        running.server.abandon()
        async with asyncio.timeout(2):
            await running.task
        assert ended == ["/"]
        assert log == ["startup", "shutdown"]
        assert not running.server._connections


async def test_a_server_that_is_cancelled_stops_listening():
    async with serving(echo) as running:
        assert (await running.ask(GET)).status == 200
        running.task.cancel()
        await asyncio.wait({running.task})
        with pytest.raises(OSError):
            await running.connect()
