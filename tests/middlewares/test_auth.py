from __future__ import annotations

from hashlib import sha256
from time import time

import pytest

from tests.support.asgi import request
from tollhouse.middlewares.auth import AuthMiddleware, Principal, StaticKeys, public_part
from tollhouse.middlewares.errors import Unauthenticated, Unavailable
from tollhouse.middlewares.exchange import exchange_of

KEY = "sk-th-ABCDEFGHIJKL-" + "s" * 48
OTHER = "sk-th-MNOPQRSTUVWX-" + "t" * 48


async def _says_who(scope, receive, send):
    exchange = exchange_of(scope)
    who = exchange.principal.id if exchange is not None and exchange.principal is not None else "-"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": who.encode()})


def _app(**options):
    return AuthMiddleware(_says_who, keys=[KEY, OTHER], public=["/health"], admin=["/admin"], **options)


def _bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {key}".encode())]


@pytest.mark.parametrize(
    "headers",
    [_bearer(KEY), [(b"authorization", b"bearer " + KEY.encode())], [(b"x-api-key", KEY.encode())]],
    ids=["bearer", "lower case scheme", "x-api-key"],
)
async def test_a_known_key_opens_and_its_holder_is_known(headers):
    response = await request(_app(), "/v1/models", headers=headers)
    assert (response.status, response.body) == (200, b"ABCDEFGHIJKL")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        _bearer("sk-th-ABCDEFGHIJKL-" + "x" * 48),
        _bearer(KEY[:-1]),
        _bearer(KEY + "s"),
        _bearer(""),
        [(b"authorization", b"Basic " + KEY.encode())],
        [(b"x-api-key", b"")],
        [*_bearer(KEY), (b"x-api-key", OTHER.encode())],
        [*_bearer(KEY), *_bearer(OTHER)],
    ],
    ids=["none", "wrong", "short", "long", "empty", "basic", "empty x-api-key", "two headers", "two bearers"],
)
async def test_anything_else_gets_401_in_openai_shape(headers):
    response = await request(_app(), "/v1/models", headers=headers)
    assert response.status == 401
    assert set(response.json["error"]) == {"message", "type", "param", "code"}
    assert response.json["error"]["code"] == "invalid_api_key"
    assert "ssss" not in response.body.decode()


async def test_the_same_key_in_both_headers_is_no_contradiction():
    response = await request(_app(), "/x", headers=[*_bearer(KEY), (b"x-api-key", KEY.encode())])
    assert response.status == 200


@pytest.mark.parametrize("path", ["/", "/v1/models", "/health/", "/HEALTH", "//health", "/healthz", "/health/../x"])
async def test_only_the_exact_public_paths_are_open(path):
    assert (await request(_app(), "/health")).status == 200
    assert (await request(_app(), path)).status == 401


async def test_the_host_header_has_no_say():
    response = await request(_app(), "/v1/models", host=b"gateway.test/health?")
    assert response.status == 401


async def test_admin_paths_take_the_admin_key_only():
    app = _app(admin_key="root")
    assert (await request(app, "/admin/keys", headers=[(b"x-admin-api-key", b"root")])).body == b"admin"
    assert (await request(app, "/admin/keys", headers=[(b"x-admin-api-key", b"toor")])).status == 401
    assert (await request(app, "/admin/keys", headers=_bearer(KEY))).status == 403
    assert (await request(app, "/admin", headers=_bearer(KEY))).status == 403
    assert (await request(app, "/administration", headers=_bearer(KEY))).status == 200
    assert (await request(_app(), "/admin/keys", headers=[(b"x-admin-api-key", b"")])).status == 401


async def test_a_principal_with_admin_set_passes_by_its_own_key():
    app = AuthMiddleware(_says_who, keys={KEY: Principal(id="boss", admin=True)}, admin=["/admin"])
    assert (await request(app, "/admin/keys", headers=_bearer(KEY))).body == b"boss"


async def test_an_expired_key_is_refused():
    keys = {KEY: Principal(id="old", expires_at=time() - 1), OTHER: Principal(id="new", expires_at=time() + 60)}
    app = AuthMiddleware(_says_who, keys=keys)
    assert (await request(app, headers=_bearer(KEY))).status == 401
    assert (await request(app, headers=_bearer(OTHER))).status == 200


class _BrokenKeys:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def find(self, digest: bytes) -> Principal | None:
        raise self._error


@pytest.mark.parametrize("error", [RuntimeError("boom " + KEY), OSError(5, "disk"), Unavailable("store", code="s")])
async def test_any_failure_of_the_lookup_is_503_and_never_a_pass(error):
    response = await request(AuthMiddleware(_says_who, keys=_BrokenKeys(error)), headers=_bearer(KEY))
    assert response.status == 503
    assert "ssss" not in response.body.decode()


def test_nothing_shows_a_secret():
    keys = StaticKeys([KEY])
    assert "ssss" not in repr(keys)
    assert keys.find(sha256(KEY.encode()).digest()) == Principal(id="ABCDEFGHIJKL")
    assert public_part("my-own-password") == "static"


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (None, "anything", True),
        ((), "gpt-4o", False),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o*",), "gpt-4o-mini", True),
        (("openai/*", "x"), "openai/gpt", True),
        (("*",), "x", True),
    ],
)
def test_an_allow_list_names_models_or_prefixes(models, model, allowed):
    assert Principal(id="p", models=models).allows(model) is allowed


class _Others:
    """Knows one token; `answer` is what it says of it, or raises, at once or later."""

    def __init__(self, answer: Principal | Exception | None, *, is_late: bool) -> None:
        self.answer = answer
        self.is_late = is_late
        self.asked: list[bytes] = []

    def identify(self, token: bytes, digest: bytes):
        assert digest == sha256(token).digest()
        self.asked.append(token)
        return self._later() if self.is_late else self._now()

    def _now(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _later(self):
        return self._now()


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Principal(id="iam:kim"), 200),
        (Principal(id="iam:kim", expires_at=1.0), 401),
        (None, 401),
        (Unauthenticated("the token has expired"), 401),
        (Unavailable("away"), 503),
        (RuntimeError("boom"), 503),
    ],
)
async def test_others_are_asked_about_what_is_no_key_of_ours(answer, status, is_late):
    others = _Others(answer, is_late=is_late)
    response = await request(_app(others=others), "/v1/models", headers=_bearer("opaque"))
    assert response.status == status
    assert "boom" not in response.body.decode()
    assert others.asked == [b"opaque"]


async def test_others_are_asked_neither_about_our_keys_nor_about_administrators():
    others = _Others(Principal(id="iam:kim", admin=True), is_late=False)
    app = _app(others=others, admin_key="adm")
    assert (await request(app, "/v1/models", headers=_bearer(KEY))).body == b"ABCDEFGHIJKL"
    assert (await request(app, "/health")).status == 200
    assert (await request(app, "/admin/keys", headers=_bearer("opaque"))).status == 401
    assert others.asked == []
