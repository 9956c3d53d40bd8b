"""Whose ids are whose, and for how long that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.passthrough.provider import ALICE, BOB, FORM, Provider, form
from tests.support.app import running_app
from tollhouse.gateway.passthrough.owners import CERTAIN_S, KEPT_S, Owners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def owners(tmp_path: Path, clock: Clock) -> AsyncIterator[Owners]:
    made = Owners(tmp_path / "owners.db", now=clock)
    yield made
    await made.close()


async def test_what_is_not_told_of_for_long_is_forgotten(owners: Owners, clock: Clock) -> None:
    await owners.add(["old", "told-again"], "openai", "alice")
    clock.now += KEPT_S / 2
    await owners.add(["told-again"], "openai", "alice")
    clock.now += KEPT_S / 2 + 1
    await owners.add(["new"], "openai", "bob")
    assert await owners.owned(["old", "told-again", "new"], "alice") == {"told-again"}
    assert await owners.find("old") is None


async def test_telling_of_it_again_makes_it_nobody_elses(owners: Owners, clock: Clock) -> None:
    await owners.add(["file"], "openai", "alice")
    clock.now += KEPT_S / 2
    await owners.add(["file"], "groq", "bob")
    assert await owners.find("file") == ("alice", "openai")
    clock.now += KEPT_S / 2 + 1
    await owners.add(["new"], "openai", "bob")
    assert await owners.find("file") is None, "another key's word did not keep it"


async def test_what_the_provider_does_not_know_is_forgotten_unless_it_is_new(owners: Owners, clock: Clock) -> None:
    await owners.add(["file"], "openai", "alice")
    await owners.gone("file")
    assert await owners.find("file") is not None
    clock.now += CERTAIN_S + 1
    await owners.gone("file")
    assert await owners.find("file") is None


async def test_a_file_that_is_gone_at_its_provider_is_nobodys(tmp_path: Path, clock: Clock) -> None:
    with Provider() as provider:
        async with running_app(tmp_path, **provider.config()) as app:
            app.asgi.state.owners._now = clock
            body = form(("purpose", b"batch"), ("file", b"{}\n", "in.jsonl"))
            name = (await app.post(body, path="/v1/files", key=ALICE, headers=list(FORM.items()))).json["id"]
            provider.gone.add(name)
            for _ in range(2):  # it may be about to know it
                refused = await app.send(f"/v1/files/{name}", key=ALICE)
                assert (refused.status, refused.json["error"]["message"]) == (404, "no such file")
            clock.now += CERTAIN_S + 1
            assert (await app.send(f"/v1/files/{name}", key=BOB)).status == 404
            asked = len(provider.log.requests)
            assert (await app.send(f"/v1/files/{name}", key=ALICE)).status == 404
            assert (await app.send(f"/v1/files/{name}", key=ALICE)).status == 404
            assert len(provider.log.requests) == asked + 1
            # What it says of a file is nothing against it.
            assert await app.metric("gateway_breaker_state") == 0
