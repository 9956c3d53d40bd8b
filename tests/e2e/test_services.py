"""The services as a process of their own that is killed and comes back, and a gateway that goes on all the while."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from tests.support.app import App
from tests.support.asgi import Lifespan
from tests.support.gateway import KEYS, ROOT
from tests.support.net import free_port, until
from tollhouse.config.loader import load_mapping
from tollhouse.gateway import create_app
from tollhouse.gateway.neighbours.away import Away

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ECHO = "tollhouse/echo"
NAMES = ("IAM", "POLICY", "DATA_GOVERNANCE", "BUDGET", "ERIS", "ALERTING")
QUICK = {"ttl_s": 0.01, "stale_s": 0.05, "negative_ttl_s": 0.01, "cooldown_s": 0.1, "health_interval_s": 0.05}
SECTION = {name.lower(): {**QUICK, "timeout_s": 2} for name in NAMES}


@contextlib.contextmanager
def running(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The documented command."""
    command = [sys.executable, "-m", "scripts.reference_services", "--port", str(port), "--folder", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def environment(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it says that the gateway needs to know."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    while not found.get("USE_REAL_SERVICES"):
        line = process.stdout.readline()
        assert line
        name, _, value = line.removeprefix("export ").strip().partition("=")
        found[name] = value
    assert {f"{name}_SERVICE_URL" for name in NAMES} <= found.keys()
    return {name: value for name, value in found.items() if name.isupper()}


async def test_services_that_are_killed_shut_what_fails_closed_and_open_it_again_when_they_are_back(tmp_path):
    port, folder = free_port(), tmp_path / "services"
    batches = {f"batch-{i}": [{"receipt": f"{i}-{j}"} for j in range(5)] for i in range(20)}
    kept: dict[str, list[dict[str, Any]]] = {}
    found: list[dict[str, Any]] = []
    with running(port, folder) as process:
        given = environment(process)
        settings = load_mapping(
            {"keys": KEYS, "neighbours": {**SECTION, "policy": {**QUICK, "stale_s": 0.2}}},
            {**given, "LLM_GATEWAY_STATE_DIR": str(tmp_path / "state")},
        )
        asgi = create_app(settings)
        async with Lifespan(asgi):
            app, eris = App(asgi), asgi.state.neighbours.eris

            async def is_ready() -> bool:
                return (await app.send("/health/ready")).status == 200

            async def deliver(key: str) -> bool:
                try:
                    await eris.deliver([*map(orjson.dumps, batches[key])], key)
                except Away:
                    return False
                kept[key] = batches[key]
                return True

            async def goes() -> bool:
                return (await app.chat(ECHO, key="demo-token")).status == 200

            await until(is_ready, what="all services")
            await until(goes, what="an answer")
            for key in list(batches)[:10]:
                assert await deliver(key)
            process.kill()
            process.wait()

            async def is_shut() -> bool:
                return (await app.chat(ECHO, key="demo-token")).status == 503

            await until(is_shut, what="the closed answer")
            assert not await deliver("batch-10")

            async def are_named() -> bool:
                failing = orjson.loads((await app.send("/health/ready")).body).get("failing", ())
                return {f"{name}_service" for name in ("iam", "policy", "data_governance", "budget")} <= set(failing)

            await until(are_named, what="the names of the services")
            with running(port, folder):
                await until(goes, what="the services again", timeout_s=30)
                for key in batches:  # those that had arrived as well: nobody can know

                    async def arrives(key: str = key) -> bool:
                        return await deliver(key)

                    await until(arrives, what=key)
                await until(is_ready, what="readiness")
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

                    async def has_own() -> bool:
                        nonlocal found
                        found = (await client.get("/control/eris")).json()["kept"]
                        return any("seq" in one and one["type"] != "head" for one in found)

                    await until(has_own, what="the gateway's own receipts", timeout_s=30)
    assert kept == batches
    # The gateway's own are there as well, each once.
    assert [one for one in found if "receipt" in one] == [one for batch in batches.values() for one in batch]
    own = [one["seq"] for one in found if "seq" in one and one["type"] != "head"]
    assert own == list(range(own[0], own[0] + len(own)))
    assert os.path.getsize(folder / "receipts.jsonl") > 0
