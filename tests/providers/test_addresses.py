from __future__ import annotations

import pytest

from tollhouse.providers import addresses
from tollhouse.providers.addresses import is_denied, resolve
from tollhouse.providers.errors import UpstreamUnreachable


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "0.0.0.0",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_metadata_and_non_hosts_are_never_dialled(address):
    assert is_denied(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "2606:4700::1", "fd12::1"]
)
def test_hosts_may_be_dialled(address):
    assert not is_denied(address)


async def test_numbers_in_disguise_are_checked_as_what_they_are():
    for host in ("2852039166", "0xa9fea9fe", "169.254.169.254"):
        with pytest.raises(UpstreamUnreachable, match="never dialled"):
            await resolve(host, 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_dialled_as_it_is_and_no_thread_is_asked(monkeypatch, host):
    monkeypatch.setattr(addresses, "_threads", lambda: pytest.fail("resolved"))
    assert await resolve(host, 80) == [host]


async def test_an_address_that_is_denied_is_so_without_being_resolved():
    with pytest.raises(UpstreamUnreachable, match="never dialled"):
        await resolve("fe80::1", 80)


async def test_an_unknown_host_is_named():
    with pytest.raises(UpstreamUnreachable, match=r"no-such-host\.invalid"):
        await resolve("no-such-host.invalid", 80)


async def test_a_host_has_its_addresses():
    assert "127.0.0.1" in await resolve("localhost", 80)
