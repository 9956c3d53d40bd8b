"""Signatures beside another implementation (OpenSSL's, by `cryptography`), and what earlier versions have signed."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as wire
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tollhouse._native import SigningKey, verify_ed25519
from tollhouse.config.signing import HEAD, POLICY, BadKey, BadSignature, PublicKey, Signer, verify

# RFC 8410, 10.3: a key that everybody knows.
KEY = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
PUBLIC = "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
# Signed on 2026-11-22 by the version of the gateway that used `cryptography`.
DOCUMENT = b'policy: 1\nversion: "1"\nrules: [{id: everybody, effect: allow, tenants: ["*"]}]\n'
DOCUMENT_LINE = (
    "ed25519 e744c0791320c328 7h6oVrJvh4MybRuJB3lvcuykAiD1AgbCJ40PELiD7-1hcDb_HvT4zAa7_RW2or9fOwH4S2rHzRLoWomlXvKqBg"
)
HEAD_LINE = (
    "ed25519 e744c0791320c328 916KDpblMmcMZyj02cnRp0Ol_YsibuN5Ut8kwRo9ay1n8r-XI06VZmiO3y6Cfk9vhIb-71GX8l2_brrjegRdAA"
)


@pytest.fixture
def signer(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text(KEY)
    return Signer.read(path)


def test_what_earlier_versions_have_signed_is_signed_the_same_today(signer):
    assert signer.public.text == PUBLIC
    assert signer.sign(POLICY, DOCUMENT) == DOCUMENT_LINE
    assert signer.sign(HEAD, b"some head") == HEAD_LINE
    trusted = [PublicKey(PUBLIC)]
    assert verify(POLICY, DOCUMENT, DOCUMENT_LINE, trusted).text == PUBLIC
    assert verify(HEAD, b"some head", HEAD_LINE, trusted).text == PUBLIC


def test_a_signature_for_one_purpose_is_none_for_another():
    with pytest.raises(BadSignature, match="is not what the key"):
        verify(HEAD, DOCUMENT, DOCUMENT_LINE, [PublicKey(PUBLIC)])


def test_each_implementation_verifies_what_the_other_has_signed():
    for size in (0, 1, 31, 32, 33, 64, 1000, 100_000):
        message = bytes(i * 7 % 256 for i in range(size))
        ours, theirs = SigningKey.generate(), ed25519.Ed25519PrivateKey.generate()
        judge = ed25519.Ed25519PublicKey.from_public_bytes(ours.public)
        judge.verify(ours.sign(message), message)
        with pytest.raises(InvalidSignature):
            judge.verify(ours.sign(message + b"."), message)
        public, signature = theirs.public_key().public_bytes_raw(), theirs.sign(message)
        assert verify_ed25519(public, signature, message)
        assert not verify_ed25519(public, signature, message + b".")
        assert not verify_ed25519(ours.public, signature, message)


def test_each_implementation_reads_the_keys_of_the_other(tmp_path):
    ours = Signer.make(tmp_path / "ours.pem")
    read = wire.load_pem_private_key((tmp_path / "ours.pem").read_bytes(), password=None)
    assert isinstance(read, ed25519.Ed25519PrivateKey)
    assert PublicKey(ours.public.text).raw == read.public_key().public_bytes_raw()

    theirs = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "theirs.pem"
    path.write_bytes(theirs.private_bytes(wire.Encoding.PEM, wire.PrivateFormat.PKCS8, wire.NoEncryption()))
    assert Signer.read(path).public.raw == theirs.public_key().public_bytes_raw()


def test_a_file_without_such_a_key_is_refused_and_not_quoted(tmp_path):
    def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, secret: bytes = b"") -> bytes:
        how = wire.BestAvailableEncryption(secret) if secret else wire.NoEncryption()
        return key.private_bytes(wire.Encoding.PEM, wire.PrivateFormat.PKCS8, how)

    own = ed25519.Ed25519PrivateKey.generate()
    public = own.public_key().public_bytes(wire.Encoding.PEM, wire.PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "key.pem"
    for content in (b"", b"\0" * 100_000, public, pem(own, b"password"), pem(ec.generate_private_key(ec.SECP256R1()))):
        path.write_bytes(content)
        with pytest.raises(BadKey, match=r"^\S+key\.pem holds no Ed25519 key in PEM$"):
            Signer.read(path)
    with pytest.raises(FileNotFoundError):
        Signer.read(tmp_path / "none.pem")


def test_a_new_key_is_for_its_owner_only_and_replaces_none(tmp_path):
    path = tmp_path / "key.pem"
    made = Signer.make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Signer.make(path)
    assert Signer.read(path).public.text == made.public.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_shows_nothing_of_itself():
    key = SigningKey.generate()
    shown = f"{key!r} {key} {vars(type(key)).keys()}"
    assert "SigningKey(***)" in shown
    assert "PRIVATE" not in shown
    with pytest.raises(ValueError, match=r"^no Ed25519 key in PEM$"):
        SigningKey.from_pem(bytearray(b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----"))
