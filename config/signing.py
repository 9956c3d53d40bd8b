"""Ed25519 (RFC 8032): keys, and signatures over what stands in a file, each for one purpose.

Public keys are written `ed25519:` and 43 characters of unpadded base64url; private ones are PEM files (PKCS#8), as
OpenSSL makes them. A signature is one line: `ed25519`, the id of its key (16 hexadecimal digits of the SHA-256 of the
public one) and 86 characters of base64url. What is signed begins with its purpose, so that nothing that was signed as a
receipt can be shown as a policy.
"""

from __future__ import annotations

import base64
import binascii
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from tollhouse._native import SigningKey, verify_ed25519

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

POLICY = b"tollhouse policy v1\n"
HEAD = b"tollhouse receipts head v1\n"
_PREFIX = "ed25519:"
_MOST = 64 * 1024  # bytes of a file with a key


class BadKey(ValueError):
    """A key that cannot be used; the message says why and holds nothing of it."""


class BadSignature(ValueError):
    """What was signed cannot be trusted; the message says why."""


class PublicKey:
    """As it is written in a configuration. Raises BadKey."""

    def __init__(self, text: str) -> None:
        try:
            self.raw = _decoded(text.removeprefix(_PREFIX))
        except ValueError:
            self.raw = b""
        if not text.startswith(_PREFIX) or len(self.raw) != 32:
            msg = "is no public key: it must be ed25519: and 43 characters of base64url"
            raise BadKey(msg)
        self.text = text
        self.id = sha256(self.raw).hexdigest()[:16]

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        return verify_ed25519(self.raw, signature, signed)


class Signer:
    """Signs with a private key; does not show it."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public = PublicKey(_PREFIX + _encoded(key.public))

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Raises OSError, or BadKey for a file that holds no Ed25519 key."""
        pem = bytearray(_MOST)
        try:
            with path.open("rb", buffering=0) as file:
                file.readinto(pem)
            return cls(SigningKey.from_pem(pem))
        except ValueError:
            msg = f"{path} holds no Ed25519 key in PEM"
            raise BadKey(msg) from None
        finally:
            _wipe(pem)

    @classmethod
    def make(cls, path: Path) -> Signer:
        """A new key, in a file for its owner only. Raises FileExistsError rather than replace one, and OSError."""
        key = SigningKey.generate()
        pem = key.pem()
        # Whole or not at all: others may be about to read it.
        part = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb", buffering=0) as out:
                out.write(pem)
                os.fsync(out.fileno())
            os.link(part, path)
        finally:
            _wipe(pem)
            os.unlink(part)
        return cls(key)

    def sign(self, purpose: bytes, content: bytes) -> str:
        """The line that `verify` reads."""
        return f"ed25519 {self.public.id} {_encoded(self._key.sign(purpose + content))}"


def verify(purpose: bytes, content: bytes, line: str, keys: Iterable[PublicKey]) -> PublicKey:
    """The key that has signed. Raises BadSignature."""
    parts = line.split()
    if len(parts) != 3 or parts[0] != "ed25519":
        msg = "the signature is malformed: it must be `ed25519`, a key's id and the signature"
        raise BadSignature(msg)
    key = next((key for key in keys if key.id == parts[1]), None)
    if key is None:
        msg = f"is signed by a key that is not trusted here ({parts[1][:16]!a})"
        raise BadSignature(msg)
    try:
        signature = _decoded(parts[2])
    except ValueError:
        signature = b""
    if not key.verifies(signature, purpose + content):
        msg = f"is not what the key {key.id} has signed"
        raise BadSignature(msg)
    return key


def _wipe(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
