"""Where the server of our keys is: what the URL says, Sentinel's answer, or the cluster's map of slots.

redis-py reads URLs and talks to Sentinel and to the cluster here; it is imported when a store is opened, for that takes
longer than everything else at start.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tollhouse.middlewares.stores.quota import StoreUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_PORT = 6379
_SENTINEL_PORT = 26379
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_OPTIONS = ("sentinel_username", "sentinel_password", *_TLS_OPTIONS)


class Address(NamedTuple):
    """Host and port, or the path of a Unix socket (port 0)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL says. Secrets do not show in its repr."""

    kind: str  # standalone, sentinel or cluster
    addresses: tuple[Address, ...]
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def tls_context(self) -> ssl.SSLContext | None:
        """Slow: reads certificates. Raises ValueError for files that cannot be used."""
        if not self.tls:
            return None
        try:
            return self._read_certificates()
        except OSError as error:
            why = getattr(error, "reason", None) or error.strerror
            raise ValueError(f"the URL of the store: a file of ssl_ca_certs, _certfile or _keyfile: {why}") from None

    def _read_certificates(self) -> ssl.SSLContext:
        options = self.options
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if options.get("ssl_check_hostname", "true").lower() in {"false", "no", "0"}:
            context.check_hostname = False
        if options.get("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
        return context


def parse(url: str) -> Target:
    """Raises ValueError, which names the part that is wrong and shows no secret."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"the URL of the store begins with one of {', '.join(SCHEMES)}, then ://")
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("the URL of the store is malformed") from None
    base, _, mode = scheme.partition("+")
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, database = "", parts.path.strip("/")
    if mode == "sentinel":
        service, _, database = database.partition("/")
        if not service:
            raise ValueError("the URL of the store names no master: redis+sentinel://host:26379/mymaster")
    username, _, password = credentials.partition(":")
    if base == "unix":
        addresses: tuple[Address, ...] = (Address(unquote(parts.path), 0),)
        database = options.pop("db", "0")
    else:
        port = _SENTINEL_PORT if mode == "sentinel" else _PORT
        addresses = tuple(_address(host, port) for host in hosts.split(","))
        database = options.pop("db", database) or "0"
        if mode != "sentinel" and len(addresses) > 1:
            mode = "cluster"
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise ValueError(f"the URL of the store has unknown options: {', '.join(unknown)}")
    if not database.isdecimal():
        raise ValueError("the URL of the store: the database is a number")
    if mode == "cluster" and database != "0":
        raise ValueError("the URL of the store: a cluster has database 0 only")
    return Target(
        kind=mode or "standalone",
        addresses=addresses,
        service=unquote(service),
        database=int(database),
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=base == "rediss",
        options=options,
    )


def _address(text: str, default_port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ValueError("the URL of the store: a host is missing or a port is no number")
    return Address(host, port or default_port)


class Topology:
    """Finds the server that owns our keys. Remembers a cluster's nodes, for the first may be the one that died."""

    def __init__(self, target: Target, *, key: bytes, connect_timeout_s: float) -> None:
        self.target = target
        self._key = key
        self._timeout_s = connect_timeout_s
        self._nodes: dict[Address, None] = dict.fromkeys(target.addresses)
        self._kind = target.kind
        self._tls: ssl.SSLContext | None = None

    def use_cluster(self) -> None:
        """The server said that it belongs to one."""
        if self.target.database:
            raise StoreUnavailable("a cluster has database 0 only", kind="unsuitable")
        self._kind = "cluster"

    @property
    def is_cluster(self) -> bool:
        return self._kind == "cluster"

    async def locate(self, tls: ssl.SSLContext | None) -> Address:
        """Raises StoreUnavailable."""
        self._tls = tls
        if self._kind == "standalone":
            return self.target.addresses[0]
        return await (self._ask_cluster() if self._kind == "cluster" else self._ask_sentinels())

    async def _ask_sentinels(self) -> Address:
        from redis.asyncio.sentinel import MasterNotFoundError, Sentinel  # noqa: PLC0415 - dear to import
        from redis.exceptions import RedisError  # noqa: PLC0415

        options = self.target.options
        own = self._options(options.get("sentinel_username"), options.get("sentinel_password"))
        sentinel = Sentinel(list(self.target.addresses), sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(self.target.service)
        except MasterNotFoundError:
            raise StoreUnavailable("no Sentinel knows a master of this name that is up", kind="sentinel") from None
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Sentinel: {type(error).__name__}", kind="sentinel") from None
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return Address(host, port)

    async def _ask_cluster(self) -> Address:
        from redis.asyncio import Redis  # noqa: PLC0415 - dear to import
        from redis.crc import key_slot  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        own = self._options(self.target.username, self.target.password)
        slot = key_slot(self._key)
        for node in list(self._nodes):
            client = Redis(host=node.host, port=node.port, **own)
            try:
                owner = await self._owner(client, node, slot)
            except (RedisError, OSError):
                continue
            finally:
                await client.aclose()
            if owner is not None:
                return owner
        raise StoreUnavailable("no node of the cluster knows who owns the keys", kind="cluster")

    async def _owner(self, client: Redis, asked: Address, slot: int) -> Address | None:
        owner = None
        for first, last, *nodes in await client.execute_command("CLUSTER SLOTS"):  # type: ignore[no-untyped-call]  # the master comes first
            members = [Address(host.decode() if host else asked.host, port) for host, port, *_ in nodes]
            self._nodes |= dict.fromkeys(members)
            if first <= slot <= last:
                owner = members[0]
        return owner

    def _options(self, username: str | None, password: str | None) -> dict[str, Any]:
        """redis-py's defaults are ten retries and five seconds; here every step says its own."""
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        own: dict[str, Any] = {
            "username": username,
            "password": password,
            "socket_timeout": self._timeout_s,
            "socket_connect_timeout": self._timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if self.target.tls:
            own |= {"ssl": True} | {
                name: self.target.options[name] for name in _TLS_OPTIONS if name in self.target.options
            }
        return own
