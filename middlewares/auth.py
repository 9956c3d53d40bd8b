"""Who is asking: virtual keys, the master key and the admin key, looked up by digest.

A key is known by the SHA-256 of all of it, so a lookup tells nothing by its timing and a leaked table opens nothing.
Routes are refused by default: what is not listed as public needs a key.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Protocol

from tollhouse.middlewares.errors import Forbidden, Refusal, Unauthenticated, Unavailable
from tollhouse.middlewares.exchange import SCOPE_KEY, Exchange, exchange_of, route_path
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send

PREFIX = "sk-th-"
_PUBLIC = 12
_CREDENTIALS = (b"authorization", b"x-api-key")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a key. `id` is the key's public part or the name of a configured key, and may be logged."""

    id: str
    name: str = ""
    team: str | None = None
    user: str | None = None
    tenant: str | None = None  # whose data and money it is, where others decide on that; None: the team
    models: tuple[str, ...] | None = None  # None: all; an entry may end in "*"
    admin: bool = False
    expires_at: float | None = None  # seconds since the epoch

    def allows(self, model: str) -> bool:
        """Whether the allow-list has this model."""
        if self.models is None or model in self.models:
            return True
        return any(entry.endswith("*") and model.startswith(entry[:-1]) for entry in self.models)


class Keys(Protocol):
    """Where principals come from."""

    def find(self, digest: bytes) -> Principal | None:
        """The holder of the key with this SHA-256. Raises Unavailable when that cannot be known."""


class Identities(Protocol):
    """Whom else to ask about a token that is no key of ours."""

    def identify(self, token: bytes, digest: bytes) -> Principal | Awaitable[Principal | None] | None:
        """Its holder; None for a token that nobody knows. digest: SHA-256 of the token.

        Raises Unauthenticated for one that does not hold, and Unavailable when that cannot be known.
        """


class StaticKeys:
    """A fixed set of keys, for apps without a store of their own: {key: principal} or just keys."""

    def __init__(self, keys: Mapping[str, Principal] | Collection[str]) -> None:
        named = keys if isinstance(keys, Mapping) else {key: Principal(id=public_part(key)) for key in keys}
        self._by_digest = {sha256(key.encode()).digest(): principal for key, principal in named.items()}

    def find(self, digest: bytes) -> Principal | None:
        return self._by_digest.get(digest)

    def __repr__(self) -> str:
        return f"StaticKeys({len(self._by_digest)} keys)"


def public_part(key: str) -> str:
    """What may be shown of a key: the twelve characters after `sk-th-`, or nothing of a foreign one."""
    return key[len(PREFIX) : len(PREFIX) + _PUBLIC] if key.startswith(PREFIX) else "static"


class AuthStage(Stage):
    """others: asked about tokens that are not in `keys`; whom they vouch for is never an administrator."""

    def __init__(
        self,
        keys: Keys,
        *,
        public: Collection[str] = (),
        admin: Collection[str] = (),
        admin_key: str | None = None,
        others: Identities | None = None,
    ) -> None:
        self._keys = keys
        self._others = others
        self._public = frozenset(public)
        self._admin = frozenset(admin)
        self._below_admin = tuple(f"{prefix}/" for prefix in admin)
        self._admin_digest = None if admin_key is None else sha256(admin_key.encode()).digest()

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        # Only the path decides: `request.url` is built from the Host header, which is the caller's (CVE-2026-48710).
        scope = exchange.scope
        path = scope["path"]
        if scope.get("root_path"):
            path = self._listed(path, route_path(scope))
        if path in self._public:
            return None
        try:
            if path in self._admin or path.startswith(self._below_admin):
                exchange.principal = self._administrator(exchange)
                return None
            token = _token(exchange)
            digest = sha256(token).digest()
            found = self._keys.find(digest)
            if found is None and self._others is not None:
                answer = self._others.identify(token, digest)
                if not (answer is None or isinstance(answer, Principal)):
                    return _awaited(exchange, answer)
                found = answer
            exchange.principal = _valid(found)
        except Refusal:
            raise
        except Exception as error:
            raise _unavailable() from error
        return None

    def _is_admins(self, path: str) -> bool:
        return path in self._admin or path.startswith(self._below_admin)

    def _listed(self, path: str, within: str) -> str:
        """A path in full or as the routes of a mounted app have it: either may be listed, and what is listed for
        administrators is theirs.
        """
        if self._is_admins(within):
            return within
        return path if path in self._public or self._is_admins(path) else within

    def _administrator(self, exchange: Exchange) -> Principal:
        given = exchange.headers.get(b"x-admin-api-key")
        if given is None:
            principal = _valid(self._keys.find(sha256(_token(exchange)).digest()))
            if not principal.admin:
                msg = "this needs the admin key: send it as `X-Admin-API-Key: KEY`"
                raise Forbidden(msg, code="admin_required")
            return principal
        if self._admin_digest is None or not hmac.compare_digest(sha256(given).digest(), self._admin_digest):
            msg = "the admin key is not valid"
            raise Unauthenticated(msg, code="invalid_admin_key")
        return Principal(id="admin", name="admin", admin=True)


