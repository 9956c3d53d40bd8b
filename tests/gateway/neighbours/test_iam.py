from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.app import running_app
from tests.support.gateway import KEY
from tests.support.net import until

if TYPE_CHECKING:
    from tests.support.services import Street

ECHO = "tollhouse/echo"


async def test_a_token_that_is_no_key_of_ours_is_iams(tmp_path, services: Street):
    services.world.tokens["t-narrow"] = {"sub": "nina", "tenant": "acme", "models": ["gpt-*"]}
    async with running_app(tmp_path, **services.sections("iam", ttl_s=60)) as app:
        assert (await app.chat(ECHO, key="demo-token")).status == 200
        assert app.log[-1]["key_id"] == "iam:demo"
        assert (await app.chat(ECHO, key="t-narrow")).status in {403, 404}
        assert (await app.chat(ECHO, key="nobody-has-it")).status == 401
        assert (await app.chat(ECHO)).status == 200


async def test_our_own_keys_are_never_sent_out(tmp_path, services: Street):
    async with running_app(tmp_path, **services.sections("iam")) as app:
        assert (await app.chat(ECHO, key=KEY)).status == 200
        assert (await app.chat(ECHO, key="sk-th-revokedrevok-" + "r" * 48)).status == 401
        assert services.asked("iam") == 0


async def test_whom_iam_vouches_for_is_no_administrator(tmp_path, services: Street):
    services.world.tokens["t-root"] = {"sub": "root", "admin": True, "scope": "admin"}
    async with running_app(tmp_path, **services.sections("iam")) as app:
        assert (await app.send("/admin/keys", key="t-root")).status == 401
        assert services.asked("iam") == 0


async def test_one_question_serves_all_who_come_meanwhile(tmp_path, services: Street):
    async with running_app(tmp_path, **services.sections("iam", ttl_s=60, timeout_s=5)) as app:
        answers = await asyncio.gather(*(app.chat(ECHO, key="demo-token") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert services.asked("iam") == 1
        assert await app.metric("gateway_neighbour_cache_total", service="iam", result="miss") == 1


async def test_a_revoked_token_goes_on_for_ttl_and_no_longer(tmp_path, services: Street):
    async with running_app(tmp_path, **services.sections("iam", ttl_s=0.2, stale_s=60, timeout_s=5)) as app:
        assert (await app.chat(ECHO, key="demo-token")).status == 200
        services.world.tokens.clear()

        async def is_refused() -> bool:
            return (await app.chat(ECHO, key="demo-token")).status == 401

        await until(is_refused, what="the revocation")
        services.break_("iam", "error")  # what is known to be revoked is not brought back by a failure
        assert (await app.chat(ECHO, key="demo-token")).status in {401, 503}


async def test_while_iam_is_away_a_known_token_goes_on_for_stale_s(tmp_path, services: Street):
    async with running_app(tmp_path, **services.sections("iam", ttl_s=0.001, stale_s=2.0, timeout_s=5)) as app:
        assert (await app.chat(ECHO, key="demo-token")).status == 200
        services.break_("iam", "error")
        assert (await app.chat(ECHO, key="demo-token")).status == 200
        assert (await app.chat(ECHO, key="another")).status == 503

        async def is_refused() -> bool:
            return (await app.chat(ECHO, key="demo-token")).status == 503

        await until(is_refused, what="the end of what is believed")


@pytest.mark.parametrize(
    "answer",
    [
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "x" * 151},
        {"sub": "kim", "models": {"a": 1}},
        {"sub": "kim", "exp": "soon"},
        {"sub": "kim", "exp": True},
        {"sub": "kim", "tenant": ["acme"]},
        {},
    ],
)
async def test_an_answer_of_the_wrong_shape_opens_nothing(tmp_path, services: Street, answer):
    services.world.controls["iam"].mode = "slow"  # and so is not held to its contract
    services.world.controls["iam"].delay_s = 0.0
    services.world.tokens["t"] = answer
    async with running_app(tmp_path, **services.sections("iam", timeout_s=5)) as app:
        assert (await app.chat(ECHO, key="t")).status == 503
        assert await app.metric("gateway_neighbour_requests_total", service="iam", outcome="malformed") == 1


async def test_a_token_that_has_expired_is_refused_although_it_is_remembered(tmp_path, services: Street):
    async with running_app(tmp_path, **services.sections("iam", ttl_s=60, timeout_s=5)) as app:
        services.world.tokens["t-short"] = {"sub": "kim", "exp": int(time.time()) + 2}
        assert (await app.chat(ECHO, key="t-short")).status == 200

        async def is_refused() -> bool:
            return (await app.chat(ECHO, key="t-short")).status == 401

        await until(is_refused, what="the end of the token")
        assert services.asked("iam") == 1


async def test_the_gateway_tells_iam_who_it_is_and_nobody_else_what_it_says(tmp_path, services: Street, caplog):
    services.world.token = "service-secret-of-the-gateway"
    async with running_app(tmp_path, **services.sections("iam", timeout_s=5)) as app:
        refused = await app.chat(ECHO, key="demo-token")
        assert refused.status == 503
    sections = services.sections("iam", timeout_s=5, token="service-secret-of-the-gateway")
    caplog.set_level(0)
    async with running_app(tmp_path, **sections) as app:
        assert (await app.chat(ECHO, key="demo-token")).status == 200
        metrics = (await app.send("/metrics")).body.decode()
    told = caplog.text + metrics + b"".join(app.lines).decode() + refused.body.decode()
    assert "service-secret" not in told
    assert "demo-token" not in told
