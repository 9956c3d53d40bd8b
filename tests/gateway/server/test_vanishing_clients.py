from __future__ import annotations

import asyncio
import gc

from tests.gateway.server.raw import (
    GET,
    answer,
    ask_and_leave,
    body_of,
    echo,
    get,
    piece,
    post,
    serving,
    start,
    until,
)
from tollhouse.gateway.server.exchange import SCOPE_KEY, HttpExchange
from tollhouse.gateway.server.protocol import HttpConnection


async def test_an_app_hears_that_its_client_has_gone():
    waits, told = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.request"
        waits.set()
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        await answer(send, b"nobody hears")  # quietly
        told.set()

    async with serving(app) as running:
        client = await running.connect()
        await ask_and_leave(client, GET, waits.is_set)
        await until(told.is_set)
        await until(lambda: not running.server._connections)


async def test_a_watcher_is_called_when_the_client_goes_and_at_once_when_it_has_gone():
    calls = []
    waits, done = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        exchange = scope[SCOPE_KEY]
        exchange.watch(lambda: calls.append("early"))
        waits.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        exchange.watch(lambda: calls.append("late"))
        assert calls == ["early", "late"]
        exchange.watch(None)
        done.set()

    async with serving(app) as running:
        client = await running.connect()
        await ask_and_leave(client, GET, waits.is_set)
        await until(done.is_set)


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
    got, exchanges = [], []

    async def app(scope, receive, send):
        gone = asyncio.Event()
        exchanges.append(scope[SCOPE_KEY])
        scope[SCOPE_KEY].watch(gone.set)
        await start(send)
        while not gone.is_set():  # reading is paused, so writing has to tell
            await piece(send, b"x")
            await asyncio.sleep(0.01)
        got.append(len(await body_of(receive)))

    async with serving(app) as running:
        client = await running.connect()
        await ask_and_leave(client, post(bytes(90_000)), lambda: exchanges and exchanges[0].has_body)
        await until(lambda: got)
    assert got == [90_000]


async def test_a_request_leaves_nothing_to_the_garbage_collector():
    served = []

    async def app(scope, receive, send):
        served.append(scope["path"])
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
            for path, asked in (("/", 2), ("/wait", 1), ("/silent", 1)):
                client = await running.connect()
                served.clear()
                await ask_and_leave(client, get(path) * asked, lambda n=asked: len(served) == n)
                await until(lambda: not running.server._connections)
                await until(lambda: alive() == before)
        finally:
            gc.enable()
