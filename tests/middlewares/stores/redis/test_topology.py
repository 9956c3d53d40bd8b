"""Ways to a server, and which servers are taken."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import trustme

from tests.middlewares.stores.redis.conftest import opened, until
from tests.support.net import LOOPBACK, free_port, wait_until
from tests.support.redis import RedisServer, program, running_redis
from tollhouse.middlewares.stores.quota import Admitted, Budget, Parallel, StoreUnavailable, StoreUnsuitable
from tollhouse.middlewares.stores.redis import RedisQuota
from tollhouse.middlewares.stores.redis.greeting import _check_version
from tollhouse.middlewares.stores.redis.topology import Address, parse

ROOT = Path(__file__).resolve().parents[4]
LIFE = Budget("life", 10**9, 0)
QUICK = {"op_timeout_s": 0.3, "connect_timeout_s": 0.5, "upkeep_every_s": 0.05}


async def works(store):
    held = await store.admit(store.plan([LIFE]), want=10, expires_in_ms=60_000)
    assert isinstance(held, Admitted)
    return await store.settle(held.hold, amount=1) == "settled"


@pytest.mark.parametrize(
    ("url", "kind", "addresses", "rest"),
    [
        ("redis://", None, None, "a host is missing"),
        ("redis://h", "standalone", [("h", 6379)], (0, None, None, False)),
        ("redis://h:1/3", "standalone", [("h", 1)], (3, None, None, False)),
        ("redis://:p%40ss@h?db=2", "standalone", [("h", 6379)], (2, None, "p@ss", False)),
        ("rediss://u:p@[::1]:7000", "standalone", [("::1", 7000)], (0, "u", "p", True)),
        ("redis://a,b:7001", "cluster", [("a", 6379), ("b", 7001)], (0, None, None, False)),
        ("redis+cluster://a", "cluster", [("a", 6379)], (0, None, None, False)),
        ("rediss+sentinel://u:p@a,b:7/m/4", "sentinel", [("a", 26379), ("b", 7)], (4, "u", "p", True)),
        ("unix:///run/redis.sock?db=5", "standalone", [("/run/redis.sock", 0)], (5, None, None, False)),
        ("unix://u:p@/run/r.sock", "standalone", [("/run/r.sock", 0)], (0, "u", "p", False)),
        ("http://h", None, None, "begins with one of redis"),
        ("redis+sentinel://h", None, None, "names no master"),
        ("redis://h/x", None, None, "database is a number"),
        ("redis://a,b/1", None, None, "database 0 only"),
        ("redis://h:port", None, None, "port is no number"),
        ("redis://h?timeout=5", None, None, "unknown options: timeout"),
    ],
)
def test_urls(url, kind, addresses, rest):
    if kind is None:
        with pytest.raises(ValueError, match=rest):
            parse(url)
        return
    target = parse(url)
    assert target.kind == kind
    assert [tuple(address) for address in target.addresses] == addresses
    assert (target.database, target.username, target.password, target.tls) == rest


def test_the_master_of_sentinels_is_named():
    assert parse("redis+sentinel://h/my%20master").service == "my master"
    assert str(Address("h", 1)) == "h:1"
    assert str(Address("/run/r.sock", 0)) == "/run/r.sock"


async def test_a_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    with running_redis("--unixsocket", str(path)):
        async with opened(f"unix://{path}?db=3") as store:
            assert await works(store)


async def test_a_database_and_a_name(server):
    async with opened(server.url[:-1] + "7", node_id="n7") as store:
        assert await works(store)
        with server.client(db=7) as client:
            assert client.exists("{tollhouse}:m:life:0")
            assert "tollhouse-n7" in [each["name"] for each in client.client_list()]


async def test_the_permissions_that_the_docs_name_suffice(server):
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rules = re.findall(r"\+[a-z|]+", page.partition("Permissions that suffice")[2].partition("on keys")[0])
    assert len(rules) > 20
    server.ask("ACL", "SETUSER", "gateway", "on", ">secret", "~{tollhouse}:*", "-@all", *rules)
    async with opened(f"redis://gateway:secret@{LOOPBACK}:{server.port}", wait_replicas=1, **QUICK) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await works(store)
        assert raised.value.kind == "replicas"
        await until(lambda: not store.unsent, what="it was given back")
        store._wait = None
        assert await works(store)
        held = await store.admit(store.plan([LIFE, Parallel("p", 1)]), want=10, expires_in_ms=1)
        await asyncio.sleep(0.01)
        await store.expire_due()
        assert await store.settle(held.hold, amount=1) in {"late", "settled"}
        reader = store.ledger("reader")
        await reader.stored((await reader.read())[-1].id)
        await reader.forget()
        assert await reader.length() == 0
        server.ask("SCRIPT", "FLUSH")
        assert await works(store)
        assert await store._memory.tell(store._link.connection) == 0
        store._link.report(StoreUnavailable("test", kind="test"))
        await until(lambda: store.available, what="the probe has worked")
    server.ask("ACL", "SETUSER", "gateway", "-evalsha")
    async with opened(f"redis://gateway:secret@{LOOPBACK}:{server.port}", **QUICK) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await works(store)
        assert raised.value.kind == "noperm"
    server.ask("ACL", "SETUSER", "gateway", "-info", "-config|get")
    with pytest.raises(StoreUnsuitable, match="maxmemory-policy cannot be read: allow the user CONFIG GET or INFO"):
        async with opened(f"redis://gateway:secret@{LOOPBACK}:{server.port}"):
            pass
    server.ask("ACL", "DELUSER", "gateway")


async def test_a_wrong_password_is_said_and_not_shown(server, caplog):
    async with opened(f"redis://nobody:hunter2@{LOOPBACK}:{server.port}", **QUICK) as store:
        assert not store.available
        with pytest.raises(StoreUnavailable, match="does not know this user and password") as raised:
            await works(store)
        assert raised.value.kind == "wrongpass"
    assert "hunter2" not in caplog.text + str(raised.value)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl", "allkeys-random"])
async def test_a_server_that_may_drop_budgets_is_refused(server, policy):
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        with pytest.raises(StoreUnsuitable, match=f"maxmemory-policy is {policy}.*set maxmemory-policy to noeviction"):
            async with opened(server.url):
                pass
        # Where CONFIG is forbidden, INFO says it.
        server.ask("ACL", "SETUSER", "managed", "on", ">x", "~*", "+@all", "-config")
        with pytest.raises(StoreUnsuitable, match=policy):
            async with opened(f"redis://managed:x@{LOOPBACK}:{server.port}"):
                pass
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.ask("ACL", "DELUSER", "managed")


def test_old_servers_are_refused():
    _check_version("6.2.0")
    _check_version("7.0.15")
    _check_version("8.2-rc1")
    with pytest.raises(StoreUnsuitable, match=r"Redis 6.0.16 is too old: Redis 6.2"):
        _check_version("6.0.16")


async def test_tls(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(tmp_path / "cert.pem")]
    options += ["--tls-key-file", str(tmp_path / "key.pem"), "--tls-ca-cert-file", str(tmp_path / "ca.pem")]
    files = f"ssl_certfile={tmp_path}/cert.pem&ssl_keyfile={tmp_path}/key.pem"
    with running_redis(*options):
        async with opened(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/ca.pem&{files}") as store:
            assert await works(store)
        async with opened(f"rediss://localhost:{port}?ssl_cert_reqs=none&{files}") as store:
            assert await works(store)
        async with opened(f"rediss://localhost:{port}?{files}", **QUICK) as store:  # an authority that nobody knows
            with pytest.raises(StoreUnavailable, match=r"TLS with localhost:.* failed"):
                await works(store)
        async with opened(f"rediss://{LOOPBACK}:{port}?ssl_ca_certs={tmp_path}/ca.pem&{files}", **QUICK) as store:
            with pytest.raises(StoreUnavailable, match="TLS with"):
                await works(store)
        with pytest.raises(ValueError, match=r"ssl_ca_certs.*No such file"):
            async with opened("rediss://localhost?ssl_ca_certs=/nowhere.pem"):
                pass


@contextlib.contextmanager
def running_sentinel(master):
    with tempfile.TemporaryDirectory(prefix="redis-test-") as name:
        port = free_port()
        config = Path(name) / "sentinel.conf"
        lines = [f"port {port}", f"bind {LOOPBACK}", f"dir {name}", f"sentinel monitor main {LOOPBACK} {master.port} 1"]
        lines += ["sentinel down-after-milliseconds main 300", "sentinel failover-timeout main 2000"]
        config.write_text("\n".join(lines) + "\n")
        command = [program("redis-server"), str(config), "--sentinel", "--logfile", f"{name}/sentinel.log"]
        process = subprocess.Popen(command)
        try:
            yield RedisServer(port, Path(name), process=process)
        finally:
            process.kill()
            process.wait()


async def test_sentinel_leads_to_the_new_master():
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(running_redis())
        new = stack.enter_context(running_redis("--replicaof", LOOPBACK, str(old.port)))
        sentinel = stack.enter_context(running_sentinel(old))
        sentinel.wait_ready()
        wait_until(lambda: new.ask("ROLE")[3] == b"connected", what="the replica follows")
        wait_until(
            lambda: str(new.port).encode() in repr(sentinel.ask("SENTINEL", "REPLICAS", "main")).encode(),
            what="the sentinel knows the replica",
            timeout_s=30,
            every_s=0.05,
        )
        url = f"redis+sentinel://{LOOPBACK}:{free_port()},{LOOPBACK}:{sentinel.port}/main"
        async with opened(url, **QUICK) as store:
            assert await works(store)
            held = await store.admit(store.plan([LIFE]), want=100, expires_in_ms=60_000)
            wait_until(lambda: new.ask("HGET", "{tollhouse}:m:life:0", "reserved") == b"100", what="replicated")
            old.kill()

            async def moved():
                with contextlib.suppress(StoreUnavailable):
                    return await works(store)
                return False

            async with asyncio.timeout(30):
                while not await moved():
                    await asyncio.sleep(0.02)
            assert await store.settle(held.hold, amount=7) == "settled"
            await until(lambda: not store.unsent, what="everything is told")
            assert new.ask("HGETALL", "{tollhouse}:m:life:0")[b"reserved"] == b"0"


async def test_sentinels_that_know_no_such_master(server):
    with running_sentinel(server) as sentinel:
        sentinel.wait_ready()
        async with opened(f"redis+sentinel://{LOOPBACK}:{sentinel.port}/other", **QUICK) as store:
            with pytest.raises(StoreUnavailable, match="no Sentinel knows") as raised:
                await works(store)
            assert raised.value.kind == "sentinel"


def test_a_store_may_be_made_without_a_loop():
    assert "standalone" in repr(RedisQuota("redis://localhost:1"))
