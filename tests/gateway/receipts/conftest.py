"""An upstream, a service that takes receipts, and no long waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import hostile
from tests.support.eris import Eris
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway import delivery, receipts

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(hostile.SCRIPTS) as running:
        yield running


@pytest.fixture
def eris() -> Iterator[Eris]:
    with Eris() as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests wait as long as the real thing does."""
    monkeypatch.setattr(delivery, "MOST_WAIT_S", 0.1)
    monkeypatch.setattr(delivery, "ORPHANS_S", 0.1)
    monkeypatch.setattr(receipts, "RETRY_S", 0.05)
