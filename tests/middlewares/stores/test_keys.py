from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sqlite3
import stat
import threading
import weakref
from pathlib import Path

import pytest

from tollhouse.middlewares.stores import keys
from tollhouse.middlewares.stores.keys import AmbiguousName, KeyStore, digest, generate


@pytest.fixture
def store(tmp_path):
    opened = KeyStore(tmp_path / "state" / "keys.db")
    yield opened
    opened.close()


def _active(store):
    return {record.digest: record for record in store.active()}


def test_keys_have_a_public_and_a_secret_part():
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    for public, key in made:
        assert re.fullmatch(r"sk-th-[A-Za-z0-9]{12}-[A-Za-z0-9]{48}", key)
        assert key[6:18] == public


def test_a_key_is_found_by_its_digest_until_it_is_revoked(store):
    record, key = store.create(name="app", team="acme", models=("a", "b\nc"), expires_at=9e9)
    found = _active(store)[digest(key.encode())]
    assert found == record
    assert (found.name, found.team, found.models, found.expires_at) == ("app", "acme", ("a", "b\nc"), 9e9)
    assert store.revoke(record.public)
    assert _active(store) == {}
    assert not store.revoke(record.public)
    assert [r.revoked_at is not None for r in store.list()] == [True]


def test_no_models_and_all_models_are_different_things(store):
    store.create(name="none", models=())
    store.create(name="all")
    assert [record.models for record in store.list()] == [(), None]


def test_a_name_revokes_only_if_one_active_key_has_it(store):
    first, _ = store.create(name="twin")
    store.create(name="twin")
    with pytest.raises(AmbiguousName, match="2 active keys"):
        store.revoke("twin")
    assert store.revoke(first.public)
    assert store.revoke("twin")
    assert not store.revoke("nobody")


def test_the_key_itself_is_nowhere_in_the_file_or_in_a_repr(store, tmp_path):
    record, key = store.create(name="app")
    store.close()
    for path in (tmp_path / "state").iterdir():
        assert key.encode() not in path.read_bytes()
        assert key[19:].encode() not in path.read_bytes()
    assert record.digest.hex() not in repr(record)
    assert repr(record.digest) not in repr(record)


def test_the_file_is_for_its_owner_only(store, tmp_path):
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "keys.db").stat().st_mode) == 0o600


def test_the_version_changes_with_every_write_here_or_elsewhere(store, tmp_path):
    other = KeyStore(tmp_path / "state" / "keys.db")
    seen = [store.version()]
    assert store.version() == seen[0]
    store.create(name="mine")
    seen.append(store.version())
    record, _ = other.create(name="theirs")
    seen.append(store.version())
    other.revoke(record.public)
    seen.append(store.version())
    other.close()
    assert len(set(seen)) == 4


def test_asking_for_the_version_leaves_nothing_behind(store):
    def references() -> int:
        return sum(type(one) is weakref.ref for one in gc.get_objects())

    store.version()
    gc.collect()
    before = references()
    for _ in range(100):
        store.version()
    assert references() == before


def test_what_has_changed_since_a_revision_is_known_however_it_was_written(store, tmp_path):
    assert store.changed(0) == (0, {})
    kept, gone, deleted = (store.create(name=name)[0] for name in ("kept", "gone", "deleted"))
    seen, found = store.changed(0)
    assert (seen, list(found)) == (store.revision(), [kept.digest, gone.digest, deleted.digest])
    assert found[kept.digest] == kept
    store.revoke("gone")
    other = sqlite3.connect(tmp_path / "state" / "keys.db", isolation_level=None)
    other.execute("DELETE FROM keys WHERE name = 'deleted'")
    other.execute("UPDATE keys SET digest = ? WHERE name = 'kept'", (b"d" * 32,))
    other.close()
    seen, found = store.changed(seen)
    assert found[gone.digest].revoked_at is not None
    assert found[deleted.digest] is None
    assert found[kept.digest] is None, "its old digest opens nothing"
    assert found[b"d" * 32].public == kept.public
    assert store.changed(seen) == (seen, {})


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path):
    db = sqlite3.connect(tmp_path / "keys.db")
    for statement in keys._MIGRATIONS[0].split(";"):
        db.execute(statement)
    db.execute("INSERT INTO keys VALUES ('p', x'00', 'old', NULL, NULL, 1.0, NULL, NULL)")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    store = KeyStore(tmp_path / "keys.db")
    assert [record.name for record in store.active()] == ["old"]
    assert store.changed(store.revision()) == (0, {})
    assert store.revoke("old")
    (changed,) = store.changed(0)[1].values()
    assert changed is not None
    assert changed.revoked_at is not None
    store.close()


def test_keys_are_listed_page_by_page(store):
    made = [store.create(name=name)[0] for name in "abcde"]
    first = store.list(limit=2)
    rest = store.list(after=first[-1].public, limit=10)
    assert [*first, *rest] == made == list(store.list())
    with pytest.raises(KeyError):
        store.list(after="nobody")


def test_whether_others_have_keys_is_asked_without_reading_them(store):
    assert store.is_empty_but_for("default")
    ours = store.create(name="default")[0]
    assert store.is_empty_but_for("default")
    assert list(store.named("default")) == [ours]
    theirs = store.create(name="app")[0]
    assert not store.is_empty_but_for("default")
    store.revoke(theirs.public)
    assert store.is_empty_but_for("default")


def _create(path: Path, count: int) -> None:
    store = KeyStore(path)
    for i in range(count):
        store.create(name=f"{os.getpid()}-{i}")


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "keys.db"
    workers = [context.Process(target=_create, args=(path, 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = KeyStore(path)
    assert len(_active(store)) == 40
    store.close()


def _create_and_die(path: Path, told) -> None:
    record, _ = KeyStore(path).create(name="last words")
    told.send(record.public)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_told_survives_a_kill(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_create_and_die, args=(tmp_path / "keys.db", theirs))
    worker.start()
    public = ours.recv()
    worker.join()
    store = KeyStore(tmp_path / "keys.db")
    assert [record.public for record in store.list()] == [public]
    store.close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path):
    KeyStore(tmp_path / "keys.db").close()
    db = sqlite3.connect(tmp_path / "keys.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer"):
        KeyStore(tmp_path / "keys.db")


def test_a_store_opens_while_somebody_else_makes_it(tmp_path):
    path = tmp_path / "keys.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE t (a)")
    end = threading.Timer(0.2, other.execute, ["COMMIT"])
    end.start()
    KeyStore(path).close()
    end.join()
    other.close()
