from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from tests.support.app import running_app
from tests.support.net import until
from tollhouse.config.neighbour_settings import ServiceSettings
from tollhouse.gateway.neighbours.alerts import HOLD_S, Alerts, Rising
from tollhouse.gateway.neighbours.client import Client
from tollhouse.gateway.neighbours.metrics import NeighbourMetrics
from tollhouse.providers.deadlines import Deadlines

if TYPE_CHECKING:
    from tests.support.services import Street


async def test_at_most_one_per_minute_and_kind_with_what_was_held_back(services: Street):
    now = 1000.0
    metrics = NeighbourMetrics(registry=CollectorRegistry())
    settings = ServiceSettings(name="alerting", variable="X", url=f"{services.url}/alerting", timeout_s=5)
    client = Client(settings, deadlines=Deadlines(), metrics=metrics)
    alerts = Alerts(client, source="here", metrics=metrics, clock=lambda: now)
    await alerts.open()
    told = services.world.alerts

    async def has(count: int) -> bool:
        return len(told) == count

    for _ in range(50):
        alerts.tell("breaker_opened", "iam_service")
    alerts.tell("store_away")
    await until(lambda: has(2), what="one of each kind")
    now += HOLD_S - 0.1
    alerts.tell("breaker_opened", "iam_service")
    now += 0.1
    alerts.tell("breaker_opened", "budget_service")
    await until(lambda: has(3), what="the next one")
    assert [(one["kind"], one["subject"], one["held_back"]) for one in told] == [
        ("breaker_opened", "iam_service", 0),
        ("store_away", "gateway", 0),
        ("breaker_opened", "budget_service", 50),
    ]
    await alerts.close()
    client.close()


async def test_a_condition_is_told_when_it_begins():
    is_away = False
    told: list[str] = []

    def look() -> bool:
        told.append("looked")
        return is_away

    metrics = NeighbourMetrics(registry=CollectorRegistry())
    alerts = Alerts(None, source="here", metrics=metrics, conditions={"store_away": look}, look_s=0.01)
    await alerts.open()
    is_away = True

    async def is_told() -> bool:
        return "store_away" in alerts.told_at

    await until(is_told, what="the condition")
    await alerts.close()


def test_a_sum_has_grown_once_per_look():
    total = 5
    has_grown = Rising(lambda: total)
    assert not has_grown()
    total = 6
    assert has_grown()
    assert not has_grown()


async def test_a_breaker_that_opens_is_told(tmp_path, services: Street):
    sections = services.sections("alerting", "iam", timeout_s=5)
    sections["neighbours"]["iam"] |= {"failures": 1}
    async with running_app(tmp_path, **sections) as app:
        services.break_("iam", "error")
        for _ in range(2):
            assert (await app.chat("tollhouse/echo", key="demo-token")).status == 503

        async def told() -> bool:
            return [(alert["kind"], alert["subject"]) for alert in services.world.alerts] == [
                ("breaker_opened", "iam_service")
            ]

        await until(told, what="the alert")
