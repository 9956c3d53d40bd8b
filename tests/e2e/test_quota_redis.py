"""The gateway with its limits and budgets in a real Redis: while it is there, while it is not, and after that."""

from __future__ import annotations

import pytest

from tests.support.app import running_app
from tests.support.gateway import MASTER_KEY
from tests.support.net import until
from tests.support.redis import running_redis

ECHO = "tollhouse/echo"
PRICES = {"tollhouse/*": {"input": 1, "output": 2}}
HARD, SOFT, FREE = "sk-hard-000000000", "sk-soft-000000000", "sk-free-000000000"


def _sections(url):
    return {
        "store": url,
        "redis": {"op_timeout_s": 1, "connect_timeout_s": 1},
        "prices": PRICES,
        "keys": [
            {"name": "hard", "key": HARD, "budget": {"usd": 1, "mode": "hard"}},
            {"name": "soft", "key": SOFT, "limits": {"rpm": 600}, "budget": {"usd": "0.02", "mode": "soft"}},
            {"name": "free", "key": FREE, "limits": {"rpm": 600}},
        ],
    }


async def _status(app, key):
    return (await app.chat(ECHO, key=key, max_tokens=5)).status


async def _usage(app):
    rows = (await app.send("/admin/usage?by=key", key=MASTER_KEY)).json["data"]
    return {row["key"]: row for row in rows}


async def test_without_its_store_hard_budgets_are_refused_and_soft_ones_have_a_slice_that_is_counted_later(tmp_path):
    with running_redis() as server:
        async with running_app(tmp_path, **_sections(server.url)) as app:
            await until(lambda: _is_up(app), what="the store is up")
            assert [await _status(app, key) for key in (HARD, SOFT, FREE)] == [200, 200, 200]
            server.kill()
            await until(lambda: _is_down(app), what="the store is down")
            refused = await app.chat(ECHO, key=HARD, max_tokens=5)
            assert refused.status == 503
            assert refused.json["error"]["code"] == "store_unavailable"
            assert refused.header("retry-after") == "1"
            assert await _status(app, FREE) == 503
            statuses = []
            while (status := await _status(app, SOFT)) == 200:
                statuses.append(status)
                assert len(statuses) < 1000
            assert status == 429
            assert len(statuses) > 5
            assert await app.metric("gateway_fail_open_total", what="soft_budget") == len(statuses)
            assert await app.metric("gateway_store_up", store="quota") == 0
            server.start()
            await until(lambda: _is_up(app), what="the store is up")
            assert [await _status(app, key) for key in (HARD, FREE)] == [200, 200]

            async def is_counted():
                return (await _usage(app)).get("soft", {}).get("requests") == 1 + len(statuses)

            await until(is_counted, what="the slice is counted")
            # Redis kept nothing of before, and was told what was spent meanwhile.
            spent = (await _usage(app))["soft"]["cost_usd"]
            assert float(spent) * 1e9 == 3000 * (1 + len(statuses))


@pytest.mark.parametrize("leases", [False, True], ids=["asked", "leased"])
async def test_answers_limits_and_the_ledger_are_the_same_with_and_without_leases(tmp_path, leases):
    with running_redis() as server:
        sections = _sections(server.url)
        sections["redis"]["leases"] = leases
        sections["keys"][2]["limits"] = {"rpm": 100}
        async with running_app(tmp_path, **sections) as app:
            await until(lambda: _is_up(app), what="the store is up")
            assert [await _status(app, FREE) for _ in range(120)] == [200] * 100 + [429] * 20
            assert [await _status(app, HARD) for _ in range(50)] == [200] * 50

            async def is_counted():
                rows = await _usage(app)
                return rows.get("free", {}).get("requests") == 100 and rows.get("hard", {}).get("requests") == 50

            await until(is_counted, what="everything is in the ledger")
            assert (await _usage(app))["hard"]["cost_usd"] == "0.00015"


async def _is_up(app):
    return (await app.send("/health/ready")).status == 200


async def _is_down(app):
    answer = await app.send("/health/ready")
    return answer.status == 503 and answer.json["failing"] == ["quota_store"]
