from __future__ import annotations

import asyncio
import gc

import pytest

from tests.gateway.server.raw import GET, answer, body_of, echo, get, post, serving, until
from tollhouse.gateway.server.protocol import SCOPE_KEY, UNSENT, HttpConnection, HttpExchange

EVENTS = [(b"content-type", b"text/event-stream")]
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


async def start(send, headers=(), status=200):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def piece(send, body, *, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


# Requests on one connection


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


# Responses


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


# Bodies of requests


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


# Apps that fail


async def test_an_exception_before_the_response_is_a_500(caplog):
    async def app(scope, receive, send):
        if scope["path"] == "/started":
            await start(send)
        raise ValueError("secret")

    async with serving(app) as running:
        for path in ("/", "/started"):
            got = await running.ask(get(path))
            assert (got.status, got.header("connection")) == (500, "close")
            assert b"secret" not in got.body


async def test_an_app_that_does_not_answer_is_a_500():
    async def app(scope, receive, send):
        pass

    async with serving(app) as running:
        assert (await running.ask(GET)).status == 500


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("raises", [True, False])
async def test_a_response_that_breaks_off_is_not_taken_for_whole(version, raises, caplog):
    async def app(scope, receive, send):
        await start(send)
        await piece(send, b"half")
        await asyncio.sleep(0.02)
        if raises:
            raise ValueError

    async with serving(app) as running:
        client = await running.connect()
        client.send(get("/", version=version))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.response()


async def test_a_cancelled_app_ends_its_connection():
    async def app(scope, receive, send):
        await start(send)
        await piece(send, b"half")
        scope[SCOPE_KEY].task.cancel()
        await asyncio.sleep(60)

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.response()


async def test_a_task_that_an_app_left_behind_cannot_send_after_a_500(caplog):
    outcome: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def later(send):
        await asyncio.sleep(0.02)
        try:
            await answer(send, b"late")
        except RuntimeError as error:
            outcome.set_result(error)
        else:
            outcome.set_result(None)

    tasks = []

    async def app(scope, receive, send):
        tasks.append(asyncio.create_task(later(send)))
        raise ValueError

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET)
        assert (await client.response()).status == 500
        error = await outcome
        assert error is None or "complete" in str(error)
        assert await client.rest() == b""


async def test_what_is_sent_after_the_end_or_out_of_order_is_refused():
    errors = []

    async def app(scope, receive, send):
        for message in (
            {"type": "http.response.body", "body": b"x"},
            {"type": "http.response.start", "status": 200},
            {"type": "http.response.start", "status": 200},
            {"type": "http.response.body", "body": b"x"},
            {"type": "http.response.body", "body": b"y"},
            {"type": "http.response.start", "status": 200},
        ):
            try:
                await send(message)
            except RuntimeError:
                errors.append(str(message["type"]).rpartition(".")[2])

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET)
        assert (await client.response()).body == b"x"
        client.send(GET)
        assert (await client.response()).body == b"x"
    assert errors == ["body", "start", "body", "start"] * 2


# Slow and vanishing clients


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
    monkeypatch.setattr("tollhouse.gateway.server.server.LINGER_S", 0.2)
    body = bytes(16 << 20)

    async def app(scope, receive, send):
        await answer(send, body)

    async with serving(app) as running:
        client = await running.connect(receive_buffer=4096)
        client.send(post(b"12345")[:-1])
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(16):
            await client.reader.readexactly(1 << 20)
            await asyncio.sleep(0.03)
        assert await client.rest() == b""


async def test_an_app_hears_that_its_client_has_gone():
    told = asyncio.Event()

    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        await answer(send, b"nobody hears")  # quietly
        told.set()

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET)
        await asyncio.sleep(0.02)
        client.reset()
        async with asyncio.timeout(2):
            await told.wait()
        await until(lambda: not running.server._connections)


async def test_a_watcher_is_called_when_the_client_goes_and_at_once_when_it_has_gone():
    calls = []
    done = asyncio.Event()

    async def app(scope, receive, send):
        exchange = scope[SCOPE_KEY]
        exchange.watch(lambda: calls.append("early"))
        while (await receive())["type"] != "http.disconnect":
            pass
        exchange.watch(lambda: calls.append("late"))
        assert calls == ["early", "late"]
        exchange.watch(None)
        done.set()

    async with serving(app) as running:
        client = await running.connect()
        client.send(GET)
        await asyncio.sleep(0.02)
        client.reset()
        async with asyncio.timeout(2):
            await done.wait()


async def test_a_watcher_that_was_taken_back_or_whose_response_is_complete_is_not_called():
    calls = []

    async def app(scope, receive, send):
        scope[SCOPE_KEY].watch(lambda: calls.append(1))
        if scope["path"] == "/back":
            scope[SCOPE_KEY].watch(None)
        await answer(send)

    async with serving(app) as running:
        for path in ("/back", "/complete"):
            client = await running.connect()
            client.send(get(path))
            await client.response()
            client.reset()
        await until(lambda: not running.server._connections)
    assert not calls


async def test_a_body_that_came_whole_can_be_read_after_its_client_has_gone():
    got = []

    async def app(scope, receive, send):
        gone = asyncio.Event()
        scope[SCOPE_KEY].watch(gone.set)
        await start(send)
        while not gone.is_set():  # reading is paused, so writing has to tell
            await piece(send, b"x")
            await asyncio.sleep(0.01)
        got.append(len(await body_of(receive)))

    async with serving(app) as running:
        client = await running.connect()
        client.send(post(bytes(90_000)))
        await asyncio.sleep(0.1)
        client.reset()
        await until(lambda: got)
    assert got == [90_000]


async def test_a_request_leaves_nothing_to_the_garbage_collector():
    async def app(scope, receive, send):
        if scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if scope["path"] == "/silent":
            return
        await echo(scope, receive, send)

    def alive() -> int:
        return sum(isinstance(found, HttpConnection | HttpExchange) for found in gc.get_objects())

    async with serving(app) as running:
        gc.collect()
        before = alive()
        gc.disable()
        try:
            for path in ("/", "/wait", "/silent"):
                client = await running.connect()
                client.send(get(path) * (2 if path == "/" else 1))
                if path != "/wait":
                    await client.response()
                await asyncio.sleep(0.02)
                client.reset()
                await until(lambda: not running.server._connections)
                await asyncio.sleep(0.02)
                assert alive() == before, path
        finally:
            gc.enable()
