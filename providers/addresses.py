"""Where the gateway may connect to: a host is resolved once, each address is checked, and a checked one is dialled.

Loopback and private networks are allowed, because model servers live there and only the operator names hosts. Never
allowed are the places that hand out credentials (cloud metadata services, all link-local) and what is no host at all.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from tollhouse.providers.errors import UpstreamUnreachable

_DENIED_V4 = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),  # link-local: AWS, Azure, GCP, OpenStack metadata
    IPv4Network("100.100.100.200/32"),  # Alibaba Cloud metadata
    IPv4Network("192.0.0.192/32"),  # Oracle Cloud metadata
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
)
_DENIED_V6 = (
    IPv6Network("::/128"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),  # AWS metadata
    IPv6Network("fd00:ec2::23/128"),  # EKS pod identity
    IPv6Network("fd20:ce::254/128"),  # GCP metadata
    IPv6Network("ff00::/8"),
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_denied(address: str) -> bool:
    """Whether a numeric address is one that the gateway never dials; IPv4 in IPv6 clothes is undressed first."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ip_address(int(ip) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is None:
            return any(ip in network for network in _DENIED_V6)
        ip = inner
    return any(ip in network for network in _DENIED_V4)


@cache
def _threads() -> ThreadPoolExecutor:
    """Of the resolver alone: a name server that hangs must not stop what else needs threads."""
    return ThreadPoolExecutor(8, thread_name_prefix="resolver")


def _is_address(host: str) -> bool:
    """Whether there is nothing to resolve. What is in disguise ("127.1") or has an interface ("%eth0") has."""
    try:
        return "%" not in str(ip_address(host))
    except ValueError:
        return False


async def resolve(host: str, port: int) -> list[str]:
    """Numeric addresses of `host`, in the resolver's order; raises UpstreamUnreachable if none may be dialled."""
    if _is_address(host):  # no thread for that
        found = [host]
    else:
        loop = asyncio.get_running_loop()
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = [str(info[4][0]) for info in await loop.run_in_executor(_threads(), ask)]
        except OSError as error:
            msg = f"upstream host {host!r} cannot be resolved: {error.strerror or error}"
            raise UpstreamUnreachable(msg) from None
    allowed = [address for address in found if not is_denied(address)]
    if not allowed:
        msg = f"upstream host {host!r} resolves to an address that is never dialled (link-local, metadata or multicast)"
        raise UpstreamUnreachable(msg, code="upstream_address_denied")
    return list(dict.fromkeys(allowed))
