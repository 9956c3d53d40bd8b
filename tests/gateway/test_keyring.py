"""All keys in one place: those of the configuration, and those of a store that other processes write too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from hashlib import sha256

import pytest

from tests.support.app import settings
from tests.support.gateway import KEY, MASTER_KEY, NARROW_KEY
from tollhouse.gateway import keyring
from tollhouse.gateway.keyring import KeyRing
from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.errors import Unavailable
from tollhouse.middlewares.stores.keys import KeyStore


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


async def _until(probe) -> None:
    async with asyncio.timeout(5):
        while not probe():
            await asyncio.sleep(0.005)


@pytest.fixture
async def ring(tmp_path, monkeypatch):
    monkeypatch.setattr(keyring, "POLL_S", 0.02)
    opened = KeyRing(settings(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def elsewhere(tmp_path, ring):
    """The same store, as another process has it open."""
    store = KeyStore(tmp_path / "state" / "tollhouse.db")
    yield store
    store.close()


@contextlib.contextmanager
def _without_its_table(tmp_path):
    """A store that opens and cannot be read."""
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "tollhouse.db")) as db:
        db.execute("ALTER TABLE keys RENAME TO hidden")
        try:
            yield
        finally:
            db.execute("ALTER TABLE hidden RENAME TO keys")


async def test_configured_keys_and_the_master_key_are_known(ring):
    assert ring.find(_digest(KEY)) == Principal(id="wide", name="wide")
    assert ring.find(_digest(NARROW_KEY)) == Principal(id="narrow", name="narrow", models=("tollhouse/echo",))
    assert ring.find(_digest(MASTER_KEY)) == Principal(id="master", name="master", admin=True)
    assert ring.find(_digest("unknown")) is None


async def test_a_new_key_opens_at_once_and_a_revoked_one_no_more(ring):
    record, key = await ring.create(name="app", team="t", models=("a",))
    assert ring.find(_digest(key)) == Principal(id=record.public, name="app", team="t", models=("a",))
    assert [each.public for each in await ring.records(list)] == [record.public]
    assert await ring.revoke(record.public)
    assert ring.find(_digest(key)) is None
    assert not await ring.revoke(record.public)
    assert [each.revoked_at is not None for each in await ring.records(list)] == [True]


async def test_what_another_process_writes_is_seen(ring, elsewhere):
    record, key = elsewhere.create(name="theirs", expires_at=9e9)
    await _until(lambda: ring.find(_digest(key)))
    assert ring.find(_digest(key)).expires_at == 9e9
    elsewhere.revoke(record.public)
    await _until(lambda: ring.find(_digest(key)) is None)


async def test_only_what_has_changed_is_read_again(ring, elsewhere, monkeypatch):
    kept, key = elsewhere.create(name="kept")
    await _until(lambda: ring.find(_digest(key)))
    before = ring.find(_digest(key))
    monkeypatch.setattr(KeyStore, "active", lambda _: pytest.fail("all keys were read again"))
    gone, theirs = elsewhere.create(name="new")
    await _until(lambda: ring.find(_digest(theirs)))
    elsewhere.revoke(gone.public)
    await _until(lambda: ring.find(_digest(theirs)) is None)
    assert ring.find(_digest(key)) is before
    assert before.id == kept.public


async def test_a_key_that_was_deleted_by_hand_opens_nothing(ring, elsewhere, tmp_path):
    record, key = elsewhere.create(name="gone")
    await _until(lambda: ring.find(_digest(key)))
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "tollhouse.db", isolation_level=None)) as db:
        db.execute("DELETE FROM keys WHERE public = ?", (record.public,))
        await _until(lambda: ring.find(_digest(key)) is None)


async def test_keys_share_what_they_have_in_common(tmp_path):
    store = KeyStore(tmp_path / "state" / "tollhouse.db")
    made = [store.create(name="app", team="a team", models=("one", "two"))[1] for _ in range(2)]
    store.close()
    ring = KeyRing(settings(tmp_path))
    await ring.open()
    one, two = (ring.find(_digest(key)) for key in made)
    assert one is not None
    assert two is not None
    assert one.team is two.team
    assert one.models is two.models
    await ring.close()


def test_a_revocation_holds_within_a_second():
    assert keyring.POLL_S <= 0.5


async def test_a_store_that_fails_opens_nothing_after_a_while_and_is_told_once(ring, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tollhouse.keys")
    monkeypatch.setattr(keyring, "STALE_S", 0.2)
    _, key = await ring.create(name="app", team=None, models=None)
    with _without_its_table(tmp_path):
        assert ring.find(_digest(key)), "for a moment what was read last still holds"
        await _until(lambda: not ring.healthy)
        with pytest.raises(Unavailable) as caught:
            ring.find(_digest(key))
        assert (caught.value.status, caught.value.code) == (503, "key_store_unavailable")
        assert ring.find(_digest(MASTER_KEY)), "the configuration's keys need no store"
        for asked in (ring.records(list), ring.create(name="x", team=None, models=None), ring.revoke("x")):
            with pytest.raises(Unavailable, match="cannot be used"):
                await asked
        assert [record.getMessage() for record in caplog.records] == ["the key store cannot be read: OperationalError"]
    await _until(lambda: ring.healthy)
    assert ring.find(_digest(key))
    await _until(lambda: len(caplog.records) == 2)
    assert caplog.records[1].getMessage() == "the key store can be read again"


async def test_before_it_was_read_the_store_opens_nothing(tmp_path):
    ring = KeyRing(settings(tmp_path))
    assert not ring.healthy
    with pytest.raises(Unavailable):
        ring.find(_digest("sk-th-somebodyelse"))
    await ring.close()


async def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path):
    (tmp_path / "state").write_text("a file")
    ring = KeyRing(settings(tmp_path))
    with pytest.raises(OSError, match="exist"):
        await ring.open()
    await ring.close()
