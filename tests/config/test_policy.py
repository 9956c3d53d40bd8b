from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from tests.support.policies import ANYTHING, section, sign, written
from tollhouse.config.loader import ConfigError, load_mapping
from tollhouse.config.policy import explained, problems_of
from tollhouse.config.signing import BadKey, PublicKey, Signer
from tollhouse.gateway.cli import cli

if TYPE_CHECKING:
    from tollhouse.config.settings import PolicySettings


def policy_of(given: dict[str, Any], **sections: Any) -> PolicySettings:
    found = load_mapping({"policy": given, **sections}, {}).policy
    assert found is not None
    return found


def refused(given: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        load_mapping({"policy": given}, {})
    return str(error.value)


def test_a_signed_policy_is_taken_with_its_version_digest_and_signer(tmp_path):
    given = section(tmp_path, ANYTHING)
    found = policy_of(given)
    assert (found.version, len(found.digest)) == ("v1", 64)
    assert found.signer == PublicKey(given["keys"][0]).id
    assert [rule["id"] for rule in found.rules] == ["all"]


def _unsigned(path: Path) -> None:
    path.with_name("policy.yaml.sig").unlink()


def _edited(path: Path) -> None:
    path.write_text(path.read_text() + "# and one word more\n")


def _by_another_key(path: Path) -> None:
    (path.parent / "policy.pem").unlink()
    sign(path)


def _malformed(path: Path) -> None:
    path.with_name("policy.yaml.sig").write_text("ed25519 short")


def _of_something_else(path: Path) -> None:
    own = Signer.read(path.parent / "policy.pem")
    path.with_name("policy.yaml.sig").write_text(own.sign(b"another purpose\n", path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_unsigned, "is not signed"),
        (_edited, "is not what the key"),
        (_by_another_key, "signed by a key that is not trusted here"),
        (_malformed, "the signature is malformed"),
        (_of_something_else, "is not what the key"),
    ],
)
def test_a_policy_that_is_not_signed_as_it_is_is_refused(tmp_path, change, why):
    given = section(tmp_path, ANYTHING)
    change(tmp_path / "policy.yaml")
    assert why in refused(given)


def test_a_shadow_must_be_signed_as_well(tmp_path):
    given = section(tmp_path, ANYTHING, shadow=[ANYTHING])
    assert policy_of(given).shadows[0].version == "v2"
    (tmp_path / "shadow.yaml.sig").unlink()
    assert "policy.shadow[0]: " in refused(given)


def test_without_keys_nobodys_signature_counts(tmp_path):
    given = section(tmp_path, ANYTHING)
    assert "policy.keys: are missing" in refused({"file": given["file"]})
    assert "is no public key" in refused({"file": given["file"], "keys": ["ed25519:abc"]})


