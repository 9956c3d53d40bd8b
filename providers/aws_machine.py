"""Keys of the role that a container (ECS, EKS) or a machine (EC2) has, from services on addresses of their own.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tollhouse.providers.aws import AwsKeys, lease_of
from tollhouse.providers.credentials import Lease, none_from
from tollhouse.providers.exchange import exchanged

if TYPE_CHECKING:
    from tollhouse.providers.transport import Origin

# The only link-local addresses that are dialled for credentials, by host.
CONTAINERS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
METADATA = frozenset({"169.254.169.254", "fd00:ec2::254"})
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = re.compile(rb"[\w+=,.@-]{1,128}").fullmatch
_TTL = ("x-aws-ec2-metadata-token-ttl-seconds", "21600")


@dataclass(frozen=True, slots=True)
class Container:
    """path: of the service, query included. token, token_file: what it wants as `authorization`, if anything."""

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None


class ContainerRole:
    name = "the AWS role of the container"

    def __init__(self, container: Container, *, origin: Origin, path: str) -> None:
        self._container = container
        self._origin = origin
        self._path = path

    async def fetch(self) -> Lease[AwsKeys]:
        token = self._container.token
        if self._container.token_file is not None:
            try:
                token = (await asyncio.to_thread(Path(self._container.token_file).read_text, "ascii")).strip()
            except (OSError, ValueError):
                raise none_from(self.name, "its token file cannot be read") from None
        if token is not None and not token.isprintable():
            raise none_from(self.name, "its token cannot be sent")
        headers = [] if token is None else [("authorization", token)]
        return lease_of(self.name, *await exchanged(self._origin, "GET", self._path, headers=headers))


class InstanceRole:
    """Version 2 of the metadata service: a session first, then the role, then its keys."""

    name = "the AWS role of the instance"

    def __init__(self, *, origin: Origin) -> None:
        self._origin = origin

    async def fetch(self) -> Lease[AwsKeys]:
        status, session = await exchanged(self._origin, "PUT", "/latest/api/token", headers=[_TTL])
        if status != 200 or not session.isascii() or not session.strip().decode("ascii").isprintable():
            raise none_from(self.name, status)
        headers = [("x-aws-ec2-metadata-token", session.strip().decode("ascii"))]
        status, listed = await exchanged(self._origin, "GET", _ROLES, headers=headers)
        role = listed.split(b"\n", 1)[0].strip()
        if status != 200 or _ROLE(role) is None:
            raise none_from(self.name, "it has none" if status == 404 else status)
        path = _ROLES + role.decode("ascii")
        return lease_of(self.name, *await exchanged(self._origin, "GET", path, headers=headers))
