"""Which requests go in few calls, and what becomes of those where something else happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateway.server.fast import OTHER_KEY, PRICES, Gateway, chat, gateway, ledger, request
from tests.gateway.server.raw import until
from tests.support.gateway import KEY, model
from tollhouse.gateway import fast_routes, fastpath

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize(
    "unusual",
    [
        request(chat("fine", stream=True)),
        request(chat("fine", service_tier="flex")),
        request(chat("fine", stream_options={"include_usage": True})),
        request(chat("other")),
        request(chat("fine"), key=OTHER_KEY),
        request(chat("fine"), path="/v1/chat/completions?a=b"),
        request(chat("fine"), x_api_key=KEY),
        request(chat("fine"), authorization=f"Bearer {KEY}"),
        request(chat("fine"), host="other"),
        request(chat("fine"), content_encoding="gzip"),
        request(chat("fine"), x_request_id="not sane"),
        request(chat("fine"), idempotency_key="1"),
        request(chat("fine"), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        request(chat("fine")).replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(chat("fine")).replace(b"host: t\r\n", b""),
        request(chat("fine")).replace(b"Bearer ", b"bearer "),
        request({"model": "fine"}),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer " + KEY.encode() + b"\r\n"
        b"transfer-encoding: chunked\r\n\r\n" + b"2\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_what_is_out_of_the_ordinary_goes_the_ordinary_way(tmp_path, upstream, taken, unusual):
    models = [model("fine", upstream.base_url), model("other", upstream.base_url)]
    async with gateway(tmp_path, model_list=models) as running:
        await running.learn("fine")
        await running.running.ask(unusual)
        assert not taken
        assert (await running.ask(chat("fine"))).status == 200
        assert len(taken) == 1


async def test_a_key_opens_nothing_from_when_it_is_revoked(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        keys = running.app.state.keys
        record, key = await keys.create(name="new", team=None, models=None)
        for _ in range(3):
            assert (await running.running.ask(request(chat("fine"), key=key))).status == 200
        assert len(taken) == 1
        assert await keys.revoke(record.public)
        assert (await running.running.ask(request(chat("fine"), key=key))).status == 401
        assert len(taken) == 1


async def test_a_client_that_goes_lets_the_upstream_go_and_is_charged(tmp_path, upstream, taken):
    sections: dict[str, Any] = {
        "model_list": [model("third@hang", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, "budget": {"usd": "1"}}],
        "prices": PRICES,
    }
    async with gateway(tmp_path, **sections) as running:
        await running.learn("third@hang")
        client = await running.running.connect()
        client.send(request(chat("third@hang", max_tokens=10), x_request_id="gone"))
        await until(lambda: taken == ["gone"])
        client.reset()
        lifecycle = running.app.state.lifecycle
        await until(lambda: not lifecycle.in_flight and not lifecycle.calls)
        assert not running.running.server.running
        assert b'"status":499' in running.lines[-1]
    row = next(row for row in ledger(tmp_path) if row["request"] == b"gone")
    assert (row["status"], row["amount"] > 0) == ("incomplete", True)


async def test_a_text_that_the_report_has_no_tokens_of_is_estimated_by_the_stages(tmp_path, upstream, taken):
    sections: dict[str, Any] = {"model_list": [model("third@unwritten", upstream.base_url)], "prices": PRICES}
    async with gateway(tmp_path, **sections) as running:
        await running.learn("third@unwritten")
        answer = await running.running.ask(request(chat("third@unwritten"), x_request_id="mine"))
        assert (answer.status, taken) == (200, ["mine"])
    row = next(row for row in ledger(tmp_path) if row["request"] == b"mine")
    assert row["status"] == "estimated"


async def test_after_a_refusal_the_stages_decide_until_they_have_let_one_pass(tmp_path, upstream, taken):
    sections: dict[str, Any] = {
        "model_list": [model("third@hang", upstream.base_url), model("fine", upstream.base_url)],
        "keys": [{"name": "k", "key": KEY, "limits": {"parallel": 1}}],
    }
    async with gateway(tmp_path, **sections) as running:
        await running.learn("fine")
        await running.learn("third@hang")
        client = await running.running.connect()
        client.send(request(chat("third@hang"), x_request_id="hangs"))
        await until(lambda: "hangs" in taken)
        assert [(await running.ask(chat("fine"))).status for _ in range(2)] == [429, 429]
        client.reset()
        await until(lambda: not running.app.state.lifecycle.in_flight)
        for number in range(3):
            assert (await running.ask(chat("fine"), x_request_id=str(number))).status == 200
        assert taken[taken.index("hangs") :] == ["hangs", "1", "2"]


class Apart:
    """A request whose head has come, and whose body is still to come."""

    def __init__(self, running: Gateway) -> None:
        self.server = running.running.server
        head, _, self.body = request(chat("fine"), x_request_id="apart").partition(b"\r\n\r\n")
        self.head = head + b"\r\n\r\n"

    def held(self) -> bool:
        return any(connection.held for connection in self.server._connections)


async def test_head_and_body_may_come_one_after_the_other(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        client, apart = await running.running.connect(), Apart(running)
        for number in (1, 2):
            client.send(apart.head[:20])
            client.send(apart.head[20:])
            await until(apart.held)
            client.send(apart.body[:10])
            client.send(apart.body[10:])
            assert (await client.response()).status == 200
            assert taken == ["apart"] * number
            assert not apart.held()


async def test_a_body_that_does_not_come_is_left_to_the_stages(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        client, apart = await running.running.connect(), Apart(running)
        client.send(apart.head + apart.body[:10])
        await until(apart.held)
        apart.server._tick()
        assert not apart.held()
        assert len(apart.server.running) == 1
        client.send(apart.body[10:])
        assert (await client.response()).status == 200
        client.send(apart.head)
        await until(apart.held)
        client.reset()
        await until(lambda: b'"incomplete_body"' in running.lines[-1])
        assert not apart.server.running
        assert not taken


async def test_nobody_waits_for_the_body_of_a_key_that_is_not_known(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        client = await running.running.connect()
        client.send(Apart(running).head.replace(KEY.encode(), OTHER_KEY.encode()))
        assert (await client.response()).status == 401


async def test_a_key_with_a_fast_model_can_use_others(tmp_path, upstream, taken):
    """Two deployments of one name are no fast route: which one is asked is decided each time."""
    both = [model("twice", upstream.base_url, upstream="openai/fine") for _ in range(2)]
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url), *both]) as running:
        await running.learn("fine")
        for _ in range(3):
            assert (await running.ask(chat("twice"))).status == 200
        nested = chat("fine") | {"metadata": {"model": "twice"}}
        assert (await running.ask(nested)).status == 200
        assert len(taken) == 1


async def test_what_is_under_way_at_the_end_gets_an_answer(tmp_path, upstream, taken):
    models = [model("third@hang", upstream.base_url), model("fine", upstream.base_url)]
    async with gateway(tmp_path, model_list=models) as running:
        await running.learn("third@hang")
        await running.learn("fine")
        client = await running.running.connect()
        client.send(request(chat("third@hang"), x_request_id="late"))
        await until(lambda: taken[-1:] == ["late"])
        lifecycle = running.app.state.lifecycle
        lifecycle.drain()
        lifecycle.end_calls()
        async with asyncio.timeout(5):
            answer = await client.response()
        assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (503, "server_shutting_down")
        assert not lifecycle.calls
        # Who is about to stop tells every client to go elsewhere: that is for the ordinary way.
        assert (await running.ask(chat("fine"))).header("connection") == "close"
        assert taken[-1] == "late"


async def test_a_pipeline_is_answered_in_order(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        client = await running.running.connect()
        client.send(b"".join(request(chat("fine"), x_request_id=f"r{number}") for number in range(4)))
        ids = [(await client.response()).header("x-request-id") for _ in range(4)]
        assert ids == ["r0", "r1", "r2", "r3"]
        assert taken == ["r0"]


async def test_a_client_that_wants_to_close_is_closed(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        client = await running.running.connect()
        client.send(request(chat("fine"), connection="close"))
        assert (await client.response()).header("connection") == "close"
        assert await client.gone()
        assert len(taken) == 1


async def test_a_panic_at_the_end_leaves_nobody_waiting(tmp_path, upstream, taken, monkeypatch):
    class Panic(BaseException):
        """As a panic of the extension comes out."""

    def panics(*_: object) -> None:
        raise Panic

    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        lifecycle = running.app.state.lifecycle
        await running.learn("fine")
        with monkeypatch.context() as patched:
            patched.setattr(fastpath.FastPath, "end", panics)
            assert (await running.ask(chat("fine"))).status == 200
            patched.setattr(fastpath.FastPath, "unfold", panics)
            client = await running.running.connect()
            client.send(request(chat("fine")))
            async with asyncio.timeout(5):
                assert await client.gone()
        assert len(taken) == 2
        await until(lambda: not lifecycle.in_flight and not lifecycle.calls)
        assert (await running.ask(chat("fine"))).status == 200


class Failing:
    """What is native, but for one method that fails."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner = inner
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise RuntimeError
        return getattr(self._inner, name)


