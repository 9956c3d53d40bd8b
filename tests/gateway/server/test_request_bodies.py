from __future__ import annotations

import asyncio

import pytest

from tests.gateway.server.raw import (
    answer,
    body_of,
    echo,
    post,
    serving,
)

CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_client_that_asks_is_told_once_to_go_on():
    async def app(scope, receive, send):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        await echo(scope, receive, send)

    async with serving(app) as running:
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        assert (await client.response()).status == 100
        await asyncio.sleep(0.03)
        client.send(b"ab")
        await asyncio.sleep(0.03)
        client.send(b"cd")
        got = await client.response()
        assert (got.status, got.body) == (200, b"/|abcd")


async def test_a_client_that_asks_is_not_told_to_go_on_when_nobody_wants_the_body():
    async def app(scope, receive, send):
        await answer(send, b"no", status=401)

    async with serving(app) as running:
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        got = await client.response()
        assert (got.status, got.header("connection")) == (401, None)
        assert await client.rest() == b""


async def test_an_answer_reaches_a_client_that_still_sends():
    async def app(scope, receive, send):
        await answer(send, b"too large", status=413)

    async with serving(app) as running:
        client = await running.connect()
        client.send(post(bytes(8 << 20)))
        got = await client.response()
        assert (got.status, got.body) == (413, b"too large")
        await client.writer.drain()
        assert await client.rest() == b""


async def test_a_body_that_is_not_taken_is_not_read_either():
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await go_on.wait()
        await answer(send, b"%d" % len(await body_of(receive)))

    async with serving(app) as running:
        client = await running.connect()
        client.send(post(bytes(32 << 20)))
        await asyncio.sleep(0.1)
        (connection,) = running.server._connections
        assert connection._reader.held < 1 << 20
        go_on.set()
        assert (await client.response()).body == b"%d" % (32 << 20)


async def test_a_broken_body_can_be_answered():
    async def app(scope, receive, send):
        try:
            await body_of(receive)
        except ConnectionError:
            await answer(send, b"broken", status=422)

    async with serving(app) as running:
        for rest in (b"5\r\nhello\r\nzz\r\n", b"5\r\nhelloXX"):
            client = await running.connect()
            client.send(CHUNKED)
            await asyncio.sleep(0.01)
            client.send(rest)
            got = await client.response()
            assert (got.status, got.body) == (422, b"broken")
            assert await client.rest() == b""


@pytest.mark.parametrize("in_one", [True, False])
async def test_a_broken_body_that_the_app_does_not_answer_is_a_bad_request(in_one):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(app) as running:
        client = await running.connect()
        client.send(CHUNKED + (b"zz\r\n" if in_one else b"5\r\nhello\r\n"))
        if not in_one:
            await asyncio.sleep(0.01)
            client.send(b"zz\r\n")
        assert (await client.response()).status == 400
        assert await client.rest() == b""
