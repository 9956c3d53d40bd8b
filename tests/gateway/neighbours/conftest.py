from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.services import Street, street

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def services() -> Iterator[Street]:
    with street() as made:
        yield made
