from __future__ import annotations

from tests.middlewares.stores.redis.conftest import server, shared_server, store

__all__ = ["server", "shared_server", "store"]
