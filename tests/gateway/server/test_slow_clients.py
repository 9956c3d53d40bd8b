from __future__ import annotations

import asyncio

import pytest

from tests.gateway.server.raw import (
    GET,
    answer,
    get,
    piece,
    post,
    serving,
    start,
    until,
)
from tollhouse.gateway.server.protocol import UNSENT


async def test_send_has_the_app_wait_for_a_slow_reader():
    sent, waits = 0, 0

    async def app(scope, receive, send):
        nonlocal sent, waits
        await start(send)
        for _ in range(256):
            waiting = send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 65536
            if waiting:
                waits += 1
                await waiting
        await piece(send, b"", more=False)

    async with serving(app) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(GET)
        await until(lambda: waits)
        await asyncio.sleep(0.1)
        assert sent < 8 << 20
        (connection,) = running.server._connections
        assert connection.transport.get_write_buffer_size() <= UNSENT + 65536 + 100
        assert len((await client.response()).body) == 16 << 20


async def test_an_app_that_gives_up_waiting_for_a_slow_reader_can_send_again():
    timeouts = 0

    async def app(scope, receive, send):
        nonlocal timeouts
        await start(send)
        for _ in range(128):
            waiting = send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            try:
                await asyncio.wait_for(waiting, 0.01 if timeouts < 3 else None)
            except TimeoutError:
                timeouts += 1
        await piece(send, b"", more=False)

    async with serving(app) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(GET)
        await until(lambda: timeouts == 3)
        assert len((await client.response()).body) == 8 << 20


@pytest.mark.parametrize(
    "request_", [get("/", version="1.0"), b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"]
)
async def test_the_last_response_of_a_connection_may_be_read_slowly(request_):
    body = bytes(16 << 20)

    async def app(scope, receive, send):
        await answer(send, body)

    async with serving(app, head_s=0.05, idle_s=0.05) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(request_)
        await asyncio.sleep(0.3)
        assert (await client.response()).body == body
        assert await client.rest() == b""


async def test_an_answer_to_half_a_request_may_be_read_slowly(monkeypatch):
    monkeypatch.setattr("tollhouse.gateway.server.server.LINGER_S", 0.6)
    body = bytes(16 << 20)

    async def app(scope, receive, send):
        await answer(send, body)

    async with serving(app) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(post(b"12345")[:-1])
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(16):
            await client.reader.readexactly(1 << 20)
            await asyncio.sleep(0.06)
        assert await client.rest() == b""
