"""The contracts themselves, and that the tests of this folder have something of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from jsonschema import ValidationError
from openapi_spec_validator import validate

from tests.support.app import running_app
from tests.support.contracts import Contract, documents
from tests.support.net import until
from tests.support.services import SERVICES, Street
from tollhouse.gateway.neighbours.away import Rejected

if TYPE_CHECKING:
    from pathlib import Path

OURS = {
    ("iam", "introspect", 200),
    ("iam", "discovery", 200),
    ("iam", "keys", 200),
    ("policy", "policy", 200),
    ("policy", "policy", 304),
    ("data-governance", "classification", 200),
    ("data-governance", "classification", 404),
    ("budget", "budget", 200),
    ("budget", "budget", 404),
    ("eris", "deliver", 200),
    ("eris", "deliver", 201),
    ("eris", "deliver", 409),
    ("alerting", "alert", 202),
    *((name, "health", 200) for name in SERVICES.values()),
}


@pytest.mark.parametrize("name", SERVICES.values())
def test_each_contract_is_openapi(name):
    validate(documents()[name])


def test_there_is_one_for_each_service():
    assert set(documents()) == set(SERVICES.values())


async def test_clients_and_reference_services_keep_every_contract(tmp_path: Path, services: Street):
    sections = services.sections(*SERVICES, timeout_s=5)
    sections["neighbours"]["policy"] |= {"ttl_s": 0.01, "stale_s": 60}
    sections["auth"] = {"jwt": {"issuer": f"{services.url}/iam", "audience": "tollhouse"}}
    async with running_app(tmp_path, **sections) as app:

        async def is_ready() -> bool:
            return (await app.send("/health/ready")).status == 200

        await until(is_ready, what="all services")
        assert (await app.chat("tollhouse/echo", key="demo-token")).status == 200
        services.world.classifications.pop("acme")
        assert (await app.chat("tollhouse/echo", key="demo-token")).status == 403
        services.world.classifications["acme"] = {"classification": "x", "request": {"injection": "block"}}
        services.world.budgets.pop("acme")

        async def is_refused() -> bool:
            return (await app.chat("tollhouse/echo", key="demo-token")).status == 429

        await until(is_refused, what="a tenant without budget")
        eris = app.asgi.state.neighbours.eris
        for _ in range(2):
            await eris.deliver([b'{"a": 1}'], "key-1")
        with pytest.raises(Rejected):
            await eris.deliver([b'{"a": 2}'], "key-1")
        app.asgi.state.neighbours.alerts.tell("store_away")

        async def all_seen() -> bool:
            return services.checked.seen >= OURS

        await until(all_seen, what=f"all of {OURS}")


def test_the_checker_sees_what_breaks_a_contract():
    budget = Contract("budget", documents()["budget"])
    path, headers = "/v1/tenants/acme/budget", {"content-type": "application/json"}
    budget.check_response("GET", path, 200, headers, b'{"tenant":"acme","allowed":true}')
    with pytest.raises(ValidationError):
        budget.check_response("GET", path, 200, headers, b'{"tenant":"acme","allowed":1}')
    with pytest.raises(AssertionError):
        budget.check_response("GET", path, 418, headers, b"{}")
    with pytest.raises(AssertionError):
        budget.check_request("POST", path, {}, b"")
    eris = Contract("eris", documents()["eris"])
    with pytest.raises(AssertionError):
        eris.check_request("POST", "/v1/receipts", headers, b'{"receipts":[]}')
    with pytest.raises(ValidationError):
        eris.check_request("POST", "/v1/receipts", headers | {"idempotency-key": "k"}, b'{"receipts":{}}')


def test_the_reference_services_refuse_a_stranger(services: Street):
    services.world.token = "known"
    with httpx.Client(base_url=services.url) as client:
        assert client.get("/budget/v1/tenants/acme/budget").status_code == 401
        assert client.get("/policy/v1/policy", headers={"authorization": "Bearer known"}).status_code == 200
