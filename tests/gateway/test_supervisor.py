"""The real command with real workers: rolled, killed, given bad files and told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support import hostile
from tests.support.client import checked_error, events_of, post, stream_chat
from tests.support.gateway import Gateway, echo_only, model, running_gateway, start_gateway
from tests.support.net import LOOPBACK, free_port, process_tree, wait_until
from tests.support.stalls import Stopwatch
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHO = "tollhouse/echo"
BODY: dict[str, Any] = {"model": ECHO, "messages": [{"role": "user", "content": "hello"}]}
REQUESTS = "gateway_requests_total"


def _workers(gateway: Gateway) -> list[int]:
    return process_tree(gateway.pid)[1:]


def _served(gateway: Gateway) -> float:
    return gateway.metric(REQUESTS, model=ECHO, status="200")


def _write(gateway: Gateway, config: dict[str, Any] | str) -> None:
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    (gateway.folder / "config.yaml").write_text(text)


def _roll(gateway: Gateway, *, workers: int = 1) -> None:
    """SIGHUP, and wait until only new workers are there."""
    before = set(_workers(gateway))
    gateway.signal(signal.SIGHUP)

    def rolled() -> bool:
        now = set(_workers(gateway))
        return len(now) == workers and not now & before

    wait_until(rolled, what="the workers were replaced")


def _open_settings(gateway: Gateway) -> int:
    links = [os.readlink(fd) for fd in Path(f"/proc/{gateway.pid}/fd").iterdir()]
    return sum("tollhouse-settings" in link for link in links)


@contextlib.contextmanager
def _traffic(gateway: Gateway, *, clients: int = 3) -> Iterator[list[int]]:
    """Requests on new connections, one after the other per client; yields the statuses as they come."""
    statuses: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                statuses.append(post(gateway, BODY).status)
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=call) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not failures, failures
    assert set(statuses) == {200}


def test_several_workers_count_as_one():
    with running_gateway(echo_only(workers=2)) as gateway:
        assert len(_workers(gateway)) == 2
        for _ in range(40):
            assert post(gateway, BODY).status == 200
        # A worker may be late with what it counted; then all of them say the same.
        wait_until(lambda: _served(gateway) >= 40, what="all requests are counted")
        assert {_served(gateway) for _ in range(8)} == {40}
        assert gateway.metric("gateway_tokens_total", kind="completion") == 40
        gateway.wait_idle()
        assert "pid=" not in gateway.get("/metrics")[1].decode()


def test_workers_share_keys_and_revocations():
    with running_gateway(echo_only(workers=2)) as gateway:
        made = post(gateway, {}, path="/admin/keys", headers={"x-admin-api-key": "sk-master-of-the-tests"}).json

        def statuses() -> set[int]:
            return {post(gateway, BODY, key=made["key"]).status for _ in range(8)}

        wait_until(lambda: statuses() == {200}, what="every worker knows the key", timeout_s=5)
        path = f"/admin/keys/{made['id']}"
        revoked = post(gateway, b"", method="DELETE", path=path, headers={"x-admin-api-key": "sk-master-of-the-tests"})
        assert revoked.status == 200
        wait_until(lambda: statuses() == {401}, what="no worker takes it any more", timeout_s=2)


def test_several_workers_with_limits_need_a_shared_store(tmp_path):
    gateway = start_gateway(echo_only(workers=2, limits={"rpm": 5}), folder=tmp_path)
    assert gateway.wait() == 1
    assert "need a shared store" in gateway.output


def test_rolling_the_workers_refuses_nothing_and_loses_no_count():
    with running_gateway(echo_only(workers=2)) as gateway:
        with _traffic(gateway) as statuses:
            for _ in range(3):
                enough = len(statuses) + 50
                wait_until(lambda: len(statuses) > enough, what="traffic flows")  # noqa: B023 - awaited here
                _roll(gateway, workers=2)
        wait_until(lambda: _served(gateway) >= len(statuses), what="all requests are counted")
        assert _served(gateway) == len(statuses)
        assert not [line for line in gateway.log_lines if line["level"] != "info"]


def test_rolling_brings_the_new_configuration_and_finishes_what_runs():
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        config = echo_only(model_list=[model("old", upstream.base_url, upstream="openai/counting@20,50")], drain_s=10)
        with running_gateway(config) as gateway, stream_chat(gateway, "old") as stream:
            first = stream.read_until(b"\n\n")
            renamed = [model("new", upstream.base_url, upstream="openai/fine")]
            _write(gateway, config | {"model_list": renamed})
            before = _workers(gateway)
            gateway.signal(signal.SIGHUP)
            wait_until(lambda: post(gateway, BODY | {"model": "new"}).status == 200, what="the new one serves")
            rest = stream.read()
            assert events_of(first + rest)[-1] == b"[DONE]"
            wait_until(lambda: not set(before) & set(_workers(gateway)), what="the old worker has gone")
            post(gateway, BODY | {"model": "old"}).error(404, "model_not_found")


@pytest.mark.parametrize("config", ["port: 0\n", "{", "model_list: [{}]\n"])
def test_a_bad_file_leaves_the_old_workers_alone(config):
    with running_gateway(echo_only()) as gateway:
        before = _workers(gateway)
        _write(gateway, config)
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: "the running one stays" in gateway.output, what="the refusal is told")
        assert "config.yaml:" in gateway.output, "and its reason"
        assert _workers(gateway) == before
        assert post(gateway, BODY).status == 200
        _write(gateway, echo_only())
        _roll(gateway)
        assert post(gateway, BODY).status == 200


def test_what_may_not_start_may_not_be_reloaded():
    with running_gateway(echo_only(workers=2)) as gateway:
        _write(gateway, echo_only(workers=2, limits={"rpm": 5}))
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: "the running one stays" in gateway.output, what="the refusal is told")
        assert "need a shared store" in gateway.output


def test_workers_that_do_not_start_leave_the_old_ones_in_place():
    with running_gateway(echo_only()) as gateway:
        gateway.allowed_exceptions.add("DatabaseError")
        before = _workers(gateway)
        with contextlib.closing(sqlite3.connect(gateway.folder / "state" / "tollhouse.db")) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("PRAGMA user_version = 99")
            gateway.signal(signal.SIGHUP)
            wait_until(lambda: "the old ones stay" in gateway.output, what="the failure is told")
            assert "written by a newer version" in gateway.output
            wait_until(lambda: _workers(gateway) == before, what="only the old worker is left")
            assert _open_settings(gateway) == 1
            assert post(gateway, BODY).status == 200
            db.execute(f"PRAGMA user_version = {version}")
        _roll(gateway)
        assert post(gateway, BODY).status == 200


def test_what_cannot_change_while_running_is_told():
    with running_gateway(echo_only()) as gateway:
        _write(gateway, echo_only(workers=2, host="127.0.0.2"))
        _roll(gateway)
        assert "host and port cannot change while running" in gateway.output
        assert "the number of workers cannot change between one and several" in gateway.output
        assert post(gateway, BODY).status == 200


def test_a_file_that_changes_during_a_restart_is_read_after_it():
    with running_gateway(echo_only()) as gateway:
        before = _workers(gateway)
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: _workers(gateway) != before, what="a restart is under way")
        late = {"model_name": "late", "litellm_params": {"model": ECHO}}
        _write(gateway, echo_only(model_list=[late]))
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: post(gateway, BODY | {"model": "late"}).status == 200, what="the last file holds")
        wait_until(lambda: len(_workers(gateway)) == 1, what="one worker is left")


def test_a_killed_worker_is_replaced():
    with running_gateway(echo_only(workers=2)) as gateway:
        victim, other = _workers(gateway)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: f"worker {victim} ended unexpectedly: exit code -9" in gateway.output, what="it is told")
        wait_until(lambda: len(_workers(gateway)) == 2 and victim not in _workers(gateway), what="it is replaced")
        assert other in _workers(gateway)
        for _ in range(10):
            assert post(gateway, BODY).status == 200
        gateway.wait_idle()


def test_too_many_crashes_end_it(tmp_path):
    gateway = start_gateway(echo_only(), folder=tmp_path)
    for i in range(5):
        wait_until(gateway.is_ready, what=f"worker {i} serves", every_s=0.02)
        (worker,) = _workers(gateway)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda gone=worker: gone not in process_tree(gateway.pid)[1:], what="it has gone")  # type: ignore[misc]
    assert gateway.wait() == 1
    assert "giving up" in gateway.output


def test_workers_end_when_their_supervisor_is_killed(tmp_path):
    gateway = start_gateway(echo_only(), folder=tmp_path)
    wait_until(gateway.is_ready, what="it serves", every_s=0.02)
    (worker,) = _workers(gateway)
    gateway.process.kill()
    gateway.wait()

    def gone() -> bool:
        stat = Path(f"/proc/{worker}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_until(gone, what="the worker has gone too")


def test_a_port_in_use_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        gateway = start_gateway(echo_only(), folder=tmp_path, env={"LLM_GATEWAY_PORT": port})
        assert gateway.wait() == 1
        assert "cannot listen: Address already in use" in gateway.output


def test_a_worker_that_cannot_start_ends_the_start(tmp_path):
    (tmp_path / "state").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "tollhouse.db")) as db:
        db.execute("PRAGMA user_version = 99")
    gateway = start_gateway(echo_only(), folder=tmp_path)
    assert gateway.wait() == 1
    assert "written by a newer version" in gateway.output


@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
def test_a_signal_while_starting_ends_it_in_order(tmp_path, delay_s):
    gateway = start_gateway(echo_only(workers=2), folder=tmp_path)
    time.sleep(delay_s)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() in {0, -signal.SIGTERM}, gateway.output  # the latter: before there were any workers
    assert "had to be ended" not in gateway.output


@pytest.fixture
def streaming() -> Iterator[Gateway]:
    """A gateway in front of an upstream whose stream never ends, with a long time to drain."""
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        models = [model("*", upstream.base_url)]
        with running_gateway(echo_only(model_list=models, drain_s=60, linger_s=30)) as gateway:
            yield gateway


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once_and_streams_are_told(streaming, sig):
    with stream_chat(streaming, "ticking@20") as stream:
        stream.read_until(b"\n\n")
        streaming.signal(sig)
        wait_until(lambda: streaming.get("/health/ready")[0] == 503 if sig == signal.SIGTERM else True, what="draining")
        time.sleep(0.3)  # nothing may end by itself
        assert streaming.process.poll() is None
        stream.read_until(b"\n\n")
        with Stopwatch() as took:
            streaming.signal(sig)
            rest = stream.read()
            checked_error(events_of(rest)[-1], "server_shutting_down")
            assert streaming.wait() == 0
        assert took.seconds < 5


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_every_process_gets_is_one_signal(sig):
    """As from a terminal (Ctrl-C) or from systemd, which signal the workers too."""
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        config = echo_only(model_list=[model("*", upstream.base_url)], drain_s=20, linger_s=0.3)
        with running_gateway(config) as gateway, stream_chat(gateway, "counting@30,30") as stream:
            first = stream.read_until(b"\n\n")
            for pid in process_tree(gateway.pid):
                os.kill(pid, sig)
            assert events_of(first + stream.read())[-1] == b"[DONE]"
            assert gateway.wait() == 0


def test_reloads_leave_no_old_settings_behind():
    with running_gateway(echo_only()) as gateway:
        for _ in range(2):
            _roll(gateway)
            assert _open_settings(gateway) == 1


def test_sigterm_makes_it_unready_and_waits_for_streams():
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        config = echo_only(model_list=[model("*", upstream.base_url)], drain_s=20, linger_s=0.3)
        with running_gateway(config) as gateway, stream_chat(gateway, "counting@30,30") as stream:
            first = stream.read_until(b"\n\n")
            gateway.signal(signal.SIGTERM)
            wait_until(lambda: b"draining" in gateway.get("/health/ready")[1], what="it is not ready")
            answer = post(gateway, BODY | {"model": ECHO})
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            rest = stream.read()
            assert events_of(first + rest)[-1] == b"[DONE]"
            assert gateway.wait() == 0


def test_at_the_deadline_streams_end_with_an_error_event():
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        config = echo_only(model_list=[model("*", upstream.base_url)], drain_s=0.3)
        with running_gateway(config) as gateway, stream_chat(gateway, "ticking@20") as stream:
            stream.read_until(b"\n\n")
            gateway.signal(signal.SIGTERM)
            checked_error(events_of(stream.read())[-1], "server_shutting_down")
            assert gateway.wait() == 0


def test_the_command_line_wins_over_the_file(tmp_path):
    port = free_port()
    gateway = start_gateway(echo_only(port=1), folder=tmp_path, env={"LLM_GATEWAY_PORT": str(port)})
    gateway.port = port
    try:
        wait_until(gateway.is_ready, what="it serves at the port of the environment", every_s=0.02)
        assert f"http://127.0.0.1:{port}" in gateway.output
        assert "$YOUR_MASTER_KEY" in gateway.output
    finally:
        gateway.stop()
