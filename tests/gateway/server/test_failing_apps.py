from __future__ import annotations

import asyncio

import pytest

from tests.gateway.server.raw import (
    GET,
    answer,
    get,
    piece,
    serving,
    start,
)
from tollhouse.gateway.server.exchange import SCOPE_KEY


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
