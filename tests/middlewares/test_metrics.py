from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from weakref import ref

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.asgi import request
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.metrics import MetricsMiddleware, MetricsStage


def _app(registry, status=200, usage=None):
    async def inner(scope, receive, send):
        exchange = exchange_of(scope)
        assert exchange is not None
        exchange.route = "/things/{id}"
        exchange.model, exchange.provider, exchange.usage = "m", "p", usage
        assert registry.get_sample_value("gateway_requests_in_flight") == 1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return MetricsMiddleware(inner, registry=registry)


async def test_requests_are_counted_by_route_status_model_and_provider():
    registry = CollectorRegistry()
    app = _app(registry, status=201)
    await request(app, "/things/1")
    await request(app, "/things/2?secret=1")
    of_time = {"route": "/things/{id}", "model": "m", "provider": "p", "decision": "ALLOWED"}
    labels = of_time | {"status": "201"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 2
    assert registry.get_sample_value("gateway_request_duration_seconds_count", of_time) == 2
    assert registry.get_sample_value("gateway_requests_in_flight") == 0


async def test_tokens_are_counted_by_kind_and_absent_kinds_leave_no_trace():
    registry = CollectorRegistry()
    app = _app(registry, usage=(5, 7, 0, 2))
    await request(app)
    await request(app)
    counts = {
        kind: registry.get_sample_value("gateway_tokens_total", {"model": "m", "provider": "p", "kind": kind})
        for kind in ("prompt", "completion", "cached", "reasoning")
    }
    assert counts == {"prompt": 10, "completion": 14, "cached": 0, "reasoning": 4}


async def test_a_scrape_shows_all_of_what_another_flush_has_begun_to_hand_on():
    registry = CollectorRegistry()
    begun, may_end = Event(), Event()

    class Decision(bytes):
        def decode(self, *_):
            begun.set()
            assert may_end.wait(60)
            return "ALLOWED"

    async def inner(scope, receive, send):
        exchange = exchange_of(scope)
        assert exchange is not None
        exchange.decision = Decision(b"ALLOWED")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    await request(MetricsMiddleware(inner, registry=registry))
    with ThreadPoolExecutor(2) as pool:
        flush = pool.submit(MetricsStage.shared(registry=registry, prefix="gateway").flush)
        assert begun.wait(60)
        scrape = pool.submit(generate_latest, registry)
        wait([scrape], timeout=0.2)  # as long as a scrape takes that does not wait
        may_end.set()
        assert b'decision="ALLOWED",model="",provider="",route="unmatched",status="200"} 1.0' in scrape.result(60)
        flush.result(60)


async def test_instances_on_one_registry_and_prefix_count_together():
    registry = CollectorRegistry()
    for app in (_app(registry), _app(registry)):
        await request(app)
    labels = {"route": "/things/{id}", "status": "200", "model": "m", "provider": "p", "decision": "ALLOWED"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 2
    MetricsMiddleware(_app(registry), registry=registry, prefix="other")
    assert registry.get_sample_value("other_requests_in_flight") == 0
    MetricsMiddleware(_app(CollectorRegistry()), registry=CollectorRegistry())


def test_a_registry_that_nobody_holds_goes_with_its_stages():
    registry = CollectorRegistry()
    MetricsMiddleware(_app(registry), registry=registry)
    gone = ref(registry)
    del registry
    gc.collect()
    assert gone() is None


async def test_in_flight_goes_down_when_the_app_fails():
    registry = CollectorRegistry()

    async def inner(scope, receive, send):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await request(MetricsMiddleware(inner, registry=registry))
    assert registry.get_sample_value("gateway_requests_in_flight") == 0
    labels = {"route": "unmatched", "status": "499", "model": "", "provider": "", "decision": "ALLOWED"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 1
