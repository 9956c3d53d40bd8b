from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.support.redis import running_redis
from tollhouse.middlewares.stores.redis import RedisQuota


@pytest.fixture(scope="session")
def shared_server():
    with running_redis() as server:
        yield server


@pytest.fixture
def server(shared_server):
    """A server without data, shared by all tests that leave it as it was."""
    shared_server.ask("FLUSHALL")
    shared_server.ask("SCRIPT", "FLUSH")
    return shared_server


@pytest.fixture
async def store(server):
    async with opened(server.url) as store:
        yield store


@asynccontextmanager
async def opened(url, **options):
    """A store whose time limits a busy machine does not reach, and that does nothing by itself."""
    store = RedisQuota(url, **{"op_timeout_s": 5.0, "connect_timeout_s": 5.0, "upkeep_every_s": 3600.0} | options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def until(probe, *, what, timeout_s=10.0):
    """Like wait_until, for what the loop has to do meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not (found := probe()):
        assert loop.time() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.005)
    return found