def test_no_signature_is_needed_where_that_is_said_outright(tmp_path):
    path = written(tmp_path, ANYTHING)
    assert policy_of({"file": str(path), "require_signature": False}).signer == ""
    warnings = load_mapping({"policy": {"file": str(path), "require_signature": False}}, {}).warnings
    assert any("need no signature" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("rule", "line", "where", "why"),
    [
        ({"modles": ["gpt"]}, 6, "rules[0].modles", "is not known here"),
        ({"effect": "maybe"}, 5, "rules[0].effect", "'allow' or 'deny'"),
        ({"models": ["gpt*4"]}, 7, "rules[0].models[0]", "pattern"),
        ({"routes": ["v1/chat"]}, 7, "rules[0].routes[0]", "pattern"),
        ({"caps": {"max_tokens": 0}}, 7, "rules[0].caps.max_tokens", "greater than or equal to 1"),
        ({"caps": {"max_cost_usd": "-1"}}, 7, "rules[0].caps.max_cost_usd", "greater than 0"),
        ({"findings": {"request": {"pii": "eat"}}}, 8, "rules[0].findings.request.pii", "'allow'"),
        ({"findings": {"request": {"pi": "redact"}}}, 8, "rules[0].findings.request.pi", "is not known here"),
        ({"findings": {"request": {"types": {"NOTHING": "block"}}}}, 9, "rules[0].findings.request.types", "NOTHING"),
        ({"obligations": {"headers": {"x-gateway-decision": "ALLOWED"}}}, 8, "rules[0].obligations.headers", "itself"),
        ({"obligations": {"headers": {"x-a": "b\r\nx-c: d"}}}, 8, "rules[0].obligations.headers", "pattern"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_with_its_place_and_line(tmp_path, rule, line, where, why):
    given = section(tmp_path, {"id": "a", "effect": "allow"} | rule)
    message = refused(given)
    assert f"policy.yaml:{line}: {where}" in message
    assert why in message


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("policy: 1\nversion: a\nversion: b\nrules: [{id: all, effect: allow}]\n")
    assert "policy.yaml:3: version: this key stands twice" in refused({"file": str(path), "keys": [sign(path)]})


def test_rules_that_have_no_turn_are_named(tmp_path):
    narrow = {"id": "late", "effect": "deny", "models": ["gpt-4*"], "tenants": ["acme"]}
    given = section(tmp_path, {"id": "first", "effect": "allow", "models": ["gpt-*"]}, narrow)
    settings = load_mapping({"policy": given}, {})
    assert any("has no turn: rule first (rules[0]) fits first" in warning for warning in settings.warnings)
    given = section(tmp_path, ANYTHING, ANYTHING)
    assert "the id all is there twice" in refused(given)


def test_the_whole_policy_is_told_in_words(tmp_path):
    caps = {"max_tokens": 500, "max_cost_usd": "0.05", "over": "refuse"}
    first = {
        "id": "acme",
        "effect": "allow",
        "tenants": ["acme"],
        "tools": ["search_*"],
        "findings": {"request": {"pii": "redact", "types": {"US_SSN": "block"}}},
        "caps": caps,
        "obligations": {"receipt": True, "headers": {"x-class": "internal"}},
    }
    head, one, two = explained(policy_of(section(tmp_path, first, {"id": "no", "effect": "deny"})))
    assert "v1" in head
    assert "first of 2 rules" in head
    assert one == (
        "  1. acme: allow tenants acme; tools search_*; request pii=redact US_SSN=block; at most 500 tokens; "
        "at most 0.05 USD; more is refused; only with a receipt; x-class: internal"
    )
    assert two == "  2. no: deny everybody everything"


def test_the_commands_make_a_key_sign_and_explain(tmp_path):
    def run(*args: str) -> Any:
        return CliRunner(env={"LLM_GATEWAY_STATE_DIR": str(tmp_path)}).invoke(cli, args)

    key, path, config = tmp_path / "k.pem", tmp_path / "p.yaml", tmp_path / "config.yaml"
    made = run("policy", "keygen", str(key))
    assert made.exit_code == 0, made.output
    assert key.stat().st_mode & 0o777 == 0o600
    assert run("policy", "keygen", str(key)).exit_code == 1
    written(tmp_path, {"id": "a", "effect": "allow", "models": ["m"], "tools": ["t"]}, name="p.yaml")
    assert run("policy", "sign", str(path), "--key", str(key)).exit_code == 0
    config.write_text(yaml.safe_dump({"policy": {"file": "p.yaml", "keys": [made.output.strip()]}}))
    valid = run("validate", str(config))
    assert (valid.exit_code, "1. a: allow models m; tools t" in valid.output) == (0, True), valid.output
    for args, code, said in [
        (("--model", "m"), 0, "policy v1: ALLOWED rule=a"),
        (("--model", "m", "--tool", "t"), 0, "ALLOWED"),
        (("--model", "m", "--tool", "u"), 1, "the tool 'u' is not among"),
        (("--model", "n", "--tenant", "x"), 1, "policy v1: BLOCKED no-rule"),
    ]:
        found = run("policy", "explain", str(config), *args)
        assert (found.exit_code, said in found.output) == (code, True), found.output


def test_the_example_of_the_page_is_a_policy() -> None:
    page = Path(__file__).parents[2] / "docs" / "policy.md"
    [example] = [part for part in page.read_text().split("```") if part.startswith("yaml\n# policy.yaml")]
    assert problems_of(example.removeprefix("yaml\n").encode(), "policy.yaml") == []


def test_a_wrong_policy_is_not_signed(tmp_path):
    key, path = tmp_path / "k.pem", tmp_path / "p.yaml"
    Signer.make(key)
    path.write_text("policy: 1\nversion: a\nrules: []\n")
    result = CliRunner().invoke(cli, ["policy", "sign", str(path), "--key", str(key)])
    assert (result.exit_code, "rules" in result.output) == (1, True)
    assert not (tmp_path / "p.yaml.sig").exists()


def test_a_key_never_shows_itself(tmp_path):
    own = Signer.make(tmp_path / "k.pem")
    secret = "".join((tmp_path / "k.pem").read_text().splitlines()[1:-1])
    assert secret not in repr(own) + str(vars(own))
    with pytest.raises(BadKey, match="no Ed25519 key"):
        Signer.read(_foreign(tmp_path))


def _foreign(folder: Path) -> Path:
    path = folder / "foreign.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return path
