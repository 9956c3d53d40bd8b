"""One call's flags, waiter and clocks; who feeds it is tested with the transport."""

from __future__ import annotations

import asyncio
import functools
from math import inf

import pytest

from tollhouse._native import END, FAULT, HEAD, READY, ResponseReader
from tollhouse.providers.call import LAST_WORD_S, SETTLED, USAGE_S, Call
from tollhouse.providers.deadlines import TICK_S, Deadlines
from tollhouse.providers.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamShutdown,
    UpstreamStreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tollhouse.providers.timeouts import Timeouts

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def _call(**timeouts: float) -> Call:
    return Call(ResponseReader("chat"), Timeouts(**timeouts))


def _feed(call: Call, data: bytes) -> None:
    call.raise_flags(call.reader.feed(data))


async def test_waiting_ends_at_once_when_the_flag_is_up_already():
    call = _call()
    _feed(call, STREAM + EVENT)
    assert await call.wait(READY, asyncio.get_running_loop()) is True


async def test_only_a_wanted_flag_wakes_the_waiter():
    call = _call()
    waiter = call.wait(END | FAULT, asyncio.get_running_loop())
    _feed(call, STREAM + EVENT)
    assert call.flags & (HEAD | READY) == HEAD | READY
    assert not waiter.done()
    call.raise_flags(call.flags | END)
    assert await waiter is True


async def test_a_nudge_wakes_with_false_and_only_who_waits():
    call = _call()
    call.nudge()
    waiter = call.wait(READY, asyncio.get_running_loop())
    call.nudge()
    assert await waiter is False
    call.nudge()


async def test_a_waiter_that_was_cancelled_is_left_alone():
    call = _call()
    waiter = call.wait(READY, asyncio.get_running_loop())
    waiter.cancel()
    _feed(call, STREAM + EVENT)
    other = call.wait(END, asyncio.get_running_loop())
    other.cancel()
    call.nudge()


async def test_taking_lowers_ready_and_lets_the_upstream_go_on_once():
    call = _call()
    resumed: list[int] = []
    _feed(call, STREAM + EVENT)
    call.on_drain = lambda: resumed.append(1)
    assert call.take() == EVENT
    assert not call.flags & READY
    assert call.take() == b""
    assert resumed == [1]


async def test_a_failure_ends_the_call_once_and_closes_the_upstream():
    call = _call()
    closed: list[int] = []
    call.on_abort = lambda: closed.append(1)
    _feed(call, STREAM + EVENT)
    waiter = call.wait(END | FAULT, asyncio.get_running_loop())
    call.fail(UpstreamTimeout("first"))
    call.fail(UpstreamShutdown("second"))
    call.close()
    assert await waiter is True
    assert closed == [1]
    assert call.cause().message == "first"
    assert call.take() == EVENT, "what came before is still there"


async def test_a_call_that_is_complete_cannot_fail():
    call = _call()
    _feed(call, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    call.fail(UpstreamShutdown("late"))
    assert call.flags & SETTLED == END
    assert call.error is None


@pytest.mark.parametrize(
    ("data", "kind", "code", "message"),
    [
        (b"nonsense\r\n\r\n", UpstreamProtocolError, "upstream_protocol", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", UpstreamProtocolError, "upstream_truncated", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n", UpstreamProtocolError, "upstream_encoding", ""),
        (STREAM + b'data: {"error":{"message":"full"}}\n\n', UpstreamStreamError, "upstream_stream_error", "full"),
    ],
)
async def test_the_cause_of_a_fault_is_what_the_reader_found(data, kind, code, message):
    call = _call()
    _feed(call, data)
    if not call.flags & FAULT:
        call.raise_flags(call.reader.eof())
    cause = call.cause()
    assert isinstance(cause, kind)
    assert cause.code == code
    assert message in cause.message


def test_clocks_of_a_whole_answer_and_of_a_stream():
    call = _call(first_event_s=5, idle_s=3, total_s=60, keepalive_s=2)
    call.arm(100.0, stream=False)
    assert (call.first_at, call.ping_at, call.total_at) == (inf, inf, 160.0)
    assert [call.is_late(at) for at in (102.9, 103.0)] == [False, True]
    call.arm(100.0, stream=True)
    assert (call.first_at, call.ping_at) == (105.0, 102.0)
    assert [call.is_late(at) for at in (104.9, 105.0)] == [False, True]
    _feed(call, STREAM + EVENT)
    call.read_at = 104.0
    assert [call.is_late(at) for at in (106.9, 107.0)] == [False, True]
    call.on_drain = lambda: None
    assert not call.is_late(1000.0), "a client that does not read is not the upstream's fault"


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'


@pytest.mark.parametrize(
    ("events", "idle_s", "patience_s"),
    [
        (EVENT, 300, 300),
        (EVENT + FINISH, 300, USAGE_S),
        (EVENT + FINISH + USAGE, 300, LAST_WORD_S),
        (EVENT + FINISH + USAGE, 3, 3),
        (EVENT + USAGE + FINISH + EVENT, 300, 300),
        (USAGE + FINISH, 300, 300),
    ],
    ids=["open", "finished", "usage told", "less patience", "going on", "in one event"],
)
def test_a_stream_that_has_finished_is_not_waited_for_long(events, idle_s, patience_s):
    call = _call(idle_s=idle_s, total_s=1800, keepalive_s=0)
    call.arm(100.0, stream=True)
    _feed(call, STREAM + events)
    call.read_at = 104.0
    at = 104.0 + patience_s
    assert [call.is_late(at - 0.1), call.is_late(at)] == [False, True]
    assert call.due_at(104.0) <= at


def test_keepalives_can_be_off():
    call = _call(keepalive_s=0)
    call.arm(0.0, stream=True)
    assert call.ping_at == inf


async def test_the_clock_ticks_only_while_calls_are_under_way():
    deadlines = Deadlines()
    for _ in range(2):
        call = _call(total_s=TICK_S / 2)
        call.on_abort = functools.partial(deadlines.discard, call)
        deadlines.add(call, stream=False)
        async with asyncio.timeout(5):
            assert await call.wait(FAULT, asyncio.get_running_loop())
        assert "in total" in call.cause().message
        await asyncio.sleep(TICK_S * 2)
        assert not deadlines._ticking


@pytest.mark.parametrize(
    ("kind", "status", "code", "retryable"),
    [
        (UpstreamError, 502, "upstream_error", True),
        (UpstreamUnreachable, 502, "upstream_unreachable", True),
        (UpstreamBusy, 503, "upstream_busy", True),
        (UpstreamTimeout, 504, "upstream_timeout", True),
        (UpstreamProtocolError, 502, "upstream_protocol_error", True),
        (UpstreamStreamError, 502, "upstream_stream_error", True),
        (UpstreamShutdown, 503, "server_shutting_down", False),
    ],
)
def test_errors_carry_what_a_responder_needs(kind, status, code, retryable):
    error = kind("m")
    assert (error.message, error.status, error.code, error.retryable) == ("m", status, code, retryable)
    own = kind("m", status=418, code="teapot")
    assert (own.status, own.code, kind.status) == (418, "teapot", status)
