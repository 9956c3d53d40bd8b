"""The first commands on a connection: who we are, who the server is, and whether money may be left with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tollhouse.middlewares.stores.quota import StoreUnavailable, StoreUnsuitable
from tollhouse.middlewares.stores.redis.scripts import NAMES, source
from tollhouse.middlewares.stores.redis.wire import Lost, Reply, ReplyError, code, command

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.redis.connection import Connection
    from tollhouse.middlewares.stores.redis.topology import Target

LEAST_VERSION = (6, 2)
_LEAST = f"Redis {'.'.join(map(str, LEAST_VERSION))}"


class Server(NamedTuple):
    """What a server says of itself. `run_id` changes when it restarts."""

    version: str
    mode: str  # standalone or cluster
    role: str  # master or replica
    run_id: str


async def greet(connection: Connection, target: Target, *, name: str) -> Server:
    """Log in, look at the server and load the scripts.

    Raises StoreUnsuitable where data would be evicted or scripts cannot run, StoreUnavailable for everything else.
    """
    words = ["HELLO", "2"]
    if target.password is not None:
        words += ["AUTH", target.username or "default", target.password]
    # All at once: a server that is loading answers slowly, and only now and then.
    hello = connection.execute(command(*words, "SETNAME", name))
    select = connection.execute(command("SELECT", target.database)) if target.database else None
    infos = [connection.execute(command("INFO", section)) for section in ("server", "memory")]
    policy = connection.execute(command("CONFIG", "GET", "maxmemory-policy"))
    loads = [connection.execute(command("SCRIPT", "LOAD", source(script))) for script in NAMES]
    reply = await hello
    if isinstance(reply, ReplyError) and "unknown command" in str(reply):
        raise StoreUnsuitable(f"the server does not know HELLO: {_LEAST} or newer is needed")
    facts = _pairs(expected(reply))
    _check_version(facts["version"])
    if select is not None:
        expected(await select)
    info = _facts([await each for each in infos])
    _check_eviction(await policy, info)
    for load in loads:
        expected(await load)
    return Server(facts["version"], facts["mode"], facts["role"], info.get("run_id", ""))


def expected(reply: Reply) -> Reply:
    """An answer that is no error; raises StoreUnavailable for one that is."""
    if isinstance(reply, Lost):
        raise StoreUnavailable(reply.reason, kind=reply.kind)
    if isinstance(reply, ReplyError):
        # The text is Redis' own and repeats no argument that is secret, but the code alone says enough.
        kind = code(reply)
        raise StoreUnavailable(_REASONS.get(kind, "the server answered with an error"), kind=kind.lower())
    return reply


_REASONS = {
    "NOAUTH": "the server wants a password",
    "WRONGPASS": "the server does not know this user and password",
    "NOPERM": "the user lacks a permission",
    "LOADING": "the server is loading its data",
    "MASTERDOWN": "the server is a replica without its master",
    "READONLY": "the server is a read-only replica",
    "OOM": "the server has no memory left (maxmemory)",
    "MISCONF": "the server cannot persist and takes no writes (MISCONF)",
    "NOREPLICAS": "the server has too few replicas and takes no writes (NOREPLICAS)",
    "CLUSTERDOWN": "the cluster is down",
    "TRYAGAIN": "the keys are being moved to another node",
    "BUSY": "the server is busy with somebody's script",
}


def reason(kind: str) -> str:
    """What an error's code means, in words."""
    return _REASONS.get(kind, "the server answered with an error")


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < LEAST_VERSION:
        raise StoreUnsuitable(f"Redis {version} is too old: {_LEAST} or newer is needed")


def _pairs(reply: Reply) -> dict[str, str]:
    """An answer of names and values."""
    assert isinstance(reply, list)
    return dict(zip(map(_text, reply[::2]), map(_text, reply[1::2]), strict=True))


def _facts(replies: list[Reply]) -> dict[str, str]:
    """What INFO says; empty where the user may not run it."""
    lines = [line for reply in replies if isinstance(reply, bytes) for line in _text(reply).splitlines()]
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_eviction(reply: Reply, info: dict[str, str]) -> None:
    """Managed services forbid CONFIG; INFO says the same."""
    if isinstance(reply, Lost):
        expected(reply)
    found = _pairs(reply) if isinstance(reply, list) else {}
    policy = found.get("maxmemory-policy") or info.get("maxmemory_policy")
    if not policy:
        raise StoreUnsuitable(
            "the server's maxmemory-policy cannot be read: allow the user CONFIG GET or INFO, for with any policy "
            "but noeviction it may drop budgets"
        )
    if policy != "noeviction":
        raise StoreUnsuitable(
            f"the server's maxmemory-policy is {policy}, which may drop budgets: set maxmemory-policy to noeviction"
        )


def _text(value: Reply) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
