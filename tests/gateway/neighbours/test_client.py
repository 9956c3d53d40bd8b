from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.net import free_port, until
from tests.support.services import Street
from tollhouse.config.neighbour_settings import ServiceSettings
from tollhouse.config.secret import Secret
from tollhouse.gateway.neighbours.away import Away, Rejected
from tollhouse.gateway.neighbours.client import Client, Reply
from tollhouse.gateway.neighbours.metrics import NeighbourMetrics
from tollhouse.providers.breaker import CLOSED, OPEN
from tollhouse.providers.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Makes:
    """Clients that are closed in the end."""

    def __init__(self) -> None:
        self.made: list[Client] = []

    def __call__(self, url: str | None, told: list[tuple[str, int]] | None = None, **settings: Any) -> Client:
        given = {"timeout_s": 0.5, "failures": 2, "cooldown_s": 0.1} | settings
        metrics = NeighbourMetrics(registry=CollectorRegistry())
        on_change: Callable[[str, int], None] | None = None if told is None else lambda *change: told.append(change)
        made = Client(
            ServiceSettings(name="budget", variable="BUDGET_SERVICE_URL", url=url, **given),
            deadlines=Deadlines(),
            metrics=metrics,
            on_change=on_change,
        )
        self.made.append(made)
        return made


@pytest.fixture
async def client() -> AsyncIterator[Makes]:
    makes = Makes()
    yield makes
    for made in makes.made:
        made.close()
    await asyncio.sleep(0)  # connections need a turn of the loop to be closed


def tenant(reply: Reply) -> str:
    found: Any = reply.json
    return str(found["tenant"])


async def ask(asked: Client, who: str = "acme") -> str:
    return await asked.ask("GET", f"/v1/tenants/{who}/budget", tenant)


@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        ("hang", "timeout"),
        ("slow", "timeout"),
        ("error", "status"),
        ("garbage", "malformed"),
        ("cut", "malformed"),
    ],
)
async def test_each_way_to_fail_has_its_name_and_the_next_call_goes_well(client: Makes, services: Street, mode, cause):
    asked = client(f"{services.url}/budget")
    services.break_("budget", mode)
    with pytest.raises(Away) as failed:
        await ask(asked)
    assert (failed.value.cause, failed.value.service) == (cause, "budget")
    services.mend("budget")

    async def answers() -> bool:
        try:
            return await ask(asked) == "acme"
        except Away:
            return False

    await until(answers, what="an answer")


async def test_nobody_there_is_unreachable_at_once(client: Makes):
    asked = client(f"http://127.0.0.1:{free_port()}", timeout_s=5)
    with pytest.raises(Away) as failed:
        await ask(asked)
    assert failed.value.cause == "unreachable"


async def test_a_service_that_nobody_has_named_answers_nothing(client: Makes):
    asked = client(None)
    with pytest.raises(Away) as failed:
        await ask(asked)
    assert failed.value.cause == "unset"
    assert not await asked.is_alive()


async def test_metadata_addresses_are_never_dialled(client: Makes):
    asked = client("http://169.254.169.254/latest", timeout_s=5)
    with pytest.raises(Away) as failed:
        await ask(asked)
    assert failed.value.cause == "unreachable"


async def test_a_breaker_spares_the_service_and_closes_with_one_good_call(client: Makes, services: Street, caplog):
    caplog.set_level(logging.INFO)
    told: list[tuple[str, int]] = []
    asked = client(f"{services.url}/budget", told, cooldown_s=0.3)
    services.break_("budget", "error")
    for _ in range(3):
        with pytest.raises(Away) as failed:
            await ask(asked)
        assert failed.value.cause == "status"
    assert told == [("budget", OPEN)]
    before = services.asked("budget")
    for _ in range(10):
        with pytest.raises(Away) as failed:
            await ask(asked)
        assert failed.value.cause == "breaker"
    assert services.asked("budget") == before
    services.mend("budget")

    causes = set()

    async def answers() -> bool:
        try:
            return await ask(asked) == "acme"
        except Away as away:
            causes.add(away.cause)
            return False

    await until(answers, what="the half-open call")
    assert causes <= {"breaker"}
    assert told == [("budget", OPEN), ("budget", CLOSED)]
    assert [record.levelname for record in caplog.records if record.name == "tollhouse.neighbours"] == [
        "WARNING",
        "INFO",
    ]


async def test_what_the_request_is_to_blame_for_opens_no_breaker(client: Makes, services: Street):
    asked = client(f"{services.url}/budget", failures=0)
    for _ in range(3):
        with pytest.raises(Rejected) as failed:
            await ask(asked, "nobody")
        assert failed.value.status == 404
    assert await ask(asked) == "acme"


async def test_a_token_that_is_not_accepted_counts_as_failure(client: Makes, services: Street):
    services.world.token = "right"
    wrong = client(f"{services.url}/budget", token=Secret("wrong"))
    with pytest.raises(Away) as failed:
        await ask(wrong)
    assert (failed.value.cause, failed.value.status) == ("status", 401)
    assert "wrong" not in repr(failed.value)
    right = client(f"{services.url}/budget", token=Secret("right"))
    assert await ask(right) == "acme"


async def test_a_header_cannot_be_smuggled_in(client: Makes, services: Street):
    asked = client(f"{services.url}/budget")
    with pytest.raises(Away):
        await asked.ask("GET", "/v1/tenants/acme/budget", tenant, headers=[("idempotency-key", "a\r\nx: y")])
    assert services.asked("budget") == 0


async def test_a_connection_is_used_again_and_one_that_was_closed_costs_nothing(client: Makes, services: Street):
    asked = client(f"{services.url}/budget")
    assert [await ask(asked) for _ in range(3)] == ["acme"] * 3
    assert asked._origin is not None
    assert len(asked._origin._idle) == 1
    asked.close()
    assert await ask(asked) == "acme"
