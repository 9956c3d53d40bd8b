"""Roles of AWS that are assumed: https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tollhouse.providers.aws import AwsKeys
from tollhouse.providers.credentials import Lease, none_from, seconds_until, sendable
from tollhouse.providers.exchange import FORM, exchanged

if TYPE_CHECKING:
    from tollhouse.providers.credentials import Credentials
    from tollhouse.providers.transport import Origin

_VERSION = "2011-06-15"
_MEMBER = re.compile(rb"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<\s]+)</").findall
_CODE = re.compile(rb"<Code>([A-Za-z.]{1,64})</Code>").search


@dataclass(frozen=True, slots=True)
class Role:
    """What is assumed, and under which name it then appears in AWS' logs."""

    arn: str
    session: str
    external_id: str | None = None
    seconds: int | None = None  # None: an hour, as STS has it


class AssumedRole:
    """A role, assumed with other keys."""

    name = "the assumed AWS role"

    def __init__(self, role: Role, keys: Credentials[AwsKeys], *, sts: Origin, region: str) -> None:
        self._role = role
        self._keys = keys
        self._sts = sts
        self._region = region

    async def fetch(self) -> Lease[AwsKeys]:
        keys = self._keys.ready() or await self._keys.wait()
        body = _form("AssumeRole", self._role, ExternalId=self._role.external_id)
        headers = keys.signed([FORM], host=self._sts.authority, path="/", body=body, region=self._region, service="sts")
        return _lease(self.name, *await exchanged(self._sts, "POST", "/", headers=[FORM, *headers], body=body))


class WebIdentity:
    """A role, assumed with the token of an identity provider (EKS: of a service account), read anew each time."""

    name = "the AWS role of the web identity"

    def __init__(self, role: Role, token_file: str, *, sts: Origin) -> None:
        self._role = role
        self._token_file = Path(token_file)
        self._sts = sts

    async def fetch(self) -> Lease[AwsKeys]:
        try:
            token = (await asyncio.to_thread(self._token_file.read_text, "utf-8")).strip()
        except (OSError, ValueError):
            raise none_from(self.name, "its token file cannot be read") from None
        body = _form("AssumeRoleWithWebIdentity", self._role, WebIdentityToken=token)
        return _lease(self.name, *await exchanged(self._sts, "POST", "/", headers=[FORM], body=body))


def _form(action: str, role: Role, **more: str | None) -> bytes:
    members = {
        "Action": action,
        "Version": _VERSION,
        "RoleArn": role.arn,
        "RoleSessionName": role.session,
        "DurationSeconds": None if role.seconds is None else str(role.seconds),
        **more,
    }
    return urlencode({name: value for name, value in members.items() if value is not None}).encode("ascii")


def _lease(name: str, status: int, body: bytes) -> Lease[AwsKeys]:
    told = {member.decode(): html.unescape(value.decode("ascii", "replace")) for member, value in _MEMBER(body)}
    if status != 200:
        code = _CODE(body)
        raise none_from(name, f"{status} {code[1].decode()}" if code else status)
    try:
        keys = AwsKeys(*(sendable(told[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")))
        return Lease(keys, seconds_until(told["Expiration"]))
    except (KeyError, ValueError):
        raise none_from(name, status) from None
