"""Stopping and restarting: what is under way ends well, what cannot ends with words, and nobody is turned away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.client import (
    Answer,
    Stream,
    chat_body,
    checked_error,
    events_of,
    post,
    request_bytes,
    stream_chat,
    text_of,
)
from tests.support.gateway import Gateway, echo_only, model, running_gateway
from tests.support.load import Load
from tests.support.net import LOOPBACK, process_tree, wait_until
from tests.support.stalls import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.upstream import ScriptedUpstream

SERVERS = ("builtin", "granian", "uvicorn")
STREAMS = 100


@contextlib.contextmanager
def _running(upstream: ScriptedUpstream, *, server: str = "builtin", **sections: Any) -> Iterator[Gateway]:
    config = echo_only(model_list=[model("hostile/*", upstream.base_url)], **sections)
    with running_gateway(config, server=server) as gateway:
        yield gateway


def _is_draining(gateway: Gateway) -> bool:
    status, body = gateway.get("/health/ready")
    return status == 503 and orjson.loads(body)["failing"] == ["draining"]


@pytest.mark.parametrize("server", SERVERS)
def test_lingering_gateway_is_not_ready_but_answers(upstream: ScriptedUpstream, server: str) -> None:
    with _running(upstream, server=server, linger_s=3.0, drain_s=5) as gateway:
        assert "connection" not in post(gateway, chat_body("hostile/fine")).headers
        with stream_chat(gateway, "hostile/counting@40,50") as stream:
            got = stream.read_until(b"0 ")
            gateway.signal(signal.SIGTERM)
            wait_until(lambda: _is_draining(gateway), what="the gateway says that it is draining")
            assert gateway.get("/health")[0] == 200, "alive all the same"
            answer = post(gateway, chat_body("hostile/fine"))
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            with stream_chat(gateway, "hostile/fine") as late:
                assert late.headers["connection"] == "close"
                assert events_of(late.read())[-1] == b"[DONE]"
            # Two seconds of stream, one of linger: it ends well within the time to drain.
            events = events_of(got + stream.read())
        assert text_of(events) == "".join(f"{i} " for i in range(40))
        assert events[-1] == b"[DONE]"
        assert gateway.wait() == 0


def test_idle_gateway_stops_at_once(upstream: ScriptedUpstream) -> None:
    with _running(upstream, linger_s=0, drain_s=30) as gateway:
        with stream_chat(gateway, "hostile/fine") as kept_alive:
            kept_alive.read()
            with Stopwatch() as took:
                gateway.signal(signal.SIGTERM)
                assert gateway.wait() == 0
        assert took.seconds < 2, "an idle connection is nothing to wait for"


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_left_at_the_deadline_ends_with_words(upstream: ScriptedUpstream, server: str) -> None:
    with _running(upstream, server=server, drain_s=0.5) as gateway, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(stream_chat(gateway, "hostile/ticking@50")) for _ in range(STREAMS)]
        begun = [stream.read_until(b"tick") for stream in streams]
        silent = [
            Stream(gateway, request_bytes(gateway, chat_body("hostile/hang", stream=is_stream)))
            for is_stream in (False, True)
        ]
        wait_until(lambda: gateway.in_flight() == STREAMS + 2, what="all of them are under way")
        gateway.signal(signal.SIGTERM)
        for start, stream in zip(begun, streams, strict=True):
            body = start + stream.read()
            assert b"[DONE]" not in body
            *good, last = events_of(body)
            assert all("error" not in orjson.loads(event) for event in good)
            checked_error(last, "server_shutting_down")
        for waiting in silent:
            with waiting:
                answer = Answer(waiting.status, waiting.headers, waiting.read())
            answer.error(503, "server_shutting_down")
            assert answer.headers["retry-after"] == "1", "another gateway will be there"
        assert gateway.wait() == 0
        assert len([line for line in gateway.log_lines if line.get("error") == "server_shutting_down"]) == STREAMS + 2


@pytest.mark.parametrize("server", SERVERS)
def test_client_that_does_not_read_cannot_keep_the_gateway_alive(upstream: ScriptedUpstream, server: str) -> None:
    with (
        _running(upstream, server=server, drain_s=0.5) as gateway,
        stream_chat(gateway, "hostile/endless-stream", receive_buffer=4096),
    ):
        seen = upstream.log.of("endless-stream")[-1]
        wait_until(lambda: seen.sent > 1024 * 1024, what="the stream has filled the buffers")
        with Stopwatch() as took:
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
        assert took.seconds < 6


@pytest.mark.parametrize("server", ["builtin", "granian"])
def test_shutdown_that_takes_long_is_no_client_that_does_not_read(upstream: ScriptedUpstream, server: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as collector:  # takes whatever comes, and never answers
        telemetry = {"otlp": {"endpoint": f"http://{LOOPBACK}:{collector.getsockname()[1]}"}}
        with _running(upstream, server=server, linger_s=0, telemetry=telemetry) as gateway:
            post(gateway, chat_body("hostile/fine"))
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
            assert "telemetry that could not be sent is left behind" in gateway.output, "the shutdown came to its end"
            assert "do not read" not in gateway.output


def test_second_signal_ends_what_is_under_way(upstream: ScriptedUpstream) -> None:
    with _running(upstream, drain_s=60) as gateway, stream_chat(gateway, "hostile/ticking@10") as stream:
        stream.read_until(b"tick")
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in gateway.output, what="the worker drains")
        gateway.signal(signal.SIGTERM)
        checked_error(events_of(stream.read())[-1], "server_shutting_down")
        assert gateway.wait() == 0


@pytest.mark.parametrize("whom", ["the supervisor", "everybody"])
def test_signals_up_to_the_last_moment_change_nothing(upstream: ScriptedUpstream, whom: str) -> None:
    with _running(upstream, linger_s=0) as gateway:
        pids = [gateway.pid] if whom == "the supervisor" else process_tree(gateway.pid)
        while gateway.process.poll() is None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            time.sleep(0.001)  # leaves it the time to do more than to hear of signals
        assert gateway.wait() == 0
        assert "had to be ended" not in gateway.output


def test_workers_do_not_outlive_their_supervisor(upstream: ScriptedUpstream) -> None:
    with _running(upstream, drain_s=1) as gateway:
        gateway.expected_exit = -signal.SIGKILL
        worker = gateway.worker_pid
        assert worker != gateway.pid
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        wait_until(lambda: not _is_alive(worker), what="the worker has ended, too")


def test_worker_that_dies_is_replaced(upstream: ScriptedUpstream) -> None:
    with _running(upstream) as gateway:
        import os

        first = gateway.worker_pid
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not _is_alive(first), what="the worker is dead")
        assert post(gateway, chat_body("hostile/fine")).status == 200, "a connection waits for the next worker"
        assert gateway.worker_pid != first


@pytest.mark.parametrize("workers", [1, 2])
async def test_rolling_restart_under_load_drops_nothing(upstream: ScriptedUpstream, workers: int) -> None:
    # Every client comes again within the linger, also where all of them have to wait for a processor.
    with _running(upstream, linger_s=1, drain_s=10, workers=workers) as gateway:
        load = Load(gateway, connections=32, whole="hostile/slow-answer@20", streamed="hostile/counting@10,20")
        async with load as tally:
            for _ in range(3):
                await asyncio.to_thread(_restart, gateway)
        print(tally.whole, "whole,", tally.streamed, "streamed,", tally.connections, "connections")
    assert not tally.refused
    assert not tally.broken
    assert not tally.stale
    assert tally.whole > 500
    assert tally.streamed > 100
    assert tally.connections >= 4 * 32, "every restart had every connection closed"


async def test_streams_longer_than_the_linger_outlive_a_restart(upstream: ScriptedUpstream) -> None:
    with _running(upstream, linger_s=1, drain_s=10) as gateway:
        load = Load(gateway, connections=32, whole="hostile/slow-answer@400", streamed="hostile/counting@10,150")
        async with load as tally:
            await asyncio.to_thread(_restart, gateway)
    print(tally.whole, "whole,", tally.streamed, "streamed,", tally.connections, "connections")
    assert not tally.refused
    assert not tally.broken
    # Their heads went out before anybody knew of the restart, so nothing announced that these connections would close:
    # what their clients ask next is answered there, and that answer does.
    assert not tally.stale


async def test_restart_with_a_bad_configuration_changes_nothing(upstream: ScriptedUpstream) -> None:
    with _running(upstream) as gateway:
        worker = gateway.worker_pid
        (gateway.folder / "config.yaml").write_text("model_list: 5\n")
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: "not valid" in gateway.output, what="the supervisor says so")
        assert post(gateway, chat_body("hostile/fine")).status == 200
        assert gateway.worker_pid == worker


def _restart(gateway: Gateway) -> None:
    """Replace the workers, and wait until the old ones have gone."""
    before = process_tree(gateway.pid)[1:]
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: not any(map(_is_alive, before)), what="the old workers have gone", every_s=0.02)
    wait_until(gateway.is_ready, what="the new ones are ready")


def _is_alive(pid: int) -> bool:
    return bool(process_tree(pid)[1:]) or _state(pid) not in {"", "Z"}


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][:1]
    except OSError:
        return ""
