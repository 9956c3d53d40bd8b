from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tollhouse.gateway.cli import cli
from tollhouse.gateway.scan import parse_policy

EMAIL = "kim.doe@example.com"


@pytest.fixture
def run():
    def invoke(*args, given=b""):
        return CliRunner().invoke(cli, ["scan", *args], input=given)

    return invoke


def test_a_text_passes_redacted_and_findings_are_reported_apart(run):
    result = run(given=f"é {EMAIL}\n".encode())
    assert (result.exit_code, result.stdout) == (0, "é <EMAIL_ADDRESS>\n")
    assert result.stderr == f"2-{2 + len(EMAIL)} EMAIL_ADDRESS email 1 redact\nTRANSFORMED: 1 EMAIL_ADDRESS\n"


def test_a_blocked_text_fails(run):
    result = run("--policy", "pii=block", given=f"to {EMAIL}, please".encode())
    assert (result.exit_code, result.stdout) == (1, "to ")
    assert result.stderr.endswith("BLOCKED: 1 EMAIL_ADDRESS\n")


def test_a_text_is_found_over_the_borders_of_what_is_read_at_once(run, tmp_path):
    file = tmp_path / "large.txt"
    text = "ä" * 32_764 + f" {EMAIL} " + "b" * 70_000
    file.write_text(text)
    result = run(str(file))
    assert result.stdout == text.replace(EMAIL, "<EMAIL_ADDRESS>")


def test_each_line_of_json_has_its_own_answer(run):
    lines = [{"id": 7, "text": f"to {EMAIL}"}, {"text": "plain"}, {"id": "x", "text": "\ud800", "more": 1}]
    given = "\n\n".join(map(json.dumps, lines)).encode()
    result = run("--jsonl", "-", given=given)
    assert (result.exit_code, result.stderr) == (0, "")
    found = {"type": "EMAIL_ADDRESS", "rule": "email", "start": 3, "end": 3 + len(EMAIL), "score": 1.0}
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"id": 7, "decision": "TRANSFORMED", "findings": [found], "redacted": "to <EMAIL_ADDRESS>"},
        {"id": None, "decision": "ALLOWED", "findings": [], "redacted": "plain"},
        {"id": "x", "decision": "ALLOWED", "findings": [], "redacted": "\ud800"},
    ]


def test_a_blocked_record_is_an_answer_and_no_failure(run):
    result = run("--jsonl", "--policy", "EMAIL_ADDRESS=block", given=b'{"text": "%b"}' % EMAIL.encode())
    assert (result.exit_code, json.loads(result.stdout)["decision"]) == (0, "BLOCKED")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "is not JSON"),
        (b'{"text": 5}', "needs an object with a string `text`"),
        (b"[]", "needs an object"),
        (b'{"text": "\xff"}', "is not UTF-8"),
        (b"[" * 200_000, "nested too deep"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_after_the_answers_before_it(run, line, reason):
    result = run("--jsonl", given=b'{"text": "fine"}\n' + line)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "standard input: line 2: " in result.stderr
    assert reason in result.stderr


def test_text_that_is_not_utf8_is_refused(run):
    result = run(given=b"caf\xe9 ")
    assert (result.exit_code, "not UTF-8" in result.stderr) == (1, True)


def test_rules_come_from_files(run, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'family = "secrets"\n[[rule]]\nid = "acme"\ntype = "SECRET"\nliterals = ["acme_"]\nregex = "acme_[0-9]{4}"\n'
    )
    result = run("--rules", str(file), "--policy", "acme=flag", given=b"acme_1234")
    assert (result.stdout, "SECRET acme" in result.stderr) == ("acme_1234", True)
    file.write_text('family = "secrets"\n[[rule]]\nid = "acme"\nliterals = ["acme_"]\nregex = "("\n')
    result = run("--rules", str(file), given=b"")
    assert (result.exit_code, "error: rule acme: " in result.stderr) == (1, True)


@pytest.mark.parametrize("args", [["--policy", "pii"], ["no-such-file"], ["--polcy", "x"]])
def test_wrong_usage(run, args):
    assert run(*args).exit_code == 2


def test_a_policy_names_families_types_and_rules():
    assert parse_policy("pii=redact, EMAIL_ADDRESS=allow,github-pat = flag,") == {
        "pii": "redact",
        "types": {"EMAIL_ADDRESS": "allow"},
        "rules": {"github-pat": "flag"},
    }
