"""Keys in the store."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sqlite3
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import MODEL, PASS
from bench.scale.bench import HOLE, Load, chat, resident_mb, workers
from bench.scale.sweep import Sweep
from tollhouse.middlewares.stores.keys import PUBLIC_LENGTH, SECRET_LENGTH, KeyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Running
    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

KEYS = (1_000, 10_000, 100_000, 1_000_000)
TEAMS = 1000
ADMIN = "admin-of-the-bench"
SECRET = "k" * SECRET_LENGTH
PATIENCE_S = 150


def key(number: int | str) -> str:
    """The key of a number; of the generator's hole, the one that it will fill in."""
    return f"sk-th-{number:0>{PUBLIC_LENGTH}}-{SECRET}"


def make(path: Path, count: int) -> Path:
    """A store of so many keys, made once."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    KeyStore(part).close()
    db = sqlite3.connect(part)
    rows = (
        (f"{n:0>{PUBLIC_LENGTH}}", sha256(key(n).encode()).digest(), f"app-{n}", f"team-{n % TEAMS}", 1e9)
        for n in range(count)
    )
    with db:
        db.executemany("INSERT INTO keys (public, digest, name, team, created_at) VALUES (?, ?, ?, ?, ?)", rows)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return part.rename(path)


def _into(store: Path, state: Path) -> None:
    shutil.copy(store, state / "tollhouse.db")


def admin(gateway: Running, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes, float]:
    """Status, body, and the seconds that it took."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    started = time.monotonic()
    headers = {"x-admin-api-key": ADMIN, "content-type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, text, time.monotonic() - started


def opens(gateway: Running, secret: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {secret}"})
    status = connection.getresponse().status
    connection.close()
    assert status in {200, 401}, status
    return status == 200


def _until(gateway: Running, secret: str, *, is_open: bool) -> float:
    """Seconds until a key opens, or opens no more."""
    started = time.monotonic()
    while opens(gateway, secret) is not is_open:
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError("a change of keys was not seen")
        time.sleep(0.01)
    return time.monotonic() - started


def _reload_s(gateway: Running) -> float:
    """From SIGHUP until the workers of before have gone."""
    old = set(workers(gateway))
    started = time.monotonic()
    gateway.process.send_signal(signal.SIGHUP)
    while old & set(workers(gateway)):
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError("no reload")
        time.sleep(0.02)
    return time.monotonic() - started


def measure(bench: Bench) -> Iterator[Row]:
    for count in KEYS[: bench.points]:
        store = make(bench.work.parent / f"keys-{count}.db", count)
        started = time.monotonic()
        with bench.gateway(PASS, prepare=partial(_into, store), general_settings={"admin_key": ADMIN}) as gateway:
            took = time.monotonic() - started
            row: Row = {"keys": count, "start_s": took, "resident_mb": resident_mb(workers(gateway))}
            one = Load(chat(), 16, seconds=bench.seconds, headers=(f"authorization: Bearer {key(1)}",))
            every = Load(
                chat(), 16, seconds=bench.seconds, headers=(f"authorization: Bearer {key(HOLE)}",), cycle=count
            )
            row["cpu_us_one"] = bench.cost(one, gateway)["cpu_us"]
            row["cpu_us"] = bench.cost(every, gateway)["cpu_us"]
            row["after_mb"] = resident_mb(workers(gateway))
            row |= _admin_figures(bench, gateway, count)
            yield row


def _admin_figures(bench: Bench, gateway: Running, count: int) -> Row:
    status, text, created = admin(gateway, "POST", "/admin/keys", {"name": "new"})
    assert status == 201, text
    # Another process' write is seen at the next poll.
    elsewhere = KeyStore(bench.work / f"tollhouse-{PASS}" / "state" / "tollhouse.db")
    _, secret = elsewhere.create(name="theirs")
    seen = _until(gateway, secret, is_open=True)
    elsewhere.revoke("theirs")
    gone = _until(gateway, secret, is_open=False)
    elsewhere.close()
    beside = bench.start(Load(chat(), 2, seconds=4 if count < 1_000_000 else 12, rate=200), gateway)
    time.sleep(0.5)
    status, text, listed = admin(gateway, "GET", "/admin/keys")
    assert status == 200
    found = len(json.loads(text)["data"])
    assert found >= count, found
    _, _, page = admin(gateway, "GET", "/admin/keys?limit=100")
    others = beside.end()["latency_us"]
    return {
        "create_ms": created * 1000,
        "seen_ms": seen * 1000,
        "revoked_ms": gone * 1000,
        "page_ms": page * 1000,
        "list_s": listed,
        "beside_list_p99_ms": others["p99"] / 1000,
        "beside_list_max_ms": others["max"] / 1000,
        "reload_s": _reload_s(gateway),
    }


SWEEP = Sweep(
    "keys",
    f"Keys in the store (model {MODEL})",
    measure,
    {
        "keys": ("keys", 0),
        "start_s": ("start s", 1),
        "reload_s": ("reload s", 1),
        "resident_mb": ("worker MB", 0),
        "after_mb": ("worker MB, all in use", 0),
        "cpu_us_one": ("CPU us / request, one key", 0),
        "cpu_us": ("CPU us / request, all by turns", 0),
        "create_ms": ("create ms", 0),
        "seen_ms": ("made elsewhere, opens after ms", 0),
        "revoked_ms": ("revoked elsewhere, after ms", 0),
        "page_ms": ("a page of 100, ms", 0),
        "list_s": ("all listed, s", 1),
        "beside_list_p99_ms": ("p99 ms of others meanwhile", 1),
        "beside_list_max_ms": ("their slowest ms", 1),
    },
    {
        "start, s": ("keys", ("start_s", "reload_s")),
        "worker, MB": ("keys", ("resident_mb", "after_mb")),
        "CPU per request, us": ("keys", ("cpu_us_one", "cpu_us")),
    },
)
