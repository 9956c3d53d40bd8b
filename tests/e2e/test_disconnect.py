"""Clients that go away: whenever and however they do, the upstream's connection closes and every count is right."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.client import Stream, chat_body, request_bytes
from tests.support.net import wait_until
from tests.support.stalls import Stalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gateway import Gateway
    from tests.support.upstream import ScriptedUpstream, Seen

REPETITIONS = 50
LIMIT_MS = 50.0
# Of a stream that has gone on for a while: its disconnect is watched for, not looked for.
SETTLED_MS = 10.0
_numbers = count()


def _has_arrived(seen: Seen, client: Stream) -> None:
    """The upstream has the request; the client has nothing."""


def _has_head(seen: Seen, client: Stream) -> None:
    wait_until(lambda: seen.sent, what="the upstream has sent its head")


def _is_streaming(seen: Seen, client: Stream) -> None:
    with_head = client.__enter__()
    with_head.read_until(b"tick")


def _is_settled(seen: Seen, client: Stream) -> None:
    with_head = client.__enter__()
    for _ in range(8):
        with_head.read_until(b"tick")


def _is_finished(seen: Seen, client: Stream) -> None:
    with_head = client.__enter__()
    with_head.read_until(b'"stop"')


# Phase: behaviour of the upstream, stream or not, what is waited for, status in the access log.
PHASES: dict[str, tuple[str, bool, Callable[[Seen, Stream], None], int]] = {
    "before headers": ("hang", False, _has_arrived, 499),
    "before headers of a stream": ("hang", True, _has_arrived, 499),
    "before token 1": ("hang-after-head", True, _has_head, 499),
    "mid-stream": ("ticking@10", True, _is_streaming, 200),
    "deep in a stream": ("ticking@10", True, _is_settled, 200),
    "after finish": ("hang-before-done", True, _is_finished, 200),
}


def _leave(gateway: Gateway, upstream: ScriptedUpstream, phase: str, *, reset: bool) -> tuple[str, float, float]:
    """Ask, wait for the phase, go; the request's id, and when (time.monotonic) the client and the upstream had gone."""
    behaviour, is_stream, wait, _ = PHASES[phase]
    identity = f"gone-{next(_numbers)}"
    body = chat_body(f"hostile/{behaviour}", stream=is_stream)
    client = Stream(gateway, request_bytes(gateway, body, headers={"x-request-id": identity}))
    seen = wait_until(lambda: _seen(upstream, identity), what="the upstream has the request", every_s=0.001)
    wait(seen, client)
    gone_at = time.monotonic()
    if reset:
        client.reset()
    else:
        client.close()
    closed_at = wait_until(lambda: seen.closed_at, what=f"{phase}: the upstream was let go", every_s=0.001)
    return identity, gone_at, closed_at


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_upstream_is_let_go_within_50_ms(any_gateway: Gateway, upstream: ScriptedUpstream, *, reset: bool) -> None:
    spans: dict[str, list[tuple[float, float]]] = {phase: [] for phase in PHASES}
    phase_of: dict[str, str] = {}

    def repeat(phase: str) -> None:
        for _ in range(REPETITIONS):
            identity, gone_at, closed_at = _leave(any_gateway, upstream, phase, reset=reset)
            spans[phase].append((gone_at, closed_at))
            phase_of[identity] = phase

    with Stalls() as stalls, ThreadPoolExecutor(len(PHASES)) as pool:
        list(pool.map(repeat, PHASES))
    times = {
        phase: [(closed_at - gone_at - stalls.within(gone_at, closed_at)) * 1000 for gone_at, closed_at in found]
        for phase, found in spans.items()
    }
    for phase, values in times.items():
        p50, p99 = _quantile(values, 0.5), _quantile(values, 0.99)
        print(f"{any_gateway.server}, {phase}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    # The figures are what is promised; the gate leaves room for a machine that does other things as well.
    everything = [value for values in times.values() for value in values]
    assert _quantile(everything, 0.9) <= LIMIT_MS, times
    assert _quantile(everything, 0.99) <= 4 * LIMIT_MS, times
    assert _quantile(times["deep in a stream"], 0.5) <= SETTLED_MS

    any_gateway.wait_idle()
    lines = wait_until(lambda: _access_lines(any_gateway, phase_of), what="a line in the access log for each")
    assert len(lines) == len(phase_of), "one line each"
    for line in lines:
        assert line["status"] == PHASES[phase_of[line["request_id"]]][3], line
        assert line["error"] == "client_disconnected", line


def test_client_that_goes_while_it_sends_never_reaches_an_upstream(
    any_gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    before = len(upstream.log.requests)
    data = request_bytes(any_gateway, chat_body("hostile/fine"))
    for size in (10, len(data) // 2, len(data) - 1):
        Stream(any_gateway, data[:size]).close()
    any_gateway.wait_idle()
    assert len(upstream.log.requests) == before


def _seen(upstream: ScriptedUpstream, identity: str) -> Seen | None:
    """The request of this id; it is one of the last."""
    return next((seen for seen in upstream.log.requests[-20:] if seen.headers.get("x-request-id") == identity), None)


def _access_lines(gateway: Gateway, phase_of: dict[str, str]) -> list[dict[str, Any]] | None:
    """The lines of these requests, once every one of them has at least one."""
    lines = [line for line in gateway.log_lines if line.get("request_id") in phase_of]
    return lines if {line["request_id"] for line in lines} == set(phase_of) else None


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]
