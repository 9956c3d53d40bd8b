from __future__ import annotations

import asyncio

from tests.gateway.server.raw import (
    EVENTS,
    GET,
    answer,
    echo,
    get,
    piece,
    post,
    serving,
    start,
    until,
)
from tollhouse.gateway.server.exchange import SCOPE_KEY, HttpExchange


async def test_a_connection_is_kept_for_the_next_request():
    async with serving(echo) as running:
        client = await running.connect()
        for n in range(3):
            client.send(post(b"%d" % n))
            assert (await client.response()).body == b"/|%d" % n


async def test_pipelined_requests_are_answered_one_at_a_time_and_in_order():
    active, most = 0, 0

    async def app(scope, receive, send):
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.02 if scope["path"] == "/0" else 0)
        active -= 1
        await echo(scope, receive, send)

    async with serving(app) as running:
        client = await running.connect()
        client.send(b"".join(post(b"%d" % n, path=f"/{n}") for n in range(20)))
        assert [(await client.response()).body for _ in range(20)] == [b"/%d|%d" % (n, n) for n in range(20)]
    assert most == 1


async def test_a_request_that_comes_during_a_stream_waits_for_its_end():
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await start(send, EVENTS)
        await piece(send, scope["path"].encode())
        await go_on.wait()
        await piece(send, b"!", more=False)

    async with serving(app) as running:
        client = await running.connect()
        client.send(get("/1"))
        assert b"/1\r\n" in await client.reader.readuntil(b"/1\r\n")
        client.send(get("/2"))
        await asyncio.sleep(0.03)
        go_on.set()
        assert (await client.reader.readuntil(b"0\r\n\r\n")).startswith(b"1\r\n!\r\n")
        assert (await client.response()).body == b"/2!"


async def test_the_time_for_a_head_begins_when_it_is_its_turn():
    async def app(scope, receive, send):
        await asyncio.sleep(0.3 if scope["path"] == "/slow" else 0)
        await answer(send, scope["path"].encode())

    async with serving(app, head_s=0.15) as running:
        client = await running.connect()
        client.send(get("/slow") + b"GET /next HT")
        assert (await client.response()).body == b"/slow"
        await asyncio.sleep(0.05)
        client.send(b"TP/1.1\r\nhost: a\r\n\r\n")
        assert (await client.response()).body == b"/next"


async def test_a_client_that_pipelines_without_reading_is_served_no_further():
    served = 0

    async def app(scope, receive, send):
        nonlocal served
        served += 1
        await answer(send, bytes(1 << 20))

    async with serving(app) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(GET * 100)
        await until(lambda: served)
        await asyncio.sleep(0.2)
        assert served < 20
        for _ in range(100):
            assert len((await client.response()).body) == 1 << 20
    assert served == 100


async def test_a_request_may_be_split_at_every_byte():
    request = (
        b"POST /a%20b?c=d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n"
    )
    async with serving(echo) as running:
        client = await running.connect()
        for cut in range(1, len(request)):
            client.send(request[:cut])
            await asyncio.sleep(0.001)
            client.send(request[cut:])
            assert (await client.response()).body == b"/a b|abc"
        for byte in request:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).body == b"/a b|abc"


async def test_blank_lines_before_a_request_are_ignored_wherever_they_are_split():
    lines = b"\r\n\r\n\r\n"
    async with serving(echo) as running:
        for cut in range(len(lines) + 1):
            client = await running.connect()
            client.send(lines[:cut])
            await asyncio.sleep(0.005)
            client.send(lines[cut:] + GET)
            assert (await client.response()).status == 200, cut


async def test_the_body_of_the_next_request_is_not_for_the_app_of_the_last():
    late = []

    async def app(scope, receive, send):
        if scope["path"] == "/first":
            await answer(send, b"early")
            late.extend([await receive(), await receive()])
        else:
            await echo(scope, receive, send)

    async with serving(app) as running:
        client = await running.connect()
        client.send(post(b"mine", path="/first") + post(b"yours", path="/second"))
        assert (await client.response()).body == b"early"
        assert (await client.response()).body == b"/second|yours"
        assert [message["type"] for message in late] == ["http.disconnect"] * 2


async def test_nothing_more_is_received_after_an_answer_to_half_a_request():
    ended = asyncio.Event()

    async def app(scope, receive, send):
        pending = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await answer(send, b"early")
        assert (await pending)["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        ended.set()

    async with serving(app) as running:
        client = await running.connect()
        client.send(post(b"12345")[:-5])
        assert (await client.response()).body == b"early"
        async with asyncio.timeout(2):
            await ended.wait()


async def test_the_scope_is_as_asgi_wants_it():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await answer(send)

    async with serving(app) as running:
        client = await running.connect()
        client.send(b"GET /v1/caf%C3%A9%2Fx/%zz?a=%20b&c HTTP/1.1\r\nHost: a:1\r\nX-Two: 1\r\nx-two:  2 \r\n\r\n")
        await client.response()
        peer = client.writer.get_extra_info("sockname")
        assert seen["type"] == "http"
        assert seen["asgi"]["version"] == "3.0"
        assert (seen["http_version"], seen["method"], seen["scheme"], seen["root_path"]) == ("1.1", "GET", "http", "")
        assert seen["path"] == "/v1/café/x/%zz"
        assert seen["raw_path"] == b"/v1/caf%C3%A9%2Fx/%zz"
        assert seen["query_string"] == b"a=%20b&c"
        assert seen["headers"] == [(b"host", b"a:1"), (b"x-two", b"1"), (b"x-two", b"2")]
        assert seen["client"] == tuple(peer)
        assert seen["server"] == ("127.0.0.1", running.port)
        assert isinstance(seen[SCOPE_KEY], HttpExchange)
