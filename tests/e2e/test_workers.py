"""Several workers behind one port: whoever is asked for the metrics tells those of all."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.chunks import USAGE
from tests.support.client import chat_body, post, stream_chat
from tests.support.gateway import Gateway, echo_only, model, running_gateway
from tests.support.net import process_tree, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.upstream import ScriptedUpstream

WORKERS = 2
REQUESTS = 40
STREAMS = 12
CHAT = {"route": "/v1/chat/completions", "status": "200"}


@pytest.fixture
def pair(upstream: ScriptedUpstream) -> Iterator[Gateway]:
    config = echo_only(workers=WORKERS, model_list=[model("hostile/*", upstream.base_url)])
    with running_gateway(config) as gateway:
        wait_until(lambda: len(_workers(gateway)) == WORKERS, what="both workers run")
        yield gateway


def _workers(gateway: Gateway) -> list[int]:
    return process_tree(gateway.pid)[1:]


def test_counts_are_those_of_all_workers(pair: Gateway) -> None:
    for _ in range(REQUESTS):
        assert post(pair, chat_body("hostile/fine")).status == 200
    # Workers write down what they counted a moment later; from then on it does not matter who is asked.
    wait_until(lambda: pair.metric("gateway_requests_total", **CHAT) == REQUESTS, what="all are counted")
    for _ in range(10):
        assert pair.metric("gateway_requests_total", **CHAT) == REQUESTS
        assert pair.metric("gateway_tokens_total", kind="completion") == REQUESTS * USAGE["completion_tokens"]
        assert pair.metric("gateway_request_duration_seconds_count", route=CHAT["route"]) == REQUESTS


def test_in_flight_is_the_sum_and_forgets_the_dead(pair: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS):
            stack.enter_context(stream_chat(pair, "hostile/ticking@20"))
        wait_until(lambda: pair.in_flight() == STREAMS, what="all streams are counted")
        victim = _workers(pair)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: len(_workers(pair)) == WORKERS and victim not in _workers(pair), what="there is a new worker"
        )
    pair.wait_idle()


def test_counters_outlive_a_restart(pair: Gateway) -> None:
    for _ in range(REQUESTS):
        assert post(pair, chat_body("hostile/fine")).status == 200
    before = _workers(pair)
    pair.signal(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(_workers(pair)), what="both workers were replaced")
    wait_until(pair.is_ready, what="the new ones are ready")
    assert pair.metric("gateway_requests_total", **CHAT) == REQUESTS, "a counter that falls is a reset to Prometheus"
    pair.wait_idle()