async def _awaited(exchange: Exchange, answer: Awaitable[Principal | None]) -> None:
    try:
        exchange.principal = _valid(await answer)
    except Refusal:
        raise
    except Exception as error:
        raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("authentication is not available", code="auth_unavailable")


def bearer(exchange: Exchange) -> bytes | None:
    """The key, where it is given as nearly everybody gives it; None: there may be more to say."""
    headers = exchange.headers
    given = headers.get(b"authorization", b"")
    if given[:7] == b"Bearer " and b"x-api-key" not in headers and not exchange.has_repeated_headers:
        return given[7:].strip() or None
    return None


def _token(exchange: Exchange) -> bytes:
    token = bearer(exchange) or _credential(exchange)
    if token is None:
        msg = "no API key was given: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`"
        raise Unauthenticated(msg)
    return token


def _valid(principal: Principal | None) -> Principal:
    """The principal, if there is one and its time is not over. Raises Unauthenticated."""
    if principal is None:
        msg = "the API key is not known or was revoked"
        raise Unauthenticated(msg)
    if principal.expires_at is not None and time() >= principal.expires_at:
        msg = "the API key has expired"
        raise Unauthenticated(msg)
    return principal


def _credential(exchange: Exchange) -> bytes | None:
    """The caller's key. Two different ones are refused: which of them was checked would be a matter of taste."""
    headers = exchange.headers
    if exchange.has_repeated_headers:
        given = [(name, value) for name, value in exchange.scope["headers"] if name in _CREDENTIALS]
    else:
        given = [(name, headers[name]) for name in _CREDENTIALS if name in headers]
    found: bytes | None = None
    for name, value in given:
        token = value
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                continue
        token = token.strip()
        if not token or (found is not None and found != token):
            msg = "the API keys in this request are empty or contradict each other"
            raise Unauthenticated(msg)
        found = token
    return found


class AuthMiddleware(StageMiddleware):
    """Lets a request or the handshake of a WebSocket in if its key is known, else answers 401 or closes it (1008, which
    servers tell as 403); paths in `public` need none.

    `admin` lists path prefixes that need the admin key (`X-Admin-API-Key`) or a principal with `admin` set. The
    principal is at `scope["tollhouse"].principal`. In an app that is mounted, paths are those of its own routes; with
    the mount's path before them they count as well.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys | Mapping[str, Principal] | Collection[str],
        public: Collection[str] = (),
        admin: Collection[str] = (),
        admin_key: str | None = None,
        others: Identities | None = None,
    ) -> None:
        source = StaticKeys(keys) if isinstance(keys, Collection) else keys
        super().__init__(app, AuthStage(source, public=public, admin=admin, admin_key=admin_key, others=others))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await super().__call__(scope, receive, send)
            return
        exchange = exchange_of(scope)
        if exchange is None:
            exchange = scope[SCOPE_KEY] = Exchange(scope, receive, send)
        try:
            pending = self.stage.enter(exchange)
            if pending is not None:
                await pending
        except Refusal as refusal:
            await receive()  # `websocket.connect`, which is answered
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
            return
        await self.app(scope, receive, send)
