from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proofs.length import IS_LONG, LONG_S, SHORT_S
from tests.support.books import Books

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/proofs" in str(item.path):
            item.add_marker(pytest.mark.timeout(LONG_S if IS_LONG else SHORT_S))


@pytest.fixture
def books() -> Iterator[Books]:
    with Books() as server:
        yield server


@pytest.fixture
def figure(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Tells what a proof has come to, for docs/correctness.md."""

    def tell(**values: object) -> None:
        for name, value in values.items():
            record_property(name, value)
        with capsys.disabled():
            print("  ", " ".join(f"{name}={value}" for name, value in values.items()))

    return tell
