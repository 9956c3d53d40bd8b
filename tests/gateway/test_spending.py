"""What tenants have spent reaches the budget service, whatever becomes of that and of the gateway."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.app import App, running_app
from tests.support.net import until
from tests.support.services import Street, street
from tollhouse.gateway import delivery, spending
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ECHO = "tollhouse/echo"
PRICES = {f"tollhouse/{ECHO}": {"input": "1000", "output": "1000"}}  # USD per million tokens
BOUND = 10**15


@pytest.fixture
def services() -> Iterator[Street]:
    """Of each test its own: what a slow one has yet to take would be another test's."""
    with street() as made:
        yield made
        assert made.checked.broken == []


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests wait as long as the real thing does."""
    monkeypatch.setattr(delivery, "MOST_WAIT_S", 0.1)
    monkeypatch.setattr(delivery, "GATHER_S", 0.01)
    monkeypatch.setattr(spending, "EVERY_S", 0.02)


def sections(services: Street, **more: Any) -> dict[str, Any]:
    given = services.sections("iam", "budget")
    # Such short times make a question of every request; whether there is budget left is not what is tested here.
    given["neighbours"]["budget"] |= {"report": True, "report_timeout_s": 0.2, "ttl_s": 60, "stale_s": 60} | more
    return given | {"prices": PRICES}


async def chat(app: App) -> tuple[int, str | None]:
    answer = await app.chat(ECHO, key="demo-token")
    return answer.status, answer.header("x-request-id")


def rows(folder: Path) -> list[dict[str, Any]]:
    file = LedgerFile(folder / "state" / "ledger.db", read_only=True)
    try:
        return file.records()
    finally:
        file.close()


async def told(services: Street, number: int) -> None:
    async def is_so() -> bool:
        return len(services.world.spent) >= number

    await until(is_so, what=f"{number} charges are told")


async def test_what_requests_came_to_is_told_with_tenant_and_request(tmp_path: Path, services: Street) -> None:
    services.world.budgets["acme"] = {"allowed": True, "remaining_nano_usd": BOUND}
    async with running_app(tmp_path, **sections(services)) as app:
        asked = [(await chat(app))[1] for _ in range(3)]
        await told(services, 3)

        async def is_counted() -> bool:  # once the service's answer is here
            return await app.metric("gateway_spending_delivered_total") == 3

        await until(is_counted, what="the delivery is counted")
        assert await app.metric("gateway_spending_up") == 1
    charges = list(services.world.spent.values())
    assert [one["request"] for one in charges] == asked
    assert {(one["tenant"], one["team"], one["key"], one["status"]) for one in charges} == {
        ("acme", "research", charges[0]["key"], "complete")
    }
    total = sum(one["nano_usd"] for one in charges)
    assert total == sum(row["amount"] for row in rows(tmp_path)) > 0
    assert services.world.budgets["acme"]["remaining_nano_usd"] == BOUND - total


async def test_callers_without_tenant_or_team_spend_for_the_default(tmp_path: Path, services: Street) -> None:
    given = sections(services)
    given["neighbours"]["default_tenant"] = "elsewhere"
    services.world.budgets["elsewhere"] = {"allowed": True}
    async with running_app(tmp_path, **given) as app:
        assert (await app.chat(ECHO)).status == 200
        await told(services, 1)
    assert [one["tenant"] for one in services.world.spent.values()] == ["elsewhere"]


@pytest.mark.parametrize("mode", ["hang", "slow", "error", "garbage", "lie", "cut", "mute"])
async def test_a_service_that_misbehaves_is_told_everything_once_in_the_end_and_stops_no_request(
    tmp_path: Path, services: Street, mode: str
) -> None:
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await chat(app))[0] == 200
        await told(services, 1)
        services.break_("budget", mode)
        assert [(await chat(app))[0] for _ in range(3)] == [200] * 3

        async def has_failed() -> bool:
            return await app.metric("gateway_spending_deliveries_failed_total") >= 2

        await until(has_failed, what="it was tried")
        # Of its own breaker: whether there is budget left is still asked.
        assert await app.metric("gateway_neighbour_breaker_state", service="budget") == 0
        services.mend("budget")
        await told(services, 4)
        assert (await chat(app))[0] == 200
        await told(services, 5)
    assert sum(one["nano_usd"] for one in services.world.spent.values()) == sum(row["amount"] for row in rows(tmp_path))
    assert len(services.world.spent) == 5


async def test_a_service_that_is_gone_is_told_after_a_restart_of_the_gateway(tmp_path: Path, services: Street) -> None:
    given = sections(services, fail="open")
    url = given["neighbours"]["budget"]["url"]
    given["neighbours"]["budget"]["url"] = "http://127.0.0.1:1/budget"
    async with running_app(tmp_path, **given) as app:
        asked = [(await chat(app))[1] for _ in range(2)]
    given["neighbours"]["budget"]["url"] = url
    async with running_app(tmp_path, **given) as app:
        await told(services, 2)
        asked.append((await chat(app))[1])
        await told(services, 3)
    assert [one["request"] for one in services.world.spent.values()] == asked


async def test_what_is_charged_until_the_end_is_told_at_the_end(
    tmp_path: Path, services: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "EVERY_S", 60)
    async with running_app(tmp_path, **sections(services)) as app:
        await asyncio.gather(*(chat(app) for _ in range(5)))
    assert len(services.world.spent) == 5


async def test_what_was_charged_before_it_was_wanted_is_not_told(tmp_path: Path, services: Street) -> None:
    async with running_app(tmp_path, **sections(services, report=False)) as app:
        await chat(app)
    assert len(rows(tmp_path)) == 1
    assert not services.world.spent
    async with running_app(tmp_path, **sections(services)) as app:
        await chat(app)
        await told(services, 1)
    assert len(services.world.spent) == 1


async def test_one_process_tells_for_all_that_share_a_ledger(tmp_path: Path, services: Street) -> None:
    async with running_app(tmp_path, **sections(services)):
        """So that there is a ledger."""
    lock = os.open(tmp_path / "state" / "ledger.db.spending", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with running_app(tmp_path, **sections(services)) as app:
        await chat(app)

        async def is_charged() -> bool:
            return len(rows(tmp_path)) == 1

        await until(is_charged, what="the ledger has it")
        assert not services.world.spent
        os.close(lock)
        await told(services, 1)


async def test_a_ledger_that_cannot_be_read_is_read_later(
    tmp_path: Path, services: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with running_app(tmp_path, **sections(services)) as app:
        with monkeypatch.context() as bad:
            bad.setattr(LedgerFile, "charged", broken)
            await chat(app)

            async def has_failed() -> bool:
                return await app.metric("gateway_spending_deliveries_failed_total") >= 1

            await until(has_failed, what="it was tried")
        await told(services, 1)


def test_batches_have_the_same_key_and_the_same_bytes_until_they_arrived(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger.db")
    source = spending._Rows(tmp_path / "ledger.db", "default")
    source.open()
    charge = orjson.dumps(["req", "key", "team", None, "m", "tenant", "p", "m", "v", "complete", True, *[0] * 7])
    file.append("embedded:0", [Charge(i, "settled", str(i), 5 * (i % 2), i, charge) for i in range(1, 10)])
    first = source.batch(2, 10**6)
    assert first is not None
    assert first == source.batch(2, 10**6)
    assert (first.key, first.count) == (f"{file.id}:1-3", 2)
    source.delivered(first)
    following = source.batch(500, 1)
    assert following is not None
    assert (following.key, following.count) == (f"{file.id}:5-5", 1)
    source.close()
    again = spending._Rows(tmp_path / "ledger.db", "default")
    again.open()
    rest = again.batch(500, 10**6)
    assert rest is not None
    assert (rest.key, orjson.loads(rest.told[0])["id"]) == (f"{file.id}:5-9", f"{file.id}:5")
    again.close()
    file.close()
