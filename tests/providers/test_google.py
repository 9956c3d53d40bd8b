"""Access tokens of a service account: fetched once, renewed beside requests, asked for again after a failure."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.providers.server import Answer, Asked, Provider, as_json
from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers import credentials, google
from tollhouse.providers.ask import Ask
from tollhouse.providers.errors import UpstreamError
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.google import ServiceAccount
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.call import Call

EMAIL = "gateway@project.iam.gserviceaccount.com"
PATH = "/v1/projects/p/locations/l/publishers/google"
VIEW = RequestView.parse(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}', "chat")


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


class _Google(Provider):
    """Tokens and Vertex at one place. Every token is another one."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        super().__init__()
        self._key = key
        self.expires_in: Any = 3600
        self.token = "ya29."
        self.tokens = 0
        self.used: list[str] = []

    def answer(self, asked: Asked) -> Answer:
        if asked.path != "/token":
            self.used.append(asked.headers["authorization"])
            return as_json({"error": {"message": f"no: {asked.headers['authorization']}"}}, 400)
        form = parse_qs(asked.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        text, _, signature = form["assertion"][0].encode().rpartition(b".")
        self._key.verify(_decoded(signature), text, padding.PKCS1v15(), hashes.SHA256())
        header, claims = (orjson.loads(_decoded(part)) for part in text.split(b"."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        assert (claims["iss"], claims["aud"], claims["scope"]) == (EMAIL, f"{self.url}/token", google.SCOPE)
        assert abs(claims["iat"] - time.time()) < 60
        assert claims["exp"] - claims["iat"] == google.LIFETIME_S
        self.tokens += 1
        if self.expires_in is None:
            return as_json({"error": "invalid_grant"}, 400)
        return as_json(
            {"access_token": f"{self.token}{self.tokens}", "expires_in": self.expires_in, "token_type": "Bearer"}
        )


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def server(key: rsa.RSAPrivateKey) -> Iterator[_Google]:
    with _Google(key.public_key()) as listening:
        yield listening


@pytest.fixture
def account(key: rsa.RSAPrivateKey, server: _Google) -> ServiceAccount:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, *form).decode()
    return ServiceAccount(client_email=EMAIL, private_key=pem, token_uri=f"{server.url}/token", key_id="k1")


class _Vertex:
    """Two deployments of an account, asked in turn."""

    def __init__(self, server: _Google, account: ServiceAccount) -> None:
        self._factory = UpstreamFactory()
        self._upstreams = [
            self._factory.make("vertex_ai", api_base=f"{server.url}{PATH}", timeouts=Timeouts(), google=account)
            for _ in range(2)
        ]
        self._turn = 0

    async def ask(self) -> Call:
        self._turn += 1
        call = self._upstreams[self._turn % 2].start(Ask(kind="chat", view=VIEW, model="gemini-2.5-pro"))
        if call.opening is not None:
            await call.opening
        assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
        return call

    def close(self) -> None:
        self._factory.close()


async def test_one_token_serves_all_requests_of_an_account(server, account):
    vertex = _Vertex(server, account)
    await asyncio.gather(*(vertex.ask() for _ in range(5)))
    call = await vertex.ask()
    assert server.tokens == 1
    assert server.used == ["Bearer ya29.1"] * 6
    assert call.hidden == b"ya29.1"
    vertex.close()


async def test_a_token_is_renewed_before_it_ends_and_nobody_waits_for_that(server, account, monkeypatch):
    monkeypatch.setattr(credentials, "RENEW_AT", 0.0)
    vertex = _Vertex(server, account)
    await vertex.ask()
    await vertex.ask()
    assert server.used == ["Bearer ya29.1"] * 2
    while server.tokens < 2:
        await asyncio.sleep(0.01)
    while server.used[-1] == "Bearer ya29.1":
        await vertex.ask()
    vertex.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others)
    vertex.close()


async def test_a_token_that_ends_at_once_is_fetched_for_each_request(server, account):
    server.expires_in = 10
    vertex = _Vertex(server, account)
    await vertex.ask()
    await vertex.ask()
    assert server.used == ["Bearer ya29.1", "Bearer ya29.2"]
    vertex.close()


@pytest.mark.parametrize("expires_in", [None, "soon", [1], "nan", "inf"])
async def test_a_refused_account_is_an_error_of_the_gateways_and_asked_again(server, account, expires_in):
    server.expires_in = expires_in
    vertex = _Vertex(server, account)
    with pytest.raises(UpstreamError) as caught:
        await vertex.ask()
    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("upstream_auth", 502, True)
    assert "PRIVATE" not in caught.value.message
    server.expires_in = 3600
    await vertex.ask()
    assert server.used == ["Bearer ya29.2"]
    vertex.close()


@pytest.mark.parametrize(
    "token", ["ya29\r\nx-goog-user-project: theirs\r\nx-a: ", "ya29\n", "ya29 x", "ya29\x00", "ÿa29"]
)
async def test_a_token_that_could_write_headers_of_its_own_is_none(server, account, token):
    server.token, expected = token, server.used.copy()
    vertex = _Vertex(server, account)
    with pytest.raises(UpstreamError) as caught:
        await vertex.ask()
    assert caught.value.code == "upstream_auth"
    assert "ya29" not in caught.value.message
    assert server.used == expected
    server.token = "ya29."
    await vertex.ask()
    vertex.close()


def test_the_key_is_not_shown(account):
    assert "PRIVATE" not in repr(account)
