"""The lane alone: the order of its stages, what it makes of errors, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.support.asgi import Client, http_scope, request
from tests.support.client import checked_error
from tollhouse.gateway.lane import Lane
from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.gateway.logs import JsonFormatter, TextFormatter
from tollhouse.middlewares.errors import BadRequest, Forbidden
from tollhouse.middlewares.exchange import SCOPE_KEY, Exchange, exchange_of
from tollhouse.middlewares.stage import Stage
from tollhouse.providers.errors import UpstreamBusy, UpstreamStreamError, UpstreamTimeout

SECRET = "the prompt that nobody may log"


class Recorder(Stage):
    """A stage that writes down when it was passed, and fails or waits if told to."""

    def __init__(
        self, name: str, seen: list[str], *, fails: Exception | None = None, waits: Awaitable[None] | None = None
    ) -> None:
        self._name = name
        self._seen = seen
        self._fails = fails
        self._waits = waits

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        self._seen.append(f"+{self._name}")
        if self._fails is not None:
            raise self._fails
        return self._waits

    def leave(self, exchange: Exchange) -> None:
        self._seen.append(f"-{self._name}:{exchange.status}:{exchange.error_code}:{exchange.route}")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    scope["endpoint"] = _app
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"starlette"})


async def _handler(exchange: Exchange) -> None:
    await exchange.respond(200, [], f"hot {exchange.kind}".encode())


def _lane(
    *stages: Recorder,
    app: Any = _app,
    handler: Any = _handler,
    start: Any = None,
    lifecycle: Lifecycle | None = None,
) -> Lane:
    return Lane(
        app,
        stages=stages,
        hot={"/hot": "chat"},
        handler=handler,
        start=start or (lambda exchange, _: handler(exchange)),
        lifecycle=lifecycle or Lifecycle(),
        paths={"/hot", "/plain"},
        templates={_app: "/things/{id}"},
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "route"),
    [
        ("POST", "/hot", b"hot chat", "/hot"),
        ("GET", "/hot", b"starlette", "/things/{id}"),
        ("POST", "/hot/", b"starlette", "/things/{id}"),
        ("GET", "/things/7", b"starlette", "/things/{id}"),
    ],
)
async def test_hot_routes_skip_the_router_and_stages_nest(method, path, body, route):
    seen: list[str] = []
    lane = _lane(Recorder("a", seen), Recorder("b", seen))
    response = await request(lane, path, method=method)
    assert response.body == body
    assert seen == ["+a", "+b", f"-b:200::{route}", f"-a:200::{route}"]


async def test_a_stage_may_wait():
    seen: list[str] = []
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lane = _lane(Recorder("a", seen, waits=gate), Recorder("b", seen))
    task = asyncio.create_task(request(lane, "/hot", method="POST"))
    await asyncio.sleep(0)
    assert seen == ["+a"]
    gate.set_result(None)
    assert (await task).status == 200
    assert seen[1] == "+b"


async def test_a_refusal_ends_the_way_and_only_who_was_entered_is_left():
    seen: list[str] = []
    refusal = BadRequest("no", code="nope", param="p", headers=[(b"x-why", b"w")])
    lane = _lane(Recorder("a", seen), Recorder("b", seen, fails=refusal), Recorder("c", seen))
    response = await request(lane, "/plain")
    assert (response.status, response.header("x-why")) == (400, "w")
    checked_error(response.body, "nope", param="p")
    assert seen == ["+a", "+b", "-b:400:nope:/plain", "-a:400:nope:/plain"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Forbidden("no"), 403, "permission_denied"),
        (UpstreamTimeout("late"), 504, "upstream_timeout"),
        (UpstreamBusy("full"), 503, "upstream_busy"),
        (UpstreamStreamError("oh", status=429), 429, "upstream_stream_error"),
        (RuntimeError(SECRET), 500, "internal_error"),
    ],
)
async def test_every_error_of_a_handler_is_an_answer(error, status, code, caplog):
    async def handler(exchange):
        raise error

    response = await request(_lane(handler=handler), "/hot", method="POST")
    assert response.status == status
    checked_error(response.body, code)
    assert SECRET not in response.body.decode()
    assert error.__traceback__ is None, "its frames would keep the request alive"


async def test_an_unexpected_error_is_logged_by_type_and_place_only(caplog, monkeypatch):
    lines: list[str] = []

    async def handler(exchange):
        raise ValueError(SECRET)

    # All tests share the handler.
    forms = (JsonFormatter(), TextFormatter())
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lines.extend(form.format(record) for form in forms))
    assert (await request(_lane(handler=handler), "/hot", method="POST")).status == 500
    assert len(lines) == 2
    for line in lines:
        assert "ValueError" in line
        assert "test_lane.py" in line
        assert "/hot" in line
        assert SECRET not in line


async def test_an_error_after_the_start_cannot_change_the_answer(caplog):
    async def handler(exchange):
        await exchange.start(200, [])
        raise RuntimeError

    client = Client(_lane(handler=handler), http_scope("/hot", method="POST"))
    response = await client.run()
    assert (response.status, response.complete, response.body) == (200, False, b"")


async def test_the_error_of_a_route_keeps_its_template():
    seen: list[str] = []

    async def app(scope, receive, send):
        scope["endpoint"] = _app
        raise Forbidden("no")

    assert (await request(_lane(Recorder("a", seen), app=app), "/things/7")).status == 403
    assert seen[-1] == "-a:403:permission_denied:/things/{id}"


@pytest.mark.parametrize("gone", [True, False])
async def test_cancelling_is_swallowed_only_if_the_client_has_gone(gone):
    seen: list[str] = []
    reached = asyncio.Event()

    async def handler(exchange):
        exchange.gone = gone
        reached.set()
        await asyncio.get_running_loop().create_future()

    lifecycle = Lifecycle()
    lane = _lane(Recorder("a", seen), handler=handler, lifecycle=lifecycle)
    task = asyncio.create_task(request(lane, "/hot", method="POST"))
    await reached.wait()
    assert lifecycle.in_flight == 1
    task.cancel()
    if gone:
        assert (await task).status == 0
        assert seen[-1] == "-a:0:client_disconnected:/hot"
    else:
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen[-1] == "-a:0::/hot"
    assert lifecycle.in_flight == 0


async def test_the_exchange_is_there_inside_and_gone_afterwards():
    found: list[Exchange | None] = []

    async def app(scope, receive, send):
        found.append(exchange_of(scope))
        await _app(scope, receive, send)

    client = Client(_lane(app=app), http_scope("/plain"))
    await client.run()
    assert isinstance(found[0], Exchange)
    assert SCOPE_KEY not in client.scope


async def test_while_draining_every_answer_asks_to_close():
    lifecycle = Lifecycle()
    lane = _lane(lifecycle=lifecycle)
    lifecycle.drain()
    for method in ("GET", "POST"):
        assert (await request(lane, "/hot", method=method)).header("connection") == "close"


async def test_other_scopes_pass():
    seen: list[str] = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    nothing: Any = None
    await _lane(app=app)({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]


class _Connection:
    """Of a server that lets requests be served without a task."""

    def __init__(self) -> None:
        self.watcher: Any = None
        self.waited_ns = 0
        self.answers: list[tuple[int, bytes]] = []
        self.carried: list[Any] = []
        self.ends = 0

    async def receive(self) -> Any:
        raise AssertionError

    def send(self, message: Any) -> Any:
        raise AssertionError

    def take_body(self) -> bytes:
        raise AssertionError

    def respond(self, status: int, headers: Any, body: bytes) -> None:
        self.answers.append((status, body))

    def carry(self, serving: Any) -> None:
        self.carried.append(serving)

    def end(self) -> None:
        self.ends += 1


class TestDirect:
    """Without a task."""

    @pytest.mark.parametrize(("method", "path"), [("GET", "/hot"), ("POST", "/plain")])
    def test_other_requests_are_served_as_usual(self, method, path):
        seen: list[str] = []
        assert _lane(Recorder("a", seen)).direct(http_scope(path, method=method), _Connection()) is False
        assert seen == []

    async def test_an_answer_that_comes_later_ends_the_exchange_and_the_stages(self):
        seen: list[str] = []
        started: list[Any] = []
        lifecycle = Lifecycle()
        lane = _lane(
            Recorder("a", seen),
            Recorder("b", seen),
            start=lambda exchange, ended: started.append((exchange, ended)),
            lifecycle=lifecycle,
        )
        connection = _Connection()
        assert lane.direct(http_scope("/hot", method="POST"), connection) is None
        assert (seen, lifecycle.in_flight, connection.ends) == (["+a", "+b"], 1, 0)
        [(exchange, ended)] = started
        await exchange.respond(200, [], b"late")
        ended(exchange, None)
        assert seen[2:] == ["-b:200::/hot", "-a:200::/hot"]
        assert (lifecycle.in_flight, connection.ends, connection.answers) == (0, 1, [(200, b"late")])
        assert SCOPE_KEY not in exchange.scope

    async def test_a_stage_that_waits_is_awaited_with_all_that_follows(self):
        seen: list[str] = []
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = _Connection()
        lane = _lane(Recorder("a", seen, waits=gate), Recorder("b", seen))
        serving = lane.direct(http_scope("/hot", method="POST"), connection)
        assert serving
        assert seen == ["+a"]
        gate.set_result(None)
        await serving
        assert seen == ["+a", "+b", "-b:200::/hot", "-a:200::/hot"]
        assert connection.answers == [(200, b"hot chat")]

    @pytest.mark.parametrize("who", ["a stage", "the handler"])
    async def test_a_refusal_leaves_who_was_entered(self, who):
        seen: list[str] = []
        refusal = BadRequest("no", code="nope")

        def start(exchange: Exchange, ended: Any) -> None:
            raise refusal

        connection = _Connection()
        lane = _lane(
            Recorder("a", seen),
            Recorder("b", seen, fails=refusal if who == "a stage" else None),
            Recorder("c", seen),
            start=start,
        )
        serving = lane.direct(http_scope("/hot", method="POST"), connection)
        assert serving
        await serving
        [(status, body)] = connection.answers
        assert status == 400
        checked_error(body, "nope")
        entered = "ab" if who == "a stage" else "abc"
        assert seen == [f"+{one}" for one in entered] + [f"-{one}:400:nope:/hot" for one in reversed(entered)]

    async def test_what_is_left_to_do_is_carried_by_a_task(self):
        seen: list[str] = []
        lane = _lane(Recorder("a", seen), start=lambda exchange, ended: ended(exchange, _handler(exchange)))
        connection = _Connection()
        assert lane.direct(http_scope("/hot", method="POST"), connection) is None
        assert seen == ["+a"]
        [rest] = connection.carried
        await rest
        assert seen == ["+a", "-a:200::/hot"]
        assert connection.answers == [(200, b"hot chat")]
        assert connection.ends == 0, "which its task does"
