"""Access tokens of Google Cloud, from whichever credentials there are.

https://google.aip.dev/auth/4110 says which there can be; each class has the page that says how its kind is used.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson

from tollhouse.providers.credentials import Lease, none_from, seconds_until, sendable
from tollhouse.providers.exchange import FORM, exchanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.providers.transport import Origin

    OpenOrigin = Callable[[str], Origin]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_S = 3600
METADATA = "metadata.google.internal"
_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """By the file with its key. token_uri: who changes a signed claim for a token.

    https://developers.google.com/identity/protocols/oauth2/service-account
    """

    client_email: str
    private_key: str = field(repr=False)  # PEM
    token_uri: str
    key_id: str = ""

    @property
    def name(self) -> str:
        return "the Google service account"

    def assertion(self, now: int) -> bytes:
        """A claim that holds for an hour from `now` (seconds since the epoch), signed."""
        # Rarely wanted, and not light.
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

        key = serialization.load_pem_private_key(self.private_key.encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.key_id} if self.key_id else {})
        claims = {
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + LIFETIME_S,
        }
        text = b".".join(_encoded(orjson.dumps(part)) for part in (header, claims))
        return text + b"." + _encoded(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))

    async def fetch(self, open_origin: OpenOrigin) -> Lease[bytes]:
        form = {"grant_type": _BEARER, "assertion": self.assertion(int(time())).decode()}
        return await _posted(self.name, open_origin, self.token_uri, form)


@dataclass(frozen=True, slots=True)
class AuthorizedUser:
    """What `gcloud auth application-default login` leaves behind: https://google.aip.dev/auth/4113."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_uri: str

    @property
    def name(self) -> str:
        return "the authorized Google user"

    async def fetch(self, open_origin: OpenOrigin) -> Lease[bytes]:
        form = {
            "grant_type": "refresh_token",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
        }
        return await _posted(self.name, open_origin, self.token_uri, form)


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """A token of another identity provider, in a file, changed for one of Google's: https://google.aip.dev/auth/4117.

    member: of the file's JSON object that holds the token; None: the file is the token. impersonation_url: of the
    service account that is acted for, if one is.
    """

    audience: str
    token_type: str
    token_file: str
    token_uri: str
    member: str | None = None
    impersonation_url: str | None = None

    @property
    def name(self) -> str:
        return "the Google workload identity"

    async def fetch(self, open_origin: OpenOrigin) -> Lease[bytes]:
        form = {
            "grant_type": _EXCHANGE,
            "audience": self.audience,
            "scope": SCOPE,
            "requested_token_type": _ACCESS_TOKEN,
            "subject_token_type": self.token_type,
            "subject_token": await self._subject(),
        }
        lease = await _posted(self.name, open_origin, self.token_uri, form)
        if self.impersonation_url is None:
            return lease
        url = self.impersonation_url
        headers = [("authorization", f"Bearer {lease.value.decode('ascii')}"), ("content-type", "application/json")]
        body = orjson.dumps({"scope": [SCOPE], "lifetime": f"{LIFETIME_S}s"})
        status, answer = await exchanged(open_origin(url), "POST", urlsplit(url).path, headers=headers, body=body)
        return _lease(self.name, status, answer)

    async def _subject(self) -> str:
        try:
            text = await asyncio.to_thread(Path(self.token_file).read_text, "utf-8")
            return text.strip() if self.member is None else str(orjson.loads(text)[self.member])
        except (OSError, ValueError, KeyError, TypeError):
            raise none_from(self.name, "its token file cannot be read") from None


@dataclass(frozen=True, slots=True)
class Machine:
    """The service account of the machine that the gateway runs on: https://google.aip.dev/auth/4115."""

    url: str

    @property
    def name(self) -> str:
        return "the Google service account of the machine"

    async def fetch(self, open_origin: OpenOrigin) -> Lease[bytes]:
        path = "/computeMetadata/v1/instance/service-accounts/default/token"
        headers = [("metadata-flavor", "Google")]
        return _lease(self.name, *await exchanged(open_origin(self.url), "GET", path, headers=headers))


GoogleAccess = ServiceAccount | AuthorizedUser | WorkloadIdentity | Machine


class AccessTokens:
    """Tokens from one of these. open_origin: where a URL is asked."""

    def __init__(self, access: GoogleAccess, open_origin: OpenOrigin) -> None:
        self.name = access.name
        self._access = access
        self._open_origin = open_origin

    async def fetch(self) -> Lease[bytes]:
        return await self._access.fetch(self._open_origin)


async def _posted(name: str, open_origin: OpenOrigin, url: str, form: dict[str, str]) -> Lease[bytes]:
    body = urlencode(form).encode("ascii")
    status, answer = await exchanged(open_origin(url), "POST", urlsplit(url).path or "/", headers=[FORM], body=body)
    return _lease(name, status, answer)


def _lease(name: str, status: int, body: bytes) -> Lease[bytes]:
    """As OAuth tells a token, or Google's service for acting as an account."""
    try:
        answer: dict[str, Any] = orjson.loads(body)
        if "accessToken" in answer:
            value, seconds = answer["accessToken"], seconds_until(answer["expireTime"])
        else:
            # The words "nan" and "inf" are floats as well, and such a token would never end; no int is made of them.
            value, seconds = answer["access_token"], int(float(answer["expires_in"]))
        return Lease(sendable(value).encode("ascii"), seconds)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise none_from(name, status) from None


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
