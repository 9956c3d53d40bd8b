"""JWTs of an issuer that is asked over HTTP for its keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scripts.reference_services.issuer import Issuer
from tests.support.app import App, running_app
from tests.support.net import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.services import Street

ECHO = "tollhouse/echo"


def issuer_of(services: Street) -> str:
    return f"{services.url}/iam"


def section(services: Street, **more: Any) -> dict[str, Any]:
    return {"auth": {"jwt": {"issuer": issuer_of(services), "audience": "tollhouse", "leeway_s": 0} | more}}


def mint(services: Street, **claims: Any) -> str:
    return services.world.issuer.token(issuer_of(services), claims)


def ready(app: App) -> Callable[[], Awaitable[object]]:
    async def is_ready() -> bool:
        return (await app.send("/health/ready")).status == 200

    return is_ready


async def said(app: App, token: str) -> tuple[int, str]:
    answer = await app.chat(ECHO, key=token)
    message = orjson.loads(answer.body).get("error", {}).get("message", "")
    return answer.status, message


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_of_the_issuer_is_its_subject(tmp_path, services: Street, algorithm):
    services.world.issuer.rotate(algorithm)
    async with running_app(tmp_path, **section(services, claims={"tenant": "org.id", "team": "dept"})) as app:
        await until(ready(app), what="the keys")
        token = mint(services, sub="kim", dept="research", org={"id": "acme"})
        assert (await app.chat(ECHO, key=token)).status == 200
        assert (app.log[-1]["key_id"], app.log[-1]["team"]) == ("jwt:kim", "research")
        narrow = mint(services, models=["gpt-*"])
        assert (await said(app, narrow))[0] in {403, 404}
        assert (await app.send("/admin/keys", key=mint(services, admin=True))).status == 401


async def test_what_does_not_hold_is_refused_with_its_reason(tmp_path, services: Street):
    now = int(time.time())
    async with running_app(tmp_path, **section(services)) as app:
        await until(ready(app), what="the keys")
        refused: list[tuple[dict[str, Any], str]] = [
            ({"aud": "somebody-else"}, "somebody else"),
            ({"aud": ["a", "b"]}, "somebody else"),
            ({"aud": None}, "claims that cannot be used|lacks|somebody else|not genuine"),
            ({"iss": "https://evil.example"}, "another issuer"),
            ({"exp": now - 5}, "expired"),
            ({"exp": "never"}, "not genuine|cannot be used"),
            ({"nbf": now + 60}, "not hold yet"),
            ({"sub": ""}, "cannot be used"),
            ({"tenant": {"a": 1}}, "cannot be used"),
            ({"models": 7}, "cannot be used"),
        ]
        for claims, reason in refused:
            status, message = await said(app, mint(services, **claims))
            assert status == 401, claims
            assert any(part in message for part in reason.split("|")), (claims, message)
        for claim in ("exp", "sub", "aud", "iss"):
            given = {"iss": issuer_of(services), "aud": "tollhouse", "sub": "kim", "exp": now + 60}
            del given[claim]
            issuer = services.world.issuer
            token = jwt.encode(given, issuer.key, algorithm=issuer.algorithm, headers={"kid": issuer.key_id})
            status, message = await said(app, token)
            assert (status, "lacks" in message) == (401, True), (claim, message)


async def test_no_signature_and_a_public_key_as_secret_are_refused(tmp_path, services: Street):
    services.world.issuer.rotate("RS256")
    issuer = services.world.issuer
    claims = {"iss": issuer_of(services), "aud": "tollhouse", "sub": "root", "exp": int(time.time()) + 60}
    pem = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def signed(head: dict[str, Any], secret: bytes | None) -> str:
        text = f"{encoded(head)}.{encoded(claims)}"
        mark = b"" if secret is None else hmac.digest(secret, text.encode(), hashlib.sha256)
        return f"{text}.{encoded(mark)}"

    forged = [
        signed({"alg": "none", "typ": "JWT", "kid": issuer.key_id}, None),
        signed({"alg": "NONE", "kid": issuer.key_id}, None),
        signed({"alg": "HS256", "typ": "JWT", "kid": issuer.key_id}, pem),
        signed({"alg": "RS256", "typ": "JWT", "kid": issuer.key_id}, pem),
        signed({"alg": "ES256", "typ": "JWT", "kid": issuer.key_id}, pem),
        signed({"alg": "RS256", "kid": issuer.key_id, "crit": ["exp"]}, pem),
        signed({"alg": "RS256", "kid": issuer.key_id, "typ": "logout+jwt"}, pem),
        signed({"alg": "RS256", "kid": issuer.key_id, "jwk": issuer.published[0]}, pem),
        "ey.ey.ey",
        "eyJhbGciOiJSUzI1NiJ9..",
        "ey" + "a" * 9000 + ".b.c",
    ]
    other = Issuer("RS256")
    other.key_id = issuer.key_id
    forged.append(other.token(issuer_of(services), {}))
    async with running_app(tmp_path, **section(services)) as app:
        await until(ready(app), what="the keys")
        for token in forged:
            assert (await said(app, token))[0] == 401, token[:80]
        good = mint(services)
        for i in (len(good) // 3, len(good) // 2, -10):
            tampered = good[:i] + ("A" if good[i] != "A" else "B") + good[i + 1 :]
            assert (await said(app, tampered))[0] == 401
        assert (await said(app, good))[0] == 200


async def test_symmetric_and_weak_keys_are_no_keys(tmp_path, services: Street):
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    issuer = services.world.issuer
    public: Any = jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True)
    secret = b"s" * 64
    issuer.published += [
        {**public, "kid": "weak", "alg": "RS256"},
        {"kty": "oct", "k": encoded(secret), "kid": "shared", "alg": "HS256"},
        {**issuer.published[0], "kid": "for-encryption", "use": "enc"},
        {"kty": "EC"},
    ]
    claims = {"iss": issuer_of(services), "aud": "tollhouse", "sub": "kim", "exp": int(time.time()) + 60}
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        by_weak = jwt.encode(claims, weak, algorithm="RS256", headers={"kid": "weak"})
    by_shared = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "shared"})
    by_other = jwt.encode(claims, issuer.key, algorithm="ES256", headers={"kid": "for-encryption"})
    async with running_app(tmp_path, **section(services)) as app:
        await until(ready(app), what="the keys")
        for token in (by_weak, by_shared, by_other):
            assert (await said(app, token))[0] == 401
        assert (await said(app, mint(services)))[0] == 200


async def test_a_new_key_is_fetched_once_and_unknown_ones_ask_no_more_often_than_allowed(tmp_path, services: Street):
    async with running_app(tmp_path, **section(services, min_refresh_s=0.2)) as app:
        await until(ready(app), what="the keys")
        old = mint(services)
        assert (await said(app, old))[0] == 200
        services.world.issuer.rotate("ES256")
        new = mint(services)

        async def is_known() -> bool:
            return (await said(app, new))[0] == 200

        await until(is_known, what="the new key")
        assert (await said(app, old))[0] == 401  # its key has gone
    async with running_app(tmp_path, **section(services, min_refresh_s=60)) as app:
        await until(ready(app), what="the keys")
        before = services.asked("iam")
        for number in range(20):
            stranger = Issuer("ES256")
            stranger.key_id = f"unknown-{number}"
            assert (await said(app, stranger.token(issuer_of(services), {})))[0] == 401
        assert services.asked("iam") == before


async def test_without_keys_nobody_is_refused_for_good_and_nobody_let_in(tmp_path, services: Street):
    services.break_("iam", "hang")
    async with running_app(tmp_path, **section(services, timeout_s=0.3)) as app:
        status, _ = await said(app, mint(services))
        assert status == 503
        named = orjson.loads((await app.send("/health/ready")).body)["failing"]
        assert named == ["token_keys"]
        services.mend("iam")
        await until(ready(app), what="the keys")
        assert (await said(app, mint(services)))[0] == 200


async def test_keys_that_cannot_be_confirmed_any_more_open_nothing(tmp_path, services: Street):
    async with running_app(tmp_path, **section(services, stale_s=1.2, refresh_s=0.05)) as app:
        await until(ready(app), what="the keys")
        token = mint(services)
        assert (await said(app, token))[0] == 200
        services.break_("iam", "error")

        async def is_shut() -> bool:
            return (await said(app, token))[0] == 503

        await until(is_shut, what="the end of what is believed")
        services.mend("iam")

        async def is_open() -> bool:
            return (await said(app, token))[0] == 200

        await until(is_open, what="the keys again")


async def test_opaque_tokens_are_for_iam_and_jwts_for_their_issuer(tmp_path, services: Street):
    sections = section(services) | services.sections("iam", timeout_s=5)
    async with running_app(tmp_path, **sections) as app:
        await until(ready(app), what="the keys")
        before = services.asked("iam")
        assert (await said(app, mint(services)))[0] == 200
        assert services.asked("iam") == before
        assert (await said(app, "demo-token"))[0] == 200
        assert services.asked("iam") == before + 1


async def test_keys_at_another_origin_than_the_issuers_are_not_gone_to(tmp_path, services: Street):
    elsewhere = f"{services.url.replace('127.0.0.1', 'localhost')}/iam/jwks"
    services.world.jwks_uri = elsewhere
    async with running_app(tmp_path, **section(services)) as app:
        assert (await said(app, mint(services)))[0] == 503
    async with running_app(tmp_path, **section(services, jwks_url=elsewhere)) as app:
        await until(ready(app), what="the keys")
        assert (await said(app, mint(services)))[0] == 200


async def test_an_issuer_that_calls_itself_something_else_is_not_believed(tmp_path, services: Street):
    given = section(services)
    given["auth"]["jwt"]["issuer"] += "/"
    async with running_app(tmp_path, **given) as app:
        assert (await said(app, mint(services)))[0] == 503
