"""Who the holder of a token is, of which the gateway itself knows nothing: token introspection (RFC 7662)."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from tollhouse.gateway.neighbours.away import Away
from tollhouse.gateway.neighbours.cache import Cache
from tollhouse.middlewares.auth import PREFIX, Principal
from tollhouse.middlewares.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.client import Client, Reply

MOST_TOKEN = 8192  # bytes
_MOST_NAME = 150
_FORM = "application/x-www-form-urlencoded"
_OWN = PREFIX.encode()


class Iam:
    """Answers are kept for ttl_s, "no" for negative_ttl_s.

    A token that is revoked goes on for at most ttl_s, and, while the service fails, at most stale_s, both counted from
    the question. A key of our own kind is never sent out.
    """

    def __init__(self, client: Client, settings: ServiceSettings) -> None:
        self._client = client
        self.cache: Cache[bytes, Principal | None] = Cache(
            ttl_s=settings.ttl_s, stale_s=settings.stale_s, negative_ttl_s=settings.negative_ttl_s
        )

    def identify(self, token: bytes, digest: bytes) -> Principal | Awaitable[Principal | None] | None:
        """See `Identities`."""
        if token.startswith(_OWN) or len(token) > MOST_TOKEN:
            return None
        found = self.cache.fresh(digest)
        return found[0] if found is not None else self._asked(token, digest)

    async def _asked(self, token: bytes, digest: bytes) -> Principal | None:
        try:
            return await self.cache.get(digest, lambda: self._introspect(token))
        except Away:
            msg = "who holds this key cannot be found out at the moment"
            headers = [(b"retry-after", b"1")]
            raise Unavailable(msg, code="auth_unavailable", retry=True, headers=headers) from None

    async def _introspect(self, token: bytes) -> Principal | None:
        body = b"token=" + quote_from_bytes(token, safe="").encode("ascii")
        return await self._client.ask("POST", "/introspect", _principal, body=body, content_type=_FORM)


def _principal(reply: Reply) -> Principal | None:
    answer = reply.json
    if not isinstance(answer, dict) or not isinstance(answer["active"], bool):
        raise ValueError  # noqa: TRY004 - of the answer, not of a call
    if not answer["active"]:
        return None
    expires_at = answer.get("exp")
    if expires_at is not None and (isinstance(expires_at, bool) or not isinstance(expires_at, (int, float))):
        raise ValueError
    if expires_at is not None and expires_at <= time():
        return None
    return principal_of("iam", answer, {"user": "sub", "team": "team", "tenant": "tenant", "models": "models"})


def principal_of(kind: str, claims: dict[str, Any], names: dict[str, str]) -> Principal:
    """A caller that others vouch for; never an administrator. Raises ValueError for claims of the wrong shape.

    names: which claim says what. The subject names the caller; a dot in a name leads into an object.
    """
    subject = _name(claims.get("sub"))
    if subject is None:
        raise ValueError
    user = _name(_claim(claims, names["user"]))
    expires_at = claims.get("exp")
    return Principal(
        id=f"{kind}:{subject}",
        name=subject,
        team=_name(_claim(claims, names["team"])),
        user=user,
        tenant=_name(_claim(claims, names["tenant"])),
        models=_models(_claim(claims, names["models"])),
        expires_at=None if expires_at is None else float(expires_at),
    )


def _claim(claims: dict[str, Any], path: str) -> Any:
    if path in claims:  # namespaced claims are URLs, which have dots
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _name(value: Any) -> str | None:
    """Of anything that limits, ledger and logs are to know it by."""
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > _MOST_NAME or not value.isprintable():
        raise ValueError
    return value


def _models(value: Any) -> tuple[str, ...] | None:
    """None: all. A list, or names with spaces between them as in `scope`."""
    if value is None:
        return None
    listed = value.split() if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise ValueError  # noqa: TRY004 - of the answer, not of a call
    return tuple(name for name in map(_name, listed) if name is not None)
