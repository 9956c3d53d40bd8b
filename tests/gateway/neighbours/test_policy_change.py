"""Policies of the service: signed and not older, or the one before goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.app import App, running_app
from tests.support.net import until
from tests.support.policies import section
from tollhouse.config.signing import POLICY, Signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.services import Street

ECHO = "tollhouse/echo"


def document(version: str, *, effect: str = "allow") -> bytes:
    return json.dumps({"policy": 1, "version": version, "rules": [{"id": "all", "effect": effect}]}).encode()


def stranger(folder: Path, content: bytes) -> bytes:
    return Signer.make(folder / "stranger.pem").sign(POLICY, content).encode() + b"\n" + content


def sections(services: Street, **more: Any) -> dict[str, Any]:
    made = services.sections("policy", timeout_s=0.2, ttl_s=0.02)
    made["neighbours"]["policy"]["stale_s"] = 3600
    made["policy"] |= more
    return made


async def decided(app: App) -> tuple[int, str | None]:
    answer = await app.chat(ECHO)
    return answer.status, answer.header("x-gateway-policy")


async def becomes(app: App, wanted: tuple[int, str | None]) -> None:
    async def is_so() -> bool:
        return await decided(app) == wanted

    await until(is_so, what=f"{wanted}")


async def refused(app: App, reason: str) -> None:
    """One more document has been refused for it."""
    before = await app.metric("gateway_policy_documents_total", outcome=reason)

    async def is_counted() -> bool:
        return (await app.metric("gateway_policy_documents_total", outcome=reason) or 0) > (before or 0)

    await until(is_counted, what=reason)


async def test_a_newer_version_decides_without_a_restart(tmp_path: Path, services: Street) -> None:
    services.world.policy = services.world.signed(document("2026-9"))
    async with running_app(tmp_path, **sections(services)) as app:
        await becomes(app, (200, "2026-9"))
        services.world.policy = services.world.signed(document("2026-10", effect="deny"))
        await becomes(app, (403, "2026-10"))


async def test_a_bad_document_changes_nothing_and_is_named_until_a_good_one_comes(
    tmp_path: Path, services: Street, caplog: pytest.LogCaptureFixture
) -> None:
    world = services.world
    world.policy = world.signed(document("5"))
    tampered = world.signed(document("6", effect="deny")).replace(b"deny", b"dent")
    bad = {
        "unsigned": [document("6", effect="deny")],
        "bad_signature": [stranger(tmp_path, document("6", effect="deny")), tampered, b"ed25519 x\n" + document("6")],
        "invalid": [world.signed(b'{"policy": 1, "version": "6", "rules": [{"id": "s3cret", "effect": "maybe"}]}')],
        "older": [world.signed(document("4", effect="deny")), world.signed(document("5", effect="deny"))],
    }
    async with running_app(tmp_path, **sections(services)) as app:
        await becomes(app, (200, "5"))
        with caplog.at_level(logging.ERROR, logger="tollhouse.neighbours"):
            for reason, documents in bad.items():
                for one in documents:
                    world.policy = one
                    await refused(app, reason)
                    assert await decided(app) == (200, "5")
                assert f"({reason})" in caplog.text
        assert "s3cret" not in caplog.text
        world.policy = world.signed(document("6", effect="deny"))
        await becomes(app, (403, "6"))


async def test_an_older_version_decides_where_that_is_allowed(tmp_path: Path, services: Street) -> None:
    services.world.policy = services.world.signed(document("2"))
    async with running_app(tmp_path, **sections(services, allow_older=True)) as app:
        await becomes(app, (200, "2"))
        services.world.policy = services.world.signed(document("1", effect="deny"))
        await becomes(app, (403, "1"))


async def test_a_service_that_hangs_costs_nothing_and_its_next_document_is_taken(
    tmp_path: Path, services: Street
) -> None:
    services.world.policy = services.world.signed(document("1"))
    async with running_app(tmp_path, **sections(services)) as app:
        await becomes(app, (200, "1"))
        services.break_("policy", "hang")
        services.world.policy = services.world.signed(document("2", effect="deny"))

        async def has_hung() -> bool:
            return bool(await app.metric("gateway_neighbour_requests_total", service="policy", outcome="timeout"))

        await until(has_hung, what="a timeout")
        assert await decided(app) == (200, "1")
        services.mend("policy")
        await becomes(app, (403, "2"))


@pytest.mark.parametrize("kind", ["unsigned", "stranger", "no-key"])
async def test_nothing_is_decided_before_a_document_was_accepted(tmp_path: Path, services: Street, kind: str) -> None:
    world, content = services.world, document("1")
    good = world.signed(content)
    world.policy = {"unsigned": content, "stranger": stranger(tmp_path, content), "no-key": good}[kind]
    given = sections(services, **({"keys": []} if kind == "no-key" else {}))
    async with running_app(tmp_path, **given) as app:
        await refused(app, "unsigned" if kind == "unsigned" else "bad_signature")
        answer = await app.chat(ECHO)
        assert (answer.status, answer.json["error"]["code"]) == (503, "policy_unavailable")
        ready = await app.send("/health/ready")
        assert (ready.status, "policy_service: no current policy" in ready.json["failing"]) == (503, True)
        if kind != "no-key":
            world.policy = good
            await becomes(app, (200, "1"))
            assert (await app.send("/health/ready")).status == 200


async def test_what_the_file_says_is_the_oldest_that_can_come(tmp_path: Path, services: Street) -> None:
    own = section(tmp_path, {"id": "file", "effect": "deny"})  # v1
    given = sections(services)
    given["policy"] = own | {"keys": own["keys"] + given["policy"]["keys"]}
    services.world.policy = services.world.signed(document("v0"))
    async with running_app(tmp_path, **given) as app:
        await refused(app, "older")
        assert (await app.chat(ECHO)).status == 503
        services.world.policy = services.world.signed(document("v2"))
        await becomes(app, (200, "v2"))


async def test_requests_that_run_while_the_policy_changes_are_decided_by_one_version(
    tmp_path: Path, services: Street
) -> None:
    services.world.policy = services.world.signed(document("1"))
    async with running_app(tmp_path, **sections(services)) as app:
        await becomes(app, (200, "1"))
        services.world.policy = services.world.signed(document("2", effect="deny"))
        seen: set[tuple[int, str | None]] = set()
        while (403, "2") not in seen:
            seen |= set(await asyncio.gather(*(decided(app) for _ in range(8))))
        assert seen <= {(200, "1"), (403, "2")}
