from __future__ import annotations

from time import monotonic

from prometheus_client import CollectorRegistry

from tests.support.net import until
from tollhouse.gateway.route_metrics import RouteMetrics
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts


async def test_a_worker_without_requests_does_not_go_on_telling_an_old_state():
    registry = CollectorRegistry()
    router = Router([Target("m", "p", "m", EchoUpstream(timeouts=Timeouts()))])
    metrics = RouteMetrics(router, registry=registry)

    def state():
        return registry.get_sample_value("gateway_breaker_state", {"deployment": "m@p"})

    router.targets[0].breaker.cool(monotonic(), 0.05, "auth")
    metrics.flush()
    assert state() == 2

    async def is_tried():
        return state() == 1

    await until(is_tried, what="its time is over")
