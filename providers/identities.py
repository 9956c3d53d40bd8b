"""Makes identities from plain values. Deployments with the same credentials share them, and what renews them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from tollhouse.providers.aws import AwsKeys, Signature
from tollhouse.providers.aws_machine import CONTAINERS, METADATA, Container, ContainerRole, InstanceRole
from tollhouse.providers.aws_roles import AssumedRole, Role, WebIdentity
from tollhouse.providers.credentials import Credentials, Fixed, Renewed
from tollhouse.providers.google import METADATA as GOOGLE_METADATA
from tollhouse.providers.google import AccessTokens
from tollhouse.providers.identity import Bearer, Identity

if TYPE_CHECKING:
    from tollhouse.providers.google import GoogleAccess
    from tollhouse.providers.transport import Origin

# Google's metadata server has one address wherever it is; its name is not looked up.
_GOOGLE_ADDRESS = "169.254.169.254"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A role for whose assumption the token in a file stands."""

    role: Role
    path: str


@dataclass(frozen=True, slots=True)
class Instance:
    """The machine's role. url: of the metadata service."""

    url: str = "http://169.254.169.254"


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Who signs, and where. roles: assumed one after the other, the first with what is lent by `base`. sts: its URL."""

    base: AwsKeys | TokenFile | Container | Instance
    region: str
    roles: tuple[Role, ...] = ()
    sts: str = ""


class OpenOrigin(Protocol):
    def __call__(
        self, provider: str, scheme: str, host: str, port: int, *, addresses: tuple[str, ...] = ()
    ) -> Origin: ...


class Identities:
    """One per event loop."""

    def __init__(self, open_origin: OpenOrigin) -> None:
        self._open_origin = open_origin
        self._aws: dict[AwsAccess, Credentials[AwsKeys]] = {}
        self._google: dict[GoogleAccess, Credentials[bytes]] = {}
        self._made: dict[object, Identity] = {}

    def of_aws(self, access: AwsAccess) -> Identity:
        made = self._made.get(access)
        if made is None:
            made = self._made[access] = Signature(self._keys(access), region=access.region)
        return made

    def of_google(self, access: GoogleAccess, quota_project: str | None = None) -> Identity:
        key = (access, quota_project)
        made = self._made.get(key)
        if made is None:
            tokens = self._google.get(access)
            if tokens is None:
                tokens = self._google[access] = Renewed(AccessTokens(access, self._google_origin))
            lines = f"x-goog-user-project: {quota_project}\r\n".encode("ascii") if quota_project else b""
            made = self._made[key] = Bearer(tokens, lines=lines)
        return made

    def _keys(self, access: AwsAccess) -> Credentials[AwsKeys]:
        """Of the last role; those before it are shared with whoever has them as well."""
        found = self._aws.get(access)
        if found is None:
            found = self._aws[access] = self._fresh(access)
        return found

    def _fresh(self, access: AwsAccess) -> Credentials[AwsKeys]:
        if access.roles:
            *before, role = access.roles
            keys = self._keys(AwsAccess(access.base, access.region, tuple(before), access.sts))
            return Renewed(AssumedRole(role, keys, sts=self._sts(access), region=access.region))
        base = access.base
        if isinstance(base, AwsKeys):
            return Fixed(base)
        if isinstance(base, TokenFile):
            return Renewed(WebIdentity(base.role, base.path, sts=self._sts(access)))
        if isinstance(base, Container):
            url = urlsplit(base.url)
            path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
            origin = self._lending(url, CONTAINERS)
            return Renewed(ContainerRole(base, origin=origin, path=path))
        return Renewed(InstanceRole(origin=self._lending(urlsplit(base.url), METADATA)))

    def _sts(self, access: AwsAccess) -> Origin:
        return self._plain(urlsplit(access.sts), "aws-sts")

    def _lending(self, url: Any, lenders: frozenset[str]) -> Origin:
        """A service that lends keys to whoever can reach it: at its own addresses, on this machine, or by TLS."""
        host = url.hostname or ""
        if host in lenders:
            return self._plain(url, "aws-credentials", addresses=(host,))
        if url.scheme != "https" and not _is_loopback(host):
            msg = f"AWS credentials are not asked for at {host}"
            raise ValueError(msg)
        return self._plain(url, "aws-credentials")

    def _google_origin(self, address: str) -> Origin:
        url = urlsplit(address)
        is_metadata = url.hostname in {GOOGLE_METADATA, _GOOGLE_ADDRESS}
        return self._plain(url, "google", addresses=(_GOOGLE_ADDRESS,) if is_metadata else ())

    def _plain(self, url: Any, name: str, *, addresses: tuple[str, ...] = ()) -> Origin:
        return self._open_origin(
            name, url.scheme, url.hostname or "", url.port or _PORTS[url.scheme], addresses=addresses
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
