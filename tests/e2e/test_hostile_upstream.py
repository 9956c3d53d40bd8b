"""Upstreams that misbehave: every case ends in a typed error of bounded cost, and the gateway goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.client import chat_body, checked_error, events_of, post, stream_chat
from tests.support.net import wait_until
from tests.support.stalls import Stopwatch

if TYPE_CHECKING:
    from tests.support.gateway import Gateway
    from tests.support.upstream import ScriptedUpstream

MIB = 1024 * 1024
# The largest answer that is read whole, twice (received and joined), and some air.
MEMORY = 160 * MIB

# Behaviour, status, code: the response has not begun, so the caller gets the real status.
REFUSED = [
    ("header-flood", 502, "upstream_too_large"),
    ("many-headers", 502, "upstream_too_large"),
    ("1xx-flood", 502, "upstream_protocol"),
    ("endless-head-line", 502, "upstream_too_large"),
    ("endless-body", 502, "upstream_too_large"),
    ("length-short", 502, "upstream_truncated"),
    ("length-twice", 502, "upstream_protocol"),
    ("length-and-chunked", 502, "upstream_protocol"),
    ("bad-chunk-size", 502, "upstream_protocol"),
    ("gzip", 502, "upstream_encoding"),
    ("gzip-bomb", 502, "upstream_encoding"),
    ("not-json", 502, None),
    ("not-json-error", 502, None),
    ("empty", 502, None),
    ("invalid-utf8-error", 500, None),
    ("hang", 504, "upstream_timeout"),
    ("hang-after-head", 504, "upstream_timeout"),
    ("slow-head", 504, "upstream_timeout"),
    ("close-at-once", 502, "upstream_truncated"),
    ("reset-at-once", 502, "upstream_lost"),
    ("reset-mid-body", 502, "upstream_lost"),
    ("no-events", 502, "upstream_truncated"),
    ("error-first", 503, None),
    ("error-in-chunk", 502, None),
    ("status@400", 400, "400"),
    ("status@404", 404, "404"),
    ("status@429", 429, "429"),
    ("status@500", 500, "500"),
    ("status@503", 503, "503"),
    ("status@302", 502, "upstream_redirect"),
    ("status@401", 502, "upstream_auth"),
    ("status@403", 502, "upstream_auth"),
    ("status@204", 502, None),
]
# These have begun to stream: status 200, then one error event and no [DONE].
BROKEN_OFF = [
    ("endless-event-line", "upstream_too_large"),
    ("reset-mid-stream", "upstream_lost"),
    ("hang-mid-stream", "upstream_timeout"),
    ("cut-off", "upstream_truncated"),
    ("cut-off-connection", None),
]


@pytest.fixture(autouse=True, scope="module")
def _alone(upstream: ScriptedUpstream) -> None:
    """The gateways of the session keep connections of the tests before, which would be counted here."""
    upstream.drop_idle_connections()


@pytest.fixture(autouse=True)
def _unharmed(gateway: Gateway, upstream: ScriptedUpstream) -> object:
    """After each case: nothing in flight, no connection left behind, bounded memory, and a good answer."""
    yield
    gateway.wait_idle()
    assert gateway.rss < MEMORY
    assert gateway.is_ready()
    answer = post(gateway, chat_body("hostile/fine"))
    assert answer.status == 200, answer.body
    wait_until(lambda: upstream.log.open <= 1, what="only the good connection is kept")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("behaviour", "status", "code"), REFUSED, ids=[case[0] for case in REFUSED])
def test_failure_before_the_response_has_its_status(
    gateway: Gateway, behaviour: str, status: int, code: str | None, *, stream: bool
) -> None:
    answer = post(gateway, chat_body(f"hostile/{behaviour}", stream=stream))
    fault = answer.error(status, code)
    assert answer.headers["x-request-id"]
    assert "127.0.0.1" not in fault["message"], "callers need not know where upstreams live"


@pytest.mark.parametrize(("behaviour", "code"), BROKEN_OFF, ids=[case[0] for case in BROKEN_OFF])
def test_failure_in_the_middle_of_a_stream_ends_with_an_error_event(
    gateway: Gateway, behaviour: str, code: str | None
) -> None:
    answer = post(gateway, chat_body(f"hostile/{behaviour}", stream=True))
    assert answer.status == 200
    assert b"[DONE]" not in answer.body
    events = events_of(answer.body)
    assert all("error" not in orjson.loads(event) for event in events[:-1])
    checked_error(events[-1], code)


def test_rate_limit_passes_with_its_retry_after(gateway: Gateway) -> None:
    answer = post(gateway, chat_body("hostile/status@429"))
    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"


def test_redirect_is_not_followed(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    before = len(upstream.log.requests)
    answer = post(gateway, chat_body("hostile/status@302"))
    assert answer.status == 502
    assert "location" not in answer.headers
    assert len(upstream.log.requests) == before + 1


def test_bytes_behind_the_answer_are_never_anybodys(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    for _ in range(3):
        answer = post(gateway, chat_body("hostile/length-long"))
        assert answer.status == 200
        assert b"SMUGGLED" not in answer.body
    numbers = {seen.connection for seen in upstream.log.of("length-long")}
    assert len(numbers) == 3, "a connection with stray bytes is not used again"


def test_unreachable_upstream_is_named(gateway: Gateway) -> None:
    fault = post(gateway, chat_body("unreachable")).error(502, "upstream_unreachable")
    assert "openai" in fault["message"]


def test_unknown_host_is_a_bad_gateway(gateway: Gateway) -> None:
    post(gateway, chat_body("unknown-host")).error(502, "upstream_unreachable")


def test_metadata_address_is_never_dialled(gateway: Gateway) -> None:
    with Stopwatch() as took:
        post(gateway, chat_body("metadata")).error(502, "upstream_address_denied")
    assert took.seconds < 0.5


def test_refused_credentials_of_ours_are_not_the_callers_fault(gateway: Gateway) -> None:
    fault = post(gateway, chat_body("badly-keyed")).error(502, "upstream_auth")
    assert "credentials" in fault["message"]


def test_idle_connection_that_was_closed_costs_no_request(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    for _ in range(20):
        assert post(gateway, chat_body("hostile/fine")).status == 200
        upstream.drop_idle_connections()


def test_connection_that_closes_as_it_is_used_is_replaced(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.drop_idle_connections()
    for _ in range(10):
        assert post(gateway, chat_body("hostile/close-idle")).status == 200


def test_fresh_connection_that_closes_is_not_tried_again(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.drop_idle_connections()
    wait_until(lambda: upstream.log.open == 0, what="no connection is left")
    before = len(upstream.log.of("close-at-once"))
    post(gateway, chat_body("hostile/close-at-once")).error(502)
    assert len(upstream.log.of("close-at-once")) == before + 1


def test_finished_stream_whose_body_does_not_end_is_complete(gateway: Gateway) -> None:
    with Stopwatch() as took:
        answer = post(gateway, chat_body("hostile/hang-after-finish", stream=True))
    assert answer.events[-1] == b"[DONE]", "nothing may follow it"
    assert took.seconds < 0.5, "there is nothing left to wait for"


def test_endless_upstream_ends_with_its_client(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    with stream_chat(gateway, "hostile/endless-stream") as stream:
        got = sum(len(stream.read_some()) for _ in range(200))
    assert got
    seen = upstream.log.of("endless-stream")[-1]
    wait_until(lambda: seen.closed_at, what="the upstream's connection is closed")


def test_fifty_hostile_answers_at_once_leave_no_trace(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    behaviours = ["header-flood", "length-short", "reset-mid-stream", "gzip", "endless-event-line"] * 10
    streams = [stream_chat(gateway, f"hostile/{behaviour}") for behaviour in behaviours]
    for stream in streams:
        with stream:
            stream.read()
            assert stream.status in {200, 502}
