"""Every service, failing in every way: the configured answer, and all is well again once it is, without a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.app import App, running_app
from tests.support.gateway import KEY
from tests.support.net import until
from tollhouse.gateway.neighbours.away import Away

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.services import Street

ECHO = "tollhouse/echo"
FAULTS = ("hang", "slow", "error", "garbage", "lie", "cut")
# Of what is asked on the way of a request: the answer if it fails closed.
REFUSALS = {"iam": "auth_unavailable", "data_governance": "policy_unavailable", "budget": "budget_unavailable"}


async def _status(app: App, key: str = "demo-token") -> int:
    return (await app.chat(ECHO, key=key)).status


def _answers(app: App) -> Callable[[], Awaitable[object]]:
    async def answers() -> bool:
        return await _status(app) == 200

    return answers


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_fails_closed_refuses_and_recovers(tmp_path, services: Street, name):
    sections = services.sections(*dict.fromkeys(("iam", name)))
    sections["neighbours"]["iam"]["timeout_s"] = 0.5 if name == "iam" else 10
    async with running_app(tmp_path, **sections) as app:
        await until(_answers(app), what="the service is asked")
        for fault in FAULTS:
            services.break_(name, fault)
            # What was asked before it broke may be on its way still.
            async with asyncio.timeout(10):
                while (refused := await app.chat(ECHO, key="demo-token")).status == 200:
                    pass
            assert refused.status == 503, (fault, refused)
            assert REFUSALS[name] in refused.body.decode(), fault
            assert refused.header("retry-after") == "1"
            services.mend(name)
            await until(_answers(app), what=f"{name} is believed again after {fault}")


@pytest.mark.parametrize("name", ["policy", "data_governance", "budget"])
async def test_what_fails_open_goes_on_and_says_so(tmp_path, services: Street, name):
    sections = services.sections(name, fail="open")
    sections["neighbours"] |= services.sections("iam", "alerting", timeout_s=5)["neighbours"]
    services.break_(name, "error")
    async with running_app(tmp_path, **sections) as app:
        answer = await app.chat(ECHO, key="demo-token")
        assert answer.status == 200
        said = [value.decode() for header, value in answer.headers if header == b"x-gateway-guards"]
        assert any(part.endswith(";skipped=unavailable") for part in said), said
        assert await app.metric("gateway_neighbour_fail_open_total", service=name) == 1
        await until(lambda: _told(services, "fail_open"), what="an alert")
        assert f"{name}_service" not in (await app.send("/health/ready")).body.decode()


async def _told(services: Street, kind: str) -> bool:
    return any(alert["kind"] == kind for alert in services.world.alerts)


async def test_the_policy_gate_is_shut_until_there_is_a_policy_and_when_it_is_too_old(tmp_path, services: Street):
    services.break_("policy", "error")
    sections = services.sections("policy", stale_s=0.3, ttl_s=0.01)
    async with running_app(tmp_path, **sections) as app:
        refused = await app.chat(ECHO)
        assert (refused.status, "policy_unavailable" in refused.body.decode()) == (503, True)
        assert (await app.send("/health/ready")).status == 503
        services.mend("policy")
        await until(lambda: _ok(app), what="the policy is applied")
        for fault in FAULTS:
            services.break_("policy", fault)
            await until(lambda: _is(app, 503), what=f"the policy is too old: {fault}")
            services.mend("policy")
            await until(lambda: _ok(app), what=f"the policy is confirmed again after {fault}")


async def _ok(app: App) -> bool:
    return await _is(app, 200)


async def _is(app: App, status: int) -> bool:
    return (await app.chat(ECHO)).status == status


async def test_receipts_are_kept_exactly_once_whatever_eris_does(tmp_path, services: Street):
    sections = services.sections("eris")
    async with running_app(tmp_path, **sections) as app:
        eris = app.asgi.state.neighbours.eris
        given: list[dict[str, Any]] = []
        for number, fault in enumerate(("hang", "error", "garbage", "lie", "cut", "mute")):
            batch = [{"receipt": f"{number}-{i}"} for i in range(3)]
            given += batch
            services.break_("eris", fault)
            with pytest.raises(Away):
                await eris.deliver([*map(orjson.dumps, batch)], f"batch-{number}")
            services.mend("eris")
            await _delivered(eris, batch, f"batch-{number}")
            await _delivered(eris, batch, f"batch-{number}")
        told = services.world.batches.items()
        kept = [receipt for key, (_, batch) in told if key.startswith("batch-") for receipt in batch]
        assert kept == given


@pytest.mark.parametrize("fault", ["hang", "error", "garbage", "lie", "cut", "mute"])
async def test_the_gateways_own_receipts_arrive_once_and_in_order_whatever_eris_does(
    tmp_path, services: Street, fault: str
):
    def seen() -> list[dict[str, Any]]:
        return [one for _, batch in services.world.batches.values() for one in batch if one["type"] != "head"]

    async with running_app(tmp_path, **services.sections("eris", cooldown_s=0.1)) as app:
        services.break_("eris", fault)
        for _ in range(3):
            assert await _status(app, key=KEY) == 200
        delivery = app.asgi.state.receipts.delivery

        async def has_failed() -> bool:
            return bool(delivery.failed)

        await until(has_failed, what="a failed delivery")
        services.mend("eris")
        assert await _status(app, key=KEY) == 200

        async def have_come() -> bool:
            return len([one for one in seen() if one["type"] == "decision"]) == 4

        await until(have_come, what="all receipts")
        numbers = [one["seq"] for one in seen()]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        assert await app.metric("gateway_neighbour_requests_total", service="eris", outcome="ok") >= 1


async def _delivered(eris: Any, batch: list[dict[str, Any]], key: str) -> None:
    async def is_delivered() -> bool:
        try:
            await eris.deliver([*map(orjson.dumps, batch)], key)
        except Away:
            return False
        return True

    await until(is_delivered, what="a batch")


@pytest.mark.parametrize("fault", ["hang"])
async def test_no_request_waits_for_alerts_and_they_arrive_in_the_end(tmp_path, services: Street, fault):
    sections = services.sections("alerting")
    services.break_("alerting", fault)
    async with running_app(tmp_path, **sections) as app:
        app.asgi.state.neighbours.alerts.tell("overspend")
        assert await _status(app, key="sk-th-abcdefghijkl-" + "k" * 48) == 200
        await until(lambda: _tried(services), what="a try")
        assert services.world.alerts == []
        services.mend("alerting")
        await until(lambda: _told(services, "overspend"), what="the alert")
        assert len(services.world.alerts) == 1


async def _tried(services: Street) -> bool:
    return services.asked("alerting") > 0
