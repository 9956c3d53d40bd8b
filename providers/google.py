"""Access tokens of a Google service account: https://developers.google.com/identity/protocols/oauth2/service-account."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from tollhouse._native import ResponseReader
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.errors import UpstreamError

if TYPE_CHECKING:
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_S = 3600
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_RENEW_AT = 0.75  # of a token's life: what is left is time to try again
_MARGIN_S = 30.0  # a token that ends while a request is on its way is none
_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Of the file with its key. token_uri: who changes a signed claim for a token."""

    client_email: str
    private_key: str = field(repr=False)  # PEM
    token_uri: str
    key_id: str = ""

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


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class AccessTokens:
    """The present token of an account. Who comes before there is one waits; later ones are fetched beside requests."""

    def __init__(self, account: ServiceAccount, *, origin: Origin, path: str, timeouts: Timeouts) -> None:
        self._account = account
        self._origin = origin
        self._path = path
        self._timeouts = timeouts
        self._token = b""
        self._renew_at = 0.0  # time.monotonic
        self._ends_at = 0.0
        self._fetching: asyncio.Task[bytes] | None = None

    def ready(self) -> bytes | None:
        """The token, if there is one that still holds."""
        now = monotonic()
        if now >= self._ends_at:
            return None
        if now >= self._renew_at:
            self._fetch()
        return self._token

    async def wait(self) -> bytes:
        """The token once there is one. Raises UpstreamError if there will be none."""
        # Others wait for the same: that one of them goes must not end it.
        return await asyncio.shield(self._fetch())

    def _fetch(self) -> asyncio.Task[bytes]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.get_running_loop().create_task(self._fetched())
            self._fetching.add_done_callback(_seen)
        return self._fetching

    async def _fetched(self) -> bytes:
        status, body = await self._asked()
        try:
            answer = orjson.loads(body)
            token: bytes = answer["access_token"].encode("ascii")
            seconds = float(answer["expires_in"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            msg = f"Google gave no access token for the service account ({status})"
            raise UpstreamError(msg, code="upstream_auth") from None
        now = monotonic()
        self._token = token
        self._renew_at = now + seconds * _RENEW_AT
        self._ends_at = now + seconds - _MARGIN_S
        return token

    async def _asked(self) -> tuple[int, bytes]:
        form = urlencode({"grant_type": _GRANT, "assertion": self._account.assertion(int(time())).decode()}).encode()
        origin = self._origin
        port = "" if origin.port in {80, 443} else f":{origin.port}"
        head = (
            f"POST {self._path} HTTP/1.1\r\nhost: {origin.host}{port}\r\naccept-encoding: identity\r\n"
            f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(form)}\r\n\r\n"
        ).encode("ascii")
        call = Call(ResponseReader("raw", max_body=_MOST), self._timeouts)
        opening = origin.start(call, head, form, stream=False)
        if opening is not None:
            await opening
        await call.wait(SETTLED, asyncio.get_running_loop())
        return call.reader.status, call.take()


def _seen(task: asyncio.Task[bytes]) -> None:
    """Nobody may be waiting: the next request asks again."""
    if not task.cancelled():
        task.exception()