@pytest.mark.parametrize("name", ["find", "reserve"])
async def test_a_defect_at_the_beginning_costs_no_place_and_no_answer(tmp_path, upstream, taken, monkeypatch, name):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        fast = running.app.middleware_stack.fast
        find = fast._find

        def failing(reader: Any) -> Any:
            if name == "find":
                raise RuntimeError
            return Failing(find(reader), name)

        with monkeypatch.context() as patched:
            patched.setattr(fast, "_find", failing)
            assert (await running.ask(chat("fine"))).status == 200
        assert not taken
        (origin,) = {route.way.origin for route in fast._routes._routes.values()}
        assert origin.places.in_flight == 0
        assert (await running.ask(chat("fine"))).status == 200
        assert len(taken) == 1


async def test_what_is_counted_is_handed_on_when_nothing_more_comes(tmp_path, upstream, taken):
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        await running.learn("fine")
        metrics = running.app.state.metrics
        await until(lambda: not metrics.is_flushing)
        await running.ask(chat("fine"))
        assert len(taken) == 1
        assert metrics.is_flushing


async def test_names_under_a_pattern_do_not_pile_up(tmp_path, upstream, taken, monkeypatch):
    monkeypatch.setattr(fast_routes, "_KEPT", 3)
    monkeypatch.setattr(fast_routes, "_ONE_IN", 1)
    async with gateway(tmp_path, model_list=[model("fine*", upstream.base_url, upstream="openai/fine")]) as running:
        await running.learn("fine1")
        for number in range(1, 9):
            await running.ask(chat(f"fine{number}"))
            await running.ask(chat(f"fine{number}"))
        await running.ask(chat("fine" + "9" * 300))
        await running.ask(chat("fine" + "9" * 300))
        assert len(taken) == 9
        assert len(running.app.middleware_stack.fast._routes._routes) <= 3


