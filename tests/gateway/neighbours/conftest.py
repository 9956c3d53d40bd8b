from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.services import Street, street

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def served_services() -> Iterator[Street]:
    with street() as made:
        yield made


@pytest.fixture
def services(served_services: Street) -> Iterator[Street]:
    """As they are at their start. Nothing that passes may break a contract."""
    served_services.world.token = None
    served_services.world.forget()
    served_services.checked.seen.clear()
    yield served_services
    assert served_services.checked.broken == []
