"""Apps with receipts, and what is found of those afterwards."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from click.testing import CliRunner

from tests.support.app import App, running_app
from tests.support.eris import Eris
from tests.support.gateway import KEY, NARROW_KEY
from tollhouse.gateway.cli import cli
from tollhouse.middlewares.stores.chain import chains, records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


EMAIL = "kim.doe@example.com"
ECHO = "tollhouse/echo"
KEYS = [
    {"name": "wide", "key": KEY, "team": "acme", "user": "kim"},
    {"name": "narrow", "key": NARROW_KEY, "models": [ECHO], "limits": {"rpm": 1}},
]
POLICY: list[dict[str, Any]] = [
    {"id": "no", "effect": "deny", "models": ["forbidden"]},
    {"id": "low", "effect": "allow", "models": ["low"], "caps": {"max_tokens": 5}},
    {"id": "all", "effect": "allow"},
]


async def until(fact: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it does not become so"
        await asyncio.sleep(0.01)


def kept(folder: Path) -> list[dict[str, Any]]:
    """All receipts of decisions on disk."""
    found = [orjson.loads(line) for chain in chains(folder / "state" / "receipts") for _, _, line in records(chain)]
    return [one for one in found if one["type"] == "decision"]


def verified(folder: Path, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["audit", "verify", str(folder / "state" / "receipts"), *args])
    return result.exit_code, result.output


@asynccontextmanager
async def told(folder: Path, eris: Eris, *, eris_more: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[App]:
    """An app that delivers; `more` is of its receipts section."""
    service = {"url": eris.url, "timeout_s": 0.2, "cooldown_s": 0.1} | (eris_more or {})
    async with running_app(folder, keys=KEYS, neighbours={"eris": service}, receipts=more) as app:
        yield app
