"""The golden corpora: what must be refused or changed is, what must pass does, and a weaker policy is noticed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from scripts.golden_corpora import adversarial, benign, line_of
from tests.support.canaries import canaries
from tests.support.gateway import ROOT, environment
from tollhouse.gateway.cli import cli

pytestmark = pytest.mark.llm_gateway_security

FOLDER = ROOT / "docs/architecture/tests/golden/llm_gateway"
BENIGN, ADVERSARIAL = FOLDER / "benign_corpus.jsonl", FOLDER / "adversarial_corpus.jsonl"
FALSE_ALARMS = FOLDER / "false_alarms.jsonl"
CORPORA = [BENIGN, ADVERSARIAL]
WEAKENED = {
    "injections are let through": {"request": {"injection": "allow"}},
    "secrets are only flagged": {"request": {"secrets": "flag"}},
    "personal data is let through": {"request": {"pii": "allow"}},
    "requests are not scanned": {"response": {"pii": "redact"}},
    "one type is let through": {"request": {"types": {"EMAIL_ADDRESS": "allow"}}},
    "one rule is only flagged": {"request": {"rules": {"github-token": "flag"}}},
    "attacks are only flagged": {"request": {"types": {"INJECTION": "flag"}}},
}


def _entries(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _replay(corpus, out, *args):
    return CliRunner().invoke(cli, ["replay", str(corpus), str(out), *map(str, args)])


@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_entries_are_many_and_no_two_are_the_same(path):
    entries = _entries(path)
    assert len(entries) >= 400
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert len({json.dumps(entry["messages"]) for entry in entries}) == len(entries)
    assert all(list(entry) == ["id", "messages", "expected_decision", "tags"] for entry in entries)


def test_adversarial_entries_cover_what_they_should():
    entries = _entries(ADVERSARIAL)
    claimed = [entry for entry in entries if entry["expected_decision"] != "ALLOWED"]
    assert len(claimed) >= 400
    assert all(("missed" in entry["tags"]) == (entry["expected_decision"] == "ALLOWED") for entry in entries)
    tags = {tag for entry in claimed for tag in entry["tags"]}
    assert tags >= {"injection", "evasion", "tool-output", "multi-turn", "secret", "pii", "de", "zh", "ja", "ko", "ar"}


@pytest.mark.parametrize(("path", "made"), [(BENIGN, lambda: benign()[0]), (ADVERSARIAL, adversarial)])
def test_files_are_what_their_sources_make(path, made):
    assert path.read_text(encoding="utf-8") == "".join(map(line_of, made()))


@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_every_decision_is_the_expected_one(path, tmp_path):
    result = _replay(path, tmp_path / "out.jsonl", "--strict")
    assert result.exit_code == 0, result.stdout
    decisions = {record["id"]: record["decision"] for record in _entries(tmp_path / "out.jsonl")}
    assert decisions == {entry["id"]: entry["expected_decision"] for entry in _entries(path)}


def test_false_alarms_that_are_known_are_still_there(tmp_path):
    """One that is gone belongs to the benign corpus: take it out of scripts/golden/false_alarms.txt."""
    _replay(FALSE_ALARMS, tmp_path / "out.jsonl")
    assert {record["decision"] for record in _entries(tmp_path / "out.jsonl")} == {"BLOCKED"}


@pytest.mark.parametrize("scan", WEAKENED.values(), ids=WEAKENED)
def test_a_weaker_policy_fails_the_replay(scan, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"scan": scan}))
    result = _replay(ADVERSARIAL, tmp_path / "out.jsonl", "--config", tmp_path / "config.yaml")
    assert result.exit_code == 1
    assert "loosened: adv-" in result.stdout


def test_no_file_of_the_corpora_holds_a_token_as_it_is():
    """Hosts of repositories look for those, and rightly."""
    text = ADVERSARIAL.read_text(encoding="utf-8")
    for canary in [one for seed in (11, 12) for one in canaries(seed) if one.is_secret]:
        assert canary.text not in text, canary.kind


def test_the_script_of_the_runbook_runs_with_any_interpreter(tmp_path):
    corpus = tmp_path / "few.jsonl"
    corpus.write_text("".join(BENIGN.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    script = ROOT / "scripts/ci/replay_llm_gateway_corpus.py"
    bare = f"{sys.base_prefix}/bin/python3"
    command = [bare, script, corpus, tmp_path / "out.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "3 entries: 0 loosened, 0 tightened, 0 failed\n"), done.stderr
