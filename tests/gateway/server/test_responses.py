from __future__ import annotations

import asyncio

import pytest

from tests.gateway.server.raw import (
    EVENTS,
    GET,
    answer,
    echo,
    get,
    piece,
    serving,
    start,
)


async def test_a_response_in_one_piece_has_a_length():
    async with serving(echo) as running:
        got = await running.ask(get("/x"))
        assert got.header("content-length") == "3"
        assert got.header("transfer-encoding") is None
        assert got.header("date")


async def test_a_response_in_pieces_is_chunked():
    async def app(scope, receive, send):
        await start(send, [(b"x-a", b"b")])
        for body in (b"one", b"", b"two"):
            await piece(send, body)
        await piece(send, b"three", more=False)

    async with serving(app) as running:
        client = await running.connect()
        for _ in range(2):
            client.send(GET)
            got = await client.response()
            assert (got.body, got.header("x-a")) == (b"onetwothree", "b")


async def test_an_event_stream_is_chunked_even_in_one_piece():
    async def app(scope, receive, send):
        await answer(send, b"data: 1\n\n", headers=EVENTS)

    async with serving(app) as running:
        client = await running.connect()
        for _ in range(2):
            client.send(GET)
            got = await client.response()
            assert (got.header("transfer-encoding"), got.body) == ("chunked", b"data: 1\n\n")


@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
async def test_a_stated_length_is_kept(name):
    async def app(scope, receive, send):
        await start(send, [[name, b"6"]])  # a list will do, too
        await piece(send, b"abc")
        await piece(send, b"def", more=False)

    async with serving(app) as running:
        client = await running.connect()
        for _ in range(2):
            client.send(GET)
            assert b"chunked" not in (head := await client.reader.readuntil(b"\r\n\r\n"))
            assert head.lower().count(b"content-length") == 1
            assert await client.reader.readexactly(6) == b"abcdef"


async def test_an_app_has_no_say_in_the_framing():
    async def app(scope, receive, send):
        await start(send, [(b"transfer-encoding", b"chunked")])
        await piece(send, b"abc", more=scope["path"] == "/pieces")
        if scope["path"] == "/pieces":
            await piece(send, b"", more=False)

    async with serving(app) as running:
        assert (await running.ask(get("/pieces"))).body == b"abc"
        assert (await running.ask(get("/whole"))).body == b"abc"


@pytest.mark.parametrize("body", [b"abc", b"abcdefgh"])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_body_of_another_length_than_stated_is_not_followed_by_a_response(body, pieces, caplog):
    async def app(scope, receive, send):
        await start(send, [(b"content-length", b"5")])
        if pieces == 2:
            await piece(send, body[:1])
            body_left = body[1:]
        else:
            body_left = body
        await piece(send, body_left, more=False)

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET + GET)
        got = b""
        try:
            while data := await client.reader.read(100):
                got += data
        except ConnectionError:
            pass
        assert got.count(b"HTTP/1.1 200") <= 1
        assert b"abcdefg" not in got


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_has_no_body_is_sent_without(method, status, is_stream):
    async def app(scope, receive, send):
        await start(send, EVENTS if is_stream else [], status)
        if is_stream:
            await piece(send, b"one")
        await piece(send, b"two", more=False)

    async with serving(app) as running:
        client = await running.connect()
        for _ in range(2):
            client.send(f"{method} / HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            got = await client.response(head_only=True)
            assert got.status == status
            assert got.header("transfer-encoding") is None
        await asyncio.sleep(0.02)
        running.server.finish()
        assert await client.rest() == b""


@pytest.mark.parametrize("is_stream", [False, True])
async def test_for_http_1_0_the_end_of_a_body_is_the_end_of_the_connection(is_stream):
    async def app(scope, receive, send):
        assert scope["http_version"] == "1.0"
        await start(send, EVENTS if is_stream else [])
        if is_stream:
            await piece(send, b"one")
        await piece(send, b"two", more=False)

    async with serving(app) as running:
        client = await running.connect()
        client.send(get("/", version="1.0"))
        got = await client.response()
        assert got.body == (b"onetwo" if is_stream else b"two")
        assert got.header("connection") == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize("by_client", [True, False])
async def test_a_connection_closes_when_either_side_says_so(by_client):
    async def app(scope, receive, send):
        await answer(send, b"x", headers=[] if by_client else [(b"connection", b"close")])

    async with serving(app) as running:
        client = await running.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nConnection: Close\r\n\r\n" if by_client else GET)
        got = await client.response()
        assert got.header("connection") == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize("header", [(b"x", b"a\r\nset-cookie: b"), (b"x\r\ny", b"a"), (b"x", b"a\nb"), (b"x y", b"a")])
async def test_a_response_header_cannot_add_another(header, caplog):
    async def app(scope, receive, send):
        await answer(send, b"x", headers=[header])

    async with serving(app) as running:
        got = await running.ask(GET)
        assert got.status == 500
        assert got.header("set-cookie") is None
