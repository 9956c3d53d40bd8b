from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.app import App, running_app
from tests.support.net import until

if TYPE_CHECKING:
    from tests.support.services import Street

ECHO = "tollhouse/echo"
PRICES = {f"tollhouse/{ECHO}": {"input": "1000", "output": "1000"}}  # USD per million tokens


def sections(services: Street, **more: Any) -> dict[str, Any]:
    given = services.sections("iam", "budget", timeout_s=5, ttl_s=60)
    given["neighbours"]["budget"] |= more
    return given | {"prices": PRICES}


async def chat(app: App) -> tuple[int, str]:
    answer = await app.chat(ECHO, key="demo-token")
    return answer.status, orjson.loads(answer.body).get("error", {}).get("message", "")


async def test_a_tenant_without_budget_is_refused_before_anything_is_reserved(tmp_path, services: Street):
    services.world.budgets["acme"] = {"allowed": False, "resets_at": 1_800_000_000}
    async with running_app(tmp_path, **sections(services)) as app:
        status, message = await chat(app)
        assert (status, "tenant acme" in message, "1800000000" in message) == (429, True, True)
        assert (await app.send("/admin/usage", headers=[(b"x-admin-api-key", b"sk-admin-of-the-tests")])).status == 200
        assert await app.metric("gateway_cost_usd_total") == 0
        listed = await app.send("/v1/models", key="demo-token")
        assert listed.status == 200


async def test_what_requests_come_to_is_counted_down_until_the_next_answer(tmp_path, services: Street):
    services.world.budgets["acme"] = {"allowed": True, "remaining_nano_usd": 1}
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await chat(app))[0] == 200  # one nano-USD is there, and nobody knows what an answer comes to
        assert await app.metric("gateway_cost_usd_total") > 0
        assert (await chat(app))[0] == 429
        assert services.asked("budget") == 1


async def test_without_bound_nothing_is_counted_down(tmp_path, services: Street):
    services.world.budgets["acme"] = {"allowed": True, "remaining_nano_usd": None}
    async with running_app(tmp_path, **sections(services)) as app:
        assert [(await chat(app))[0] for _ in range(3)] == [200] * 3


async def test_new_budget_is_seen_after_negative_ttl(tmp_path, services: Street):
    services.world.budgets.clear()
    async with running_app(tmp_path, **sections(services, negative_ttl_s=0.1)) as app:
        assert (await chat(app))[0] == 429
        services.world.budgets["acme"] = {"allowed": True}

        async def goes() -> bool:
            return (await chat(app))[0] == 200

        await until(goes, what="the new budget")


@pytest.mark.parametrize("name", [".", ".."])
async def test_a_tenant_whose_name_would_lead_elsewhere_is_not_asked_about(tmp_path, services: Street, name):
    services.world.tokens["demo-token"]["tenant"] = name
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await chat(app))[0] == 503
        assert services.asked("budget") == 0


async def test_any_other_name_is_one_segment_of_the_path(tmp_path, services: Street):
    name = "a/b?c=%2F Ωß"
    services.world.tokens["demo-token"]["tenant"] = name
    services.world.budgets[name] = {"allowed": True}
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await chat(app))[0] == 200
