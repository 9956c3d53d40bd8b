from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.support.asgi import Client, http_scope, request
from tollhouse.middlewares.body import BodyMiddleware, BodyStage
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.exchange import Exchange, exchange_of

KINDS = {"/chat": "chat"}
CHAT = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7})


async def _echo(scope, receive, send):
    exchange = exchange_of(scope)
    assert exchange is not None
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    model = exchange.view.model if exchange.view is not None else None
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-model", str(model).encode())]})
    await send({"type": "http.response.body", "body": body})


def _app(**options):
    return BodyMiddleware(_echo, kinds=KINDS, **options)


async def test_a_body_is_parsed_once_and_replayed_to_the_app():
    response = await request(_app(), "/chat", method="POST", body=[CHAT[:5], CHAT[5:9], CHAT[9:]])
    assert response.header("x-model") == "m"
    assert response.body == CHAT


@pytest.mark.parametrize(("path", "method"), [("/other", "POST"), ("/chat", "PUT")])
async def test_other_paths_and_methods_pass_untouched(path, method):
    response = await request(_app(), path, method=method, body=b"not json")
    assert (response.header("x-model"), response.body) == ("None", b"not json")


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"", None), (b"{", None), (b"[]", None), (b'{"model":1,"messages":[]}', "model"), (b"\xff", None)],
)
async def test_a_bad_body_is_a_400_that_names_what_is_wrong(body, param):
    response = await request(_app(), "/chat", method="POST", body=body)
    assert response.status == 400
    assert response.json["error"]["param"] == param
    assert response.json["error"]["message"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_cap_is_a_413(declared):
    headers = [(b"content-length", b"200")] if declared else []
    response = await request(_app(max_bytes=100), "/chat", method="POST", headers=headers, body=[b"x" * 60, b"x" * 60])
    assert response.status == 413
    assert "100 bytes" in response.json["error"]["message"]


async def test_a_content_length_that_is_no_number_is_refused():
    response = await request(_app(), "/chat", method="POST", headers=[(b"content-length", b"+1")], body=b"x")
    assert response.status == 400


async def test_reading_ends_when_the_declared_length_has_come():
    scope = http_scope("/chat", method="POST", headers=[(b"content-length", str(len(CHAT)).encode())])
    client = Client(_app(), scope, [CHAT], ends=False)
    assert (await asyncio.wait_for(client.run(), 5)).header("x-model") == "m"


async def _never(*_):
    await asyncio.get_running_loop().create_future()


async def _read(stage: BodyStage) -> None:
    """Run the stage on a request whose body does not come."""
    exchange = Exchange(http_scope("/chat", method="POST"), _never, _never)
    exchange.kind = "chat"
    reading = stage.enter(exchange)
    assert reading is not None
    await reading


async def test_a_body_that_does_not_come_is_a_408():
    with pytest.raises(BadRequest) as caught:
        await _read(BodyStage(read_timeout_s=0.02))
    assert caught.value.status == 408


def test_a_body_that_does_not_come_is_a_408_in_the_next_event_loop_as_well():
    stage = BodyStage(read_timeout_s=0.02)

    async def begun() -> None:
        reading = asyncio.create_task(_read(stage))
        await asyncio.sleep(0)
        reading.cancel()

    asyncio.run(begun())
    with pytest.raises(BadRequest) as caught:
        asyncio.run(asyncio.wait_for(_read(stage), 5))
    assert caught.value.status == 408


async def test_a_cancelled_request_is_not_taken_for_a_slow_one():
    task = asyncio.create_task(_read(BodyStage()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_goes_while_sending_is_not_answered_as_if_it_had_sent_all():
    scope = http_scope("/chat", method="POST")
    client = Client(_app(), scope, [CHAT[:5]], ends=False)
    client.disconnect()
    assert (await client.run()).status == 400
