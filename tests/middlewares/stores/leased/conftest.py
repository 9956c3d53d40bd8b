from __future__ import annotations

import pytest

from tests.middlewares.stores.redis.conftest import server, shared_server, store

__all__ = ["server", "shared_server", "store"]

pytest.register_assert_rewrite("tests.middlewares.stores.leased.world")
