"""No route that reaches a provider goes past a service that has to be asked and is not there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.passthrough.provider import FORM
from tests.gateway.test_every_route import BODIES, COUNTED, FREE, REACHING
from tests.support.app import running_app
from tests.support.gateway import model
from tests.support.net import free_port

ALL = {*REACHING, *COUNTED}
MAY_COST = {route for route in {*BODIES, *FREE} if route[0] == "POST"}


@pytest.mark.parametrize(
    ("name", "asked"),
    [("policy", ALL), ("data_governance", ALL), ("budget", MAY_COST)],
    ids=["policy", "data_governance", "budget"],
)
async def test_it_is_shut_and_lists_are_not(tmp_path, name: str, asked: set[tuple[str, str]]):
    nowhere = f"http://127.0.0.1:{free_port()}"
    section = {name: {"url": nowhere, "failures": 0, "cooldown_s": 60}}
    models = [model("draws", f"{nowhere}/v1")]
    async with running_app(tmp_path, neighbours=section, model_list=models) as app:
        for method, template in sorted(asked):
            body: Any = REACHING.get((method, template), BODIES["POST", "/v1/messages"])
            headers = FORM.items() if isinstance(body, bytes) else ()
            path = template.replace("{id}", "file-0")
            answer = await app.send(path, method=method, body=b"" if body is None else body, headers=headers)
            assert answer.status == 503, (method, path, answer)
        assert (await app.send("/v1/models")).status == 200
        assert (await app.send("/health")).status == 200
