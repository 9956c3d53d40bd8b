"""What /health/ready says of services, and that nothing of them is there where none is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.app import App, running_app
from tests.support.asgi import Lifespan
from tests.support.gateway import KEYS
from tests.support.net import free_port, until
from tests.support.services import SERVICES
from tollhouse.config.loader import load_mapping
from tollhouse.gateway import create_app

if TYPE_CHECKING:
    from tests.support.services import Street

VARIABLES = {name: f"{name.upper()}_SERVICE_URL" for name in SERVICES}


async def failing(app: App) -> list[str]:
    answer = await app.send("/health/ready")
    found: list[str] = orjson.loads(answer.body).get("failing", [])
    assert (answer.status == 200) == (not found)
    return found


def environment(services: Street, *names: str) -> dict[str, str]:
    return {VARIABLES[name]: f"{services.url}/{SERVICES[name]}" for name in names}


async def test_without_configuration_there_is_nothing_of_it(tmp_path):
    async with running_app(tmp_path) as app:
        assert app.asgi.state.neighbours is None
        assert b"neighbour" not in (await app.send("/metrics")).body
        assert await failing(app) == []


@pytest.mark.parametrize("has_urls", [True, False])
async def test_real_services_have_to_be_there_by_name(tmp_path, services: Street, has_urls):
    missing = f"http://127.0.0.1:{free_port()}"
    given = {"USE_REAL_SERVICES": "true", "LLM_GATEWAY_STATE_DIR": str(tmp_path)}
    if has_urls:
        given |= environment(services, *SERVICES) | {VARIABLES["eris"]: missing}
        given["POLICY_SERVICE_KEYS"] = services.world.signer.public.text
    asgi = create_app(load_mapping({"keys": KEYS}, given))
    async with Lifespan(asgi):
        app = App(asgi)
        if not has_urls:
            wanted = {f"{name}_service: {variable} is not set" for name, variable in VARIABLES.items()}
            assert wanted <= {*await failing(app), "policy_service: no current policy"}
            # And so is what needs them.
            assert (await app.chat("tollhouse/echo")).status == 503
            assert (await app.chat("tollhouse/echo", key="unknown")).status == 503
            return

        async def only_eris() -> bool:
            return await failing(app) == ["eris_service"]

        await until(only_eris, what="the others")


async def test_a_dependency_that_fails_closed_is_named_until_it_is_back(tmp_path, services: Street):
    sections = services.sections("budget", "data_governance", "eris", health_interval_s=0.02, timeout_s=10)
    sections["neighbours"]["data_governance"]["fail"] = "open"
    async with running_app(tmp_path, **sections) as app:

        async def is_ready() -> bool:
            return await failing(app) == []

        await until(is_ready, what="all of them")
        for name in ("budget", "data_governance", "eris"):
            services.world.controls[SERVICES[name]].covers_health = True
            services.break_(name, "error")

        async def is_named() -> bool:
            return await failing(app) == ["budget_service"]

        await until(is_named, what="the one that fails closed")
        services.mend("budget")
        await until(is_ready, what="the service again")


async def test_a_breaker_is_named_while_it_is_open_and_not_beyond(tmp_path, services: Street):
    """Nobody sends requests to a gateway that is not ready, so it must not wait for one to find out."""
    sections = services.sections("budget", health_interval_s=0.02, cooldown_s=0.3, timeout_s=10)
    sections["neighbours"]["budget"]["failures"] = 0
    async with running_app(tmp_path, **sections) as app:

        async def is_ready() -> bool:
            return await failing(app) == []

        await until(is_ready, what="the service")
        services.break_("budget", "lie")
        assert (await app.chat("tollhouse/echo")).status == 503
        assert await failing(app) == ["budget_service"]
        await until(is_ready, what="the time of the breaker")
        services.mend("budget")
        assert (await app.chat("tollhouse/echo")).status == 200