async def test_where_more_take_turns_than_are_kept_some_are_and_the_rest_costs_nothing(
    tmp_path, upstream, taken, monkeypatch
):
    monkeypatch.setattr(fast_routes, "_KEPT", 3)
    made: list[str] = []
    make = fast_routes.FastRoutes._made

    def noted(self: Any, exchange: Any, *rest: Any) -> Any:
        made.append(exchange.view.model)
        return make(self, exchange, *rest)

    monkeypatch.setattr(fast_routes.FastRoutes, "_made", noted)
    async with gateway(tmp_path, model_list=[model("fine*", upstream.base_url, upstream="openai/fine")]) as running:
        await running.learn("fine0")
        for number in range(1, 11):
            await running.ask(chat(f"fine{number}"))
        assert made == ["fine0", "fine1", "fine2", "fine10"]
        await running.ask(chat("fine10"))
        await running.ask(chat("fine1"))
        assert len(taken) == 2
        await running.ask(chat("fine0"))  # the oldest had to go
        assert len(taken) == 2


async def test_other_prices_and_another_window_are_learned_anew(tmp_path, upstream, taken, monkeypatch):
    keys = [{"name": "k", "key": KEY, "budget": {"usd": "100", "window": "1h"}}]
    async with gateway(tmp_path, keys=keys, prices=PRICES, model_list=[model("fine", upstream.base_url)]) as running:
        fast = running.app.middleware_stack.fast
        await running.learn("fine")
        await running.ask(chat("fine"))
        assert len(taken) == 1
        fast._quota._plans.clear()  # as when a window has turned
        fast._routes.table.clear()
        for _ in range(2):
            await running.ask(chat("fine"))
        assert len(taken) == 2
        fast._routes._pricing._begin_day()
        monkeypatch.setattr(fast._routes._pricing, "_day", fast._routes._pricing._day + 86400)
        fast._routes.table.clear()  # as `holds` says of each when the day is over
        for _ in range(2):
            await running.ask(chat("fine"))
        assert len(taken) == 3


@pytest.mark.parametrize("fails_in", ["FastRoute", "bearer"])
async def test_a_defect_in_learning_harms_nobody(tmp_path, upstream, taken, monkeypatch, fails_in):
    def fails(*_: object, **__: object) -> None:
        raise TypeError

    monkeypatch.setattr(fast_routes, fails_in, fails)
    async with gateway(tmp_path, model_list=[model("fine", upstream.base_url)]) as running:
        for _ in range(3):
            assert (await running.ask(chat("fine"))).status == 200
        assert not taken
        assert not running.app.state.lifecycle.in_flight
