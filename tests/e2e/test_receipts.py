"""Receipts of the real command: killed at any moment, with a service that is not always there."""

from __future__ import annotations

import hmac
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.client import CHAT, chat_body
from tests.support.eris import Eris
from tests.support.gateway import KEY, Gateway, echo_only, running_gateway
from tests.support.net import LOOPBACK, wait_until
from tollhouse.middlewares.stores.chain import chains, records

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = 2
# A batch is written every 20 ms; a machine that does other things as well may come to it later.
WINDOW_S = 0.5
BODY = orjson.dumps(chat_body("tollhouse/echo"))


def _requests(root: Path) -> set[str]:
    return {orjson.loads(line).get("request", "") for chain in chains(root) for _, _, line in records(chain)}


def _busy(gateway: Gateway, answered: dict[str, float], stop: threading.Event) -> None:
    while not stop.is_set():
        connection = http.client.HTTPConnection(LOOPBACK, gateway.port, timeout=5)
        try:
            connection.request("POST", CHAT, BODY, {"authorization": f"Bearer {KEY}"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            continue  # nobody is there, or it was killed in the middle
        finally:
            connection.close()
        if answer.status == 200:
            answered[answer.headers["x-request-id"]] = time.monotonic()


def _is_another(gateway: Gateway, victim: int) -> bool:
    return gateway.worker_pid not in {victim, gateway.pid}


def _killed(gateway: Gateway) -> Iterator[float]:
    """Moments at which the worker was killed."""
    for _ in range(KILLS):
        time.sleep(WINDOW_S + 0.2)
        victim = gateway.worker_pid
        os.kill(victim, signal.SIGKILL)
        yield time.monotonic()
        wait_until(partial(_is_another, gateway, victim), what="there is a new worker")
        wait_until(gateway.is_ready, what="it is ready")


def test_what_was_answered_before_the_worker_was_killed_has_its_receipt_and_reaches_the_service() -> None:
    with Eris() as eris:
        receipts = {"eris": {"url": eris.url, "timeout_s": 0.5}, "head_s": 0}
        with running_gateway(echo_only(receipts=receipts)) as gateway:
            answered: dict[str, float] = {}
            stop = threading.Event()
            caller = threading.Thread(target=_busy, args=(gateway, answered, stop))
            caller.start()
            try:
                moments = []
                for number, moment in enumerate(_killed(gateway)):
                    moments.append(moment)
                    # The second worker finds no service, and the third tells it all.
                    (eris.start if number else eris.stop)()
            finally:
                stop.set()
                caller.join()
            root = gateway.folder / "state" / "receipts"
            # An answer may be read a moment after its gateway was killed.
            near = [(moment - WINDOW_S, moment + WINDOW_S) for moment in moments]
            promised = {name for name, at in answered.items() if not any(first <= at <= last for first, last in near)}
            assert len(promised) > 10
            wait_until(lambda: not promised - _requests(root), what="all receipts are written")
            wait_until(
                lambda: {one["request"] for one in eris.decisions()} >= promised, what="all receipts have arrived"
            )
            gateway.stop()
            assert {one["request"] for one in eris.decisions()} == _requests(root) - {""}
            command = [str(Path(sys.executable).with_name("tollhouse")), "audit", "verify", str(root)]
            checked = subprocess.run(command, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("server", ["builtin", "granian"])
def test_whole_answers_and_streams_have_digests_of_the_bytes_that_were_sent(server: str) -> None:
    bodies = [chat_body("tollhouse/echo", content="Hello " * 2000, stream=stream) for stream in (False, True)]
    sent = []
    with running_gateway(echo_only(receipts={}), server=server) as gateway:
        connection = http.client.HTTPConnection(LOOPBACK, gateway.port, timeout=5)
        for body in [*map(orjson.dumps, bodies), b"{oops"]:
            connection.request("POST", CHAT, body, {"authorization": f"Bearer {KEY}"})
            sent.append(connection.getresponse().read())
        connection.close()
        gateway.stop()
        root = gateway.folder / "state" / "receipts"
        key = (root / "digest.key").read_bytes()
        told = [orjson.loads(line) for chain in chains(root) for _, _, line in records(chain)]
    assert len(sent[1]) > len(sent[0]) > 1000
    assert [(one["answer_bytes"], one["answer_hmac"]) for one in told if one["type"] == "decision"] == [
        (len(body), hmac.digest(key, body, "sha256").hex()) for body in sent
    ]
