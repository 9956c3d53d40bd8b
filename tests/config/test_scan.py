from __future__ import annotations

import pickle

import pytest

from tollhouse.config.loader import ConfigError, check, load, load_mapping

RULE = {"id": "acme", "family": "secrets", "type": "SECRET", "literals": ["acme_"], "regex": "acme_[0-9]{4}"}
TOML = 'family = "secrets"\n[[rule]]\nid = "other"\ntype = "SECRET"\nliterals = ["other_"]\nregex = "other_[0-9]{4}"\n'


def test_nothing_is_scanned_unless_it_is_asked_for():
    assert load_mapping({}, {}).scan is None


def test_a_section_is_policies_and_rules(tmp_path):
    (tmp_path / "mine.toml").write_text(TOML)
    (tmp_path / "more.yaml").write_text(
        "family: pii\nrules: [{id: staff, type: STAFF, literals: [st-], regex: 'st-[0-9]{5}'}]\n"
    )
    path = tmp_path / "config.yaml"
    path.write_text(
        "scan:\n"
        "  request: {pii: redact, secrets: block, injection: off,\n"
        "            types: {EMAIL_ADDRESS: pseudonymise}, rules: {acme: flag}}\n"
        "  response: {types: {STAFF: allow}}\n"
        "  rules: [{id: acme, family: secrets, type: SECRET, literals: [acme_], regex: 'acme_[0-9]{4}'}]\n"
        "  rule_files: [mine.toml, more.yaml]\n"
    )
    assert check(str(path), {}) == []
    scan = load(str(path), {}).scan
    assert scan is not None
    assert scan.request == {
        "pii": "redact",
        "secrets": "block",
        "injection": "allow",
        "types": {"EMAIL_ADDRESS": "pseudonymise"},
        "rules": {"acme": "flag"},
    }
    assert scan.response == {"types": {"STAFF": "allow"}}
    assert [rule["id"] for rule in scan.rules] == ["acme", "other", "staff"]
    assert pickle.loads(pickle.dumps(scan)) == scan


def test_pseudonyms_have_a_key_that_all_workers_share_and_nobody_sees():
    section = {"request": {"pii": "pseudonymise"}}
    first, second = (load_mapping({"scan": section}, {}).scan for _ in range(2))
    assert first is not None and second is not None
    assert first.pseudonym_key != second.pseudonym_key
    given = load_mapping({"scan": section | {"pseudonym_key": "k" * 20}}, {}).scan
    assert given is not None and given.pseudonym_key is not None
    assert given.pseudonym_key.reveal() == "k" * 20
    assert "kkkk" not in repr(given)


def test_everything_wrong_is_told_where_it_stands(tmp_path):
    (tmp_path / "bad.toml").write_text("family = [")
    (tmp_path / "list.yaml").write_text("- a\n")
    path = tmp_path / "config.yaml"
    path.write_text(
        "scan:\n"
        "  request: {pii: shred}\n"
        "  response: {types: {NO_SUCH: block}}\n"
        "  rules:\n"
        "  - {id: acme, family: secrets, literals: [acme_], regex: '('}\n"
        "  - {id: typo, family: secrets, regexp: x}\n"
        "  rule_files:\n"
        "  - bad.toml\n"
        "  - list.yaml\n"
        "  - missing.toml\n"
        "  pseudonym_key: short\n"
        "  colour: red\n"
    )
    found = {(problem.path, problem.line): problem.severity for problem in check(str(path), {})}
    assert found == {
        ("scan.request.pii", 2): "error",
        ("scan.response.types.NO_SUCH", 3): "error",
        ("scan.rules[0]", 5): "error",
        ("scan.rules[1]", 6): "error",
        ("scan.rule_files[0]", 8): "error",
        ("scan.rule_files[1]", 9): "error",
        ("scan.rule_files[2]", 10): "error",
        ("scan.pseudonym_key", 11): "error",
        ("scan.colour", 12): "warning",
    }


def test_a_rule_of_a_file_is_refused_by_name_where_the_file_is_named(tmp_path):
    (tmp_path / "mine.toml").write_text(TOML.replace("[0-9]{4}", "("))
    with pytest.raises(ConfigError) as caught:
        load_mapping({"scan": {"request": {}, "rule_files": [str(tmp_path / "mine.toml")]}}, {})
    (problem,) = caught.value.problems
    assert (problem.path, "rule other: " in problem.message) == ("scan.rule_files[0]", True)


def test_a_section_without_a_direction_is_a_warning():
    settings = load_mapping({"scan": {"rules": [RULE]}}, {})
    assert settings.scan is None
    assert any("nothing is scanned" in warning for warning in settings.warnings)
