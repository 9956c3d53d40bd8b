"""An OpenID issuer: one signing key at a time, which can be changed, and tokens for whoever asks."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), lambda key: ECAlgorithm.to_jwk(key, as_dict=True)),
    "RS256": (
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        lambda key: RSAAlgorithm.to_jwk(key, as_dict=True),
    ),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, lambda key: OKPAlgorithm.to_jwk(key, as_dict=True)),
}


class Issuer:
    """Only the present key is published: what others have signed does not hold any more."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.rotate(algorithm)

    def rotate(self, algorithm: str) -> None:
        """Raises KeyError for an algorithm that it does not know."""
        make, public = _KINDS[algorithm]
        self.algorithm, self.key_id, self.key = algorithm, uuid.uuid4().hex, make()
        self.published: list[dict[str, Any]] = [self._jwk(public)]

    def _jwk(self, public: Callable[[Any], Any]) -> dict[str, Any]:
        made = public(self.key.public_key())
        jwk: dict[str, Any] = made if isinstance(made, dict) else json.loads(made)
        return {**jwk, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

    def token(self, issuer: str, claims: dict[str, Any]) -> str:
        """A token for five minutes, unless the claims say otherwise."""
        now = int(time.time())
        given = {"iss": issuer, "aud": "tollhouse", "sub": "kim", "iat": now, "exp": now + 300} | claims
        return jwt.encode(given, self.key, algorithm=self.algorithm, headers={"kid": self.key_id})
