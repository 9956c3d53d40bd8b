"""Tokens of an OpenID provider (JWT: RFC 7519; what goes wrong with them: RFC 8725), checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
from jwt.exceptions import PyJWTError

from tollhouse.gateway.neighbours.iam import MOST_TOKEN, principal_of
from tollhouse.middlewares.errors import Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from jwt import PyJWK

    from tollhouse.config.neighbour_settings import JwtSettings
    from tollhouse.gateway.neighbours.keyset import KeySet
    from tollhouse.middlewares.auth import Principal

_REQUIRED = ["exp", "iss", "aud", "sub"]
_KEPT = 10_000
_TYPES = {"JWT", "AT+JWT", "APPLICATION/AT+JWT"}


class Tokens:
    """Of one issuer. A signature is checked once per token; the caller's stage looks at its end at every request."""

    def __init__(self, settings: JwtSettings, keys: KeySet) -> None:
        self._settings = settings
        self.keys = keys
        self._known: dict[bytes, Principal] = {}
        self._generation = -1

    @staticmethod
    def is_one(token: bytes) -> bool:
        """Whether it looks like one: three parts, the first of them an object."""
        return token.startswith(b"ey") and token.count(b".") == 2

    def identify(self, token: bytes, digest: bytes) -> Principal | Awaitable[Principal]:
        """See `Identities`. Raises Unauthenticated."""
        keys = self.keys
        if keys.generation != self._generation:
            self._known.clear()
            self._generation = keys.generation
        if not keys.is_current:
            return self._later(token, digest)
        found = self._known.get(digest)
        if found is not None:
            return found
        algorithm, key_id = self._head(token)
        key = keys.find(key_id, algorithm)
        return self._checked(token, digest, algorithm, key) if key is not None else self._later(token, digest)

    async def _later(self, token: bytes, digest: bytes) -> Principal:
        algorithm, key_id = self._head(token)
        await self.keys.look_again()
        if not self.keys.is_current:
            msg = "the keys that would tell whether this token is genuine cannot be fetched at the moment"
            headers = [(b"retry-after", b"1")]
            raise Unavailable(msg, code="auth_unavailable", retry=True, headers=headers)
        key = self.keys.find(key_id, algorithm)
        if key is None:
            raise _refused("is signed with a key that its issuer does not have")
        return self._checked(token, digest, algorithm, key)

    def _head(self, token: bytes) -> tuple[str, str | None]:
        """Algorithm and key, as the token says; both are only used to look up what is known to be right."""
        if len(token) > MOST_TOKEN:
            raise _refused("is too long")
        try:
            head: dict[str, Any] = jwt.get_unverified_header(token)
        except PyJWTError:
            raise _refused("is malformed") from None
        algorithm, key_id = head.get("alg"), head.get("kid")
        if algorithm not in self._settings.algorithms:
            raise _refused("is signed in a way that is not accepted")
        if "crit" in head or str(head.get("typ", "JWT")).upper() not in _TYPES:
            raise _refused("is of another kind than those that are accepted")
        return str(algorithm), None if key_id is None else str(key_id)

    def _checked(self, token: bytes, digest: bytes, algorithm: str, key: PyJWK) -> Principal:
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": _REQUIRED},
            )
            claims["exp"] = float(claims["exp"]) + settings.leeway_s
            principal = principal_of("jwt", claims, settings.claims)
        except PyJWTError as error:
            raise _refused(_REASONS.get(type(error).__name__, "is not genuine")) from None
        except (ValueError, TypeError, OverflowError):
            raise _refused("has claims that cannot be used") from None
        if len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[digest] = principal
        return principal


_REASONS = {
    "ExpiredSignatureError": "has expired",
    "ImmatureSignatureError": "does not hold yet",
    "InvalidIssuedAtError": "is of a time that is yet to come",
    "InvalidAudienceError": "is meant for somebody else",
    "InvalidIssuerError": "is of another issuer",
    "MissingRequiredClaimError": "lacks a claim that it needs: exp, iss, aud and sub",
}


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"the token {why}")
