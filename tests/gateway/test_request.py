"""Clients that go, and a store that goes, while a request is on its way to the next target: every hold ends once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.app import App, running_app
from tests.support.audit import records, statement
from tests.support.books import PRICES, Books
from tests.support.client import CHAT, chat_body, checked_error
from tests.support.failing import SCRIPTS, models
from tests.support.gateway import KEY, model
from tests.support.net import until
from tests.support.redis import RedisServer, running_redis
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUDGET = "{tollhouse}:m:key:wide:usd:total:0"


@dataclass
class Store:
    """Where budgets are kept in a test."""

    kind: str
    server: RedisServer | None = None

    @property
    def sections(self) -> dict[str, Any]:
        if self.server is None:
            return {}
        patient = {"op_timeout_s": 5, "connect_timeout_s": 5, "leases": self.kind == "leased"}
        return {"store": self.server.url, "redis": patient}

    def at_rest(self, state: Path) -> tuple[int, int, int]:
        """Posted and reserved on the budget in nano-USD, and the number of open holds."""
        if self.server is None:
            found = statement(state)
            return found.total, sum(found.reserved.values()), found.open_holds
        fields = {name: int(value) for name, value in self.server.ask("HGETALL", BUDGET).items()}
        return fields[b"posted"], fields[b"reserved"], self.server.ask("ZCARD", "{tollhouse}:x")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(params=["embedded", "redis", "leased"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "embedded":
        return Store("embedded")
    server: RedisServer = request.getfixturevalue("server")
    server.ask("FLUSHALL")
    return Store(request.param, server)


@pytest.fixture
def books() -> Iterator[Books]:
    with Books() as running:
        yield running


def _sections(books: Books, *, usd: str = "0.0012", **more: Any) -> dict[str, Any]:
    """A model that says nothing, and its fallback. The budget has room for a few attempts, a lease for none."""
    entries = [model(name, books.base_url, upstream=f"openai/{b}") for name, b in (("a", "mute@50"), ("b", "mute@40"))]
    return {
        "model_list": entries,
        "prices": PRICES,
        "upstream": {"idle_s": 0.2, "first_event_s": 0.2},
        "keys": [{"name": "wide", "key": KEY, "budget": {"usd": usd}}],
        "fallbacks": [{"primary": "a", "backup": "b"}],
    } | more


async def _asked(books: Books, number: int) -> bool:
    return len(books.bills) == number


async def _is_up(app: App) -> bool:
    return (await app.send("/health/ready")).status == 200


@pytest.mark.parametrize("moment", ["before", "meanwhile", "after"])
async def test_a_client_that_goes_while_another_attempt_is_paid_for_leaves_no_hold(
    tmp_path: Path, books: Books, store: Store, reserving: Callable[..., None], moment: str
) -> None:
    if (store.kind, moment) == ("embedded", "meanwhile"):
        moment = "before"  # it answers at once
    async with running_app(tmp_path, **_sections(books), **store.sections) as app:
        await until(lambda: _is_up(app), what="the store is up")
        client = app.client(CHAT, body=chat_body("a", max_tokens=50))

        async def gone() -> None:
            client.disconnect()
            await asyncio.sleep(30)

        async def stalled() -> None:
            assert store.server is not None
            store.server.pause()
            client.disconnect()

        reserving({"before": gone, "meanwhile": stalled}.get(moment))
        task = asyncio.create_task(client.run())
        try:
            if moment == "after":
                await until(lambda: _asked(books, 2), what="the second is asked")
                client.disconnect()
            await asyncio.wait_for(task, 10)
        finally:
            if store.server is not None:
                store.server.resume()
        assert client.response.status == 0
        await app.asgi.state.lifecycle.ended(5)
    found = records(tmp_path / "state")
    asked = ["mute@50"] if moment != "after" else ["mute@50", "mute@40"]
    assert [bill.model for bill in books.bills] == asked
    assert sorted(record["status"] for record in found) == ["attempt", "incomplete"][2 - len(asked) :]
    posted = sum(record["amount"] for record in found)
    assert posted >= books.owed
    assert store.at_rest(tmp_path / "state") == (posted, 0, 0)


@pytest.mark.parametrize("mode", ["hard", "soft"])
async def test_a_store_that_goes_before_another_attempt_is_paid_for(
    tmp_path: Path, books: Books, reserving: Callable[..., None], mode: str
) -> None:
    with running_redis() as server:
        sections = _sections(books, redis={"op_timeout_s": 1, "connect_timeout_s": 1}, store=server.url)
        sections["keys"][0]["budget"] = {"usd": "1", "mode": mode}
        sections["model_list"][1] = model("b", books.base_url, upstream="openai/answer@10")

        async def away() -> None:
            server.kill()

        async with running_app(tmp_path, **sections) as app:
            await until(lambda: _is_up(app), what="the store is up")
            reserving(away)
            response = await app.chat("a", max_tokens=50)
            if mode == "hard":
                # Nobody else is asked; what there is to tell is why the first did not answer.
                assert response.status == 504
                assert [bill.model for bill in books.bills] == ["mute@50"]
                refused = await app.chat("a", max_tokens=50)
                assert (refused.status, refused.header("retry-after")) == (503, "1")
                checked_error(refused.body, "store_unavailable")
                assert len(books.bills) == 1
            else:
                assert (response.status, response.header("x-gateway-model")) == (200, "b")
            server.start()
            expected = ["incomplete"] if mode == "hard" else ["attempt", "complete"]

            async def is_told() -> bool:
                return len(records(tmp_path / "state")) == len(expected)

            await until(is_told, what="the ledger has what the store was not told at once")
        found = sorted((record["status"], record["amount"]) for record in records(tmp_path / "state"))
    assert [status for status, _ in found] == expected
    assert sum(amount for _, amount in found) >= books.owed > 0


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_request_of_two_that_is_ended_more_than_once_leaves_no_task_and_no_hold(
    tmp_path: Path, books: Books, store: Store, cancels: int
) -> None:
    sections = _sections(books, fallbacks=[], routing={"hedge": {"after": 0.02}}, upstream={"idle_s": 30})
    sections["model_list"][1] |= {"model_name": "a"}
    async with running_app(tmp_path, **sections, **store.sections) as app:
        await until(lambda: _is_up(app), what="the store is up")
        before = asyncio.all_tasks()
        task = asyncio.create_task(app.client(CHAT, body=chat_body("a", max_tokens=50)).run())
        await until(lambda: _asked(books, 2), what="both are asked")
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert task.cancelled()
        for _ in range(5):
            await asyncio.sleep(0)
        left = [one for one in asyncio.all_tasks() - before if "Attempt.run" in repr(one)]
        assert not left
        assert not app.asgi.state.lifecycle.calls
    found = records(tmp_path / "state")
    assert sorted(record["status"] for record in found) == ["attempt", "incomplete"]
    posted = sum(record["amount"] for record in found)
    assert posted >= books.owed
    assert store.at_rest(tmp_path / "state") == (posted, 0, 0)


async def test_while_another_attempt_is_paid_for_nobody_else_becomes_the_one_that_finds_out(
    tmp_path: Path, reserving: Callable[..., None]
) -> None:
    with ScriptedUpstream(SCRIPTS) as upstream:
        entries = models(upstream, a="close-at-once", b="once@401")
        section = {"fallbacks": [{"a": ["b"]}], "num_retries": 0, "cooldown_time": 0.2}
        async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
            assert (await app.chat("b")).status == 502
            await asyncio.sleep(0.25)
            reserving(partial(asyncio.sleep, 0.1))
            answers = await asyncio.gather(app.chat("a"), app.chat("a"))
            assert sorted(answer.status for answer in answers) == [200, 502]
            assert len(upstream.log.of("once@401")) == 2
