from __future__ import annotations

import hmac

import pytest

from tollhouse.middlewares.stores.keyed_digest import KeyedDigest


@pytest.mark.parametrize("key", [b"k", bytes(range(32)), b"x" * 64])
def test_it_is_what_the_library_makes_of_it(key):
    for content in (b"", b"a", b"b" * 1000):
        assert KeyedDigest(key).of(content) == hmac.digest(key, content, "sha256").hex()


@pytest.mark.parametrize("key", [b"", b"x" * 65])
def test_a_key_of_another_length_is_refused(key):
    with pytest.raises(ValueError, match="64 bytes"):
        KeyedDigest(key)
