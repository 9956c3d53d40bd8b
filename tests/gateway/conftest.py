from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tollhouse.middlewares.quota import QuotaStage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture
def reserving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens before the hold of another attempt is asked for. The store is the real one."""

    def given(before: Callable[[], Awaitable[None]] | None) -> None:
        real = QuotaStage.reserve_another

        async def reserve(stage: QuotaStage, exchange: Any) -> Any:
            if before is not None:
                await before()
            return await real(stage, exchange)

        monkeypatch.setattr(QuotaStage, "reserve_another", reserve)

    return given
