"""Who the gateway is at AWS: keys that sign, as they were configured or as AWS lends them for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from tollhouse._native import sign_aws
from tollhouse.providers.credentials import Lease, none_from, seconds_until, sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.providers.credentials import Credentials


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """A pair of keys; a token goes with those that end."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def signed(
        self, headers: Sequence[tuple[str, str]], *, host: str, path: str, body: bytes, region: str, service: str
    ) -> list[tuple[str, str]]:
        """Headers that authorise a POST for five minutes. headers: others that it has, to be signed as well."""
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        added = [("x-amz-date", date)]
        if self.session_token is not None:
            added.append(("x-amz-security-token", self.session_token))
        signature = sign_aws(
            path,
            [("host", host), *headers, *added],
            body,
            access_key=self.access_key_id,
            secret_key=self.secret_access_key,
            region=region,
            service=service,
            date=date,
        )
        return [*added, ("authorization", signature)]


class Signature:
    """Signs requests of JSON to a service in a region."""

    def __init__(self, keys: Credentials[AwsKeys], *, region: str, service: str = "bedrock") -> None:
        self.credentials = keys
        self._region = region
        self._service = service

    def lines(self, credential: AwsKeys, *, host: str, path: str, body: bytes) -> bytes:
        headers = credential.signed(
            [("content-type", "application/json")],
            host=host,
            path=path,
            body=body,
            region=self._region,
            service=self._service,
        )
        return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("ascii")

    def hidden(self, credential: AwsKeys) -> bytes:
        return (credential.session_token or "").encode("ascii")


def lease_of(name: str, status: int, body: bytes) -> Lease[AwsKeys]:
    """Keys as AWS' own machines lend them. Raises UpstreamError where there are none."""
    try:
        told = orjson.loads(body)
        keys = AwsKeys(sendable(told["AccessKeyId"]), sendable(told["SecretAccessKey"]), sendable(told["Token"]))
        return Lease(keys, seconds_until(told["Expiration"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise none_from(name, status) from None
