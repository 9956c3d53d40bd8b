from __future__ import annotations

import pytest

from tollhouse.config.loader import ConfigError, load_mapping
from tollhouse.config.policy_fetched import BadDocument, is_older, read
from tollhouse.config.settings import PolicyTrust
from tollhouse.config.signing import PublicKey, Signer

AT = {"POLICY_SERVICE_URL": "http://policy"}


@pytest.mark.parametrize(
    ("older", "newer"), [("9", "10"), ("2026-9", "2026-10"), ("v1", "v1.1"), ("2026-11-21.1", "2026-11-21.2")]
)
def test_numbers_in_versions_count_as_numbers(older, newer):
    assert is_older(older, newer)
    assert not is_older(newer, older)
    assert not is_older(older, older)


def test_where_no_signature_is_needed_any_valid_document_is_read():
    content = b'{"policy": 1, "version": "1", "rules": [{"id": "all", "effect": "allow"}]}'
    trust = PolicyTrust(needs_signature=False)
    assert read(content, trust, ()).signer == ""
    assert read(b"ed25519 a b\n" + content, trust, ()) == read(content, trust, ())
    with pytest.raises(BadDocument, match="no valid policy"):
        read(b"{", trust, ())


def test_the_environment_says_whose_signature_counts_before_the_file_does(tmp_path):
    keys = [Signer.make(tmp_path / name).public.text for name in ("a", "b")]
    section = {"policy": {"keys": keys[:1], "allow_older": True}}
    assert load_mapping(section, AT).policy_trust == PolicyTrust((keys[0],), allows_older=True)
    trusted = load_mapping({}, AT | {"POLICY_SERVICE_KEYS": ",".join(keys)}).policy_trust
    assert [PublicKey(key).text for key in trusted.keys] == keys
    with pytest.raises(ConfigError, match="POLICY_SERVICE_KEYS"):
        load_mapping({}, AT | {"POLICY_SERVICE_KEYS": "ed25519:x"})


def test_a_service_without_keys_is_warned_of_and_a_section_without_file_or_service_refused():
    assert any("policy.keys" in warning for warning in load_mapping({}, AT).warnings)
    with pytest.raises(ConfigError, match=r"policy\.file: is missing"):
        load_mapping({"policy": {"keys": []}}, {})
