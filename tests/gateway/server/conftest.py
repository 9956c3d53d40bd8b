from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.gateway.server.fast import SCRIPTS
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway.errand import Errand

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the requests that went the fast way, or began to."""
    ids: list[str] = []
    init = Errand.__init__

    def noted(self: Errand, *given: Any) -> None:
        init(self, *given)
        ids.append(self.found.id)

    monkeypatch.setattr(Errand, "__init__", noted)
    return ids


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPTS) as running:
        yield running
