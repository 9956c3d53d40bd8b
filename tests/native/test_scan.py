from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tollhouse
from tollhouse import Scanner

EMAIL = "kim.doe@example.com"
# Put together here, so that nothing in this repository looks like a credential.
TOKEN = "acme_" + "k9Qz" * 5
RULE = {
    "id": "acme-token",
    "family": "secrets",
    "type": "SECRET",
    "literals": ["acme_"],
    "regex": "acme_[0-9A-Za-z]{20}",
}


def spans(findings):
    return [(found.type, found.start, found.end, found.action) for found in findings]


def test_a_text_without_a_finding_comes_back_as_the_very_object():
    text = "nothing to see"
    result = Scanner().scan(text)
    assert (result.decision, result.findings) == ("ALLOWED", [])
    assert result.redacted is text


def test_what_is_found_is_told_by_type_rule_place_and_score_and_never_by_value():
    result = Scanner().scan(f"write to {EMAIL}!")
    assert result.decision == "TRANSFORMED"
    assert result.redacted == "write to <EMAIL_ADDRESS>!"
    (found,) = result.findings
    assert (found.type, found.rule, found.start, found.end, found.action) == ("EMAIL_ADDRESS", "email", 9, 28, "redact")
    assert 0 < found.score <= 1
    assert EMAIL not in repr(found) + repr(result)


def test_positions_count_characters():
    text = f"é😀\u0301 {EMAIL} ü {EMAIL}"
    findings = Scanner().scan(text).findings
    assert [text[found.start : found.end] for found in findings] == [EMAIL, EMAIL]


@pytest.mark.parametrize("action", ["allow", "flag", "redact", "block"])
def test_actions_decide_what_passes(action):
    text = f"to {EMAIL}."
    result = Scanner({"pii": action}).scan(text)
    expected = {
        "allow": ("ALLOWED", text, 0),
        "flag": ("ALLOWED", text, 1),
        "redact": ("TRANSFORMED", "to <EMAIL_ADDRESS>.", 1),
        "block": ("BLOCKED", "to ", 1),
    }[action]
    assert (result.decision, result.redacted, len(result.findings)) == expected


def test_the_narrowest_action_wins():
    def action(policy):
        found = Scanner(policy).scan(EMAIL).findings
        return found[0].action if found else "allow"

    assert action({"pii": "block", "types": {"EMAIL_ADDRESS": "flag"}}) == "flag"
    assert action({"pii": "block", "types": {"EMAIL_ADDRESS": "flag"}, "rules": {"email": "redact"}}) == "redact"
    assert action({"secrets": "block"}) == "redact"


def test_what_stands_behind_a_block_is_told_and_does_not_pass():
    result = Scanner({"types": {"EMAIL_ADDRESS": "block"}}, [RULE]).scan(f"a {EMAIL} b {TOKEN} c")
    assert (result.decision, result.redacted) == ("BLOCKED", "a ")
    assert [found.action for found in result.findings] == ["block", "redact"]


def test_everything_wrong_with_a_policy_is_told_at_once():
    with pytest.raises(ValueError, match="pii: must be allow") as raised:
        Scanner({"pii": "shred", "names": "block", "types": {"NOPE": "allow"}, "rules": {"email": None}})
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["pii", "names", "types.NOPE", "rules.email"]
    with pytest.raises(ValueError, match="must be a mapping"):
        Scanner("redact")  # type: ignore[arg-type]


def toml_rules(folder: Path) -> Path:
    path = folder / "mine.toml"
    path.write_text(
        'family = "secrets"\n[[rule]]\nid = "acme-token"\ntype = "SECRET"\nliterals = ["acme_"]\n'
        "regex = 'acme_[0-9A-Za-z]{20}'\n"
    )
    return path


def yaml_rules(folder: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text(
        "family: secrets\nrules:\n- {id: acme-token, type: SECRET, literals: [acme_], regex: 'acme_[0-9A-Za-z]{20}'}\n"
    )
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: RULE,
        lambda folder: [RULE],
        lambda folder: (RULE,),
        toml_rules,
        yaml_rules,
        lambda folder: [str(toml_rules(folder))],
    ],
    ids=["mapping", "list", "tuple", "toml", "yaml", "text"],
)
def test_rules_of_the_user_are_mappings_or_files(make, tmp_path):
    scanner = Scanner(rules=make(tmp_path))
    result = scanner.scan(f"x {TOKEN} y {EMAIL}")
    assert [found.rule for found in result.findings] == ["acme-token", "email"]
    assert ("acme-token", "SECRET", "secrets") in scanner.rules


def test_bad_rules_are_refused_by_name_and_reason_all_at_once(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text('family = "secrets"\n[[rule]\n')
    nameless = tmp_path / "nameless.yaml"
    nameless.write_text("family: [")
    rules = [
        {"id": "no-family", "literals": ["abcd"], "regex": "abcd"},
        {"id": "typo", "family": "pii", "regexp": "x"},
        {**RULE, "regex": "("},
        str(broken),
        nameless,
        tmp_path / "missing.toml",
        tmp_path / "rules.json",
        7,
    ]
    with pytest.raises(ValueError, match="rule no-family:") as raised:
        Scanner(rules=rules)
    said = str(raised.value)
    for part in (
        "rule typo: unknown field",
        "rule acme-token:",
        f"{broken}:2",
        f"{nameless}:",
        "missing.toml",
        "number 8",
    ):
        assert part in said, part


def test_a_lone_surrogate_is_no_way_around():
    text = f"\ud83d {EMAIL}"
    result = Scanner().scan(text)
    assert result.redacted == "? <EMAIL_ADDRESS>"
    assert result.findings[0].start == 2
    assert Scanner().scan("\ud83d").redacted == "\ud83d"
    with pytest.raises(UnicodeEncodeError):
        Scanner().stream().feed(text)


def test_a_stream_gives_the_same_at_every_cut():
    scanner = Scanner(rules=[RULE])
    text = f"Grüße an {EMAIL}; Schlüssel 😀 {TOKEN}, {EMAIL} ist ü"
    whole = scanner.scan(text)
    for cut in range(len(text) + 1):
        stream = scanner.stream()
        out = stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.finish()
        assert (out, stream.decision) == (whole.redacted, whole.decision)
        assert stream.findings == whole.findings


WORDS = st.sampled_from([EMAIL, TOKEN, "ghp_", "@", ".com", "é", "😀", " ", "a", "1", "-", "4111 1111", "\n", "\u200b"])
TEXTS = st.lists(st.one_of(WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), max_size=20)


@given(pieces=TEXTS, policy=st.sampled_from(["flag", "redact", "block"]))
@settings(max_examples=300, deadline=None)
def test_pieces_are_decided_like_the_whole(pieces, policy):
    scanner = Scanner({"secrets": policy}, [RULE])
    whole = scanner.scan("".join(pieces))
    stream = scanner.stream()
    out = "".join([stream.feed(piece) for piece in pieces]) + stream.finish()
    assert (out, stream.decision, stream.findings) == (whole.redacted, whole.decision, whole.findings)


def test_after_a_block_a_stream_passes_nothing():
    stream = Scanner({"pii": "block"}).stream()
    passed = [stream.feed(piece) for piece in ("a ", EMAIL, " and more", " and more")]
    assert "".join(passed) + stream.finish() == "a "
    assert stream.decision == "BLOCKED"


def test_a_finished_stream_takes_nothing_more():
    stream = Scanner().stream()
    assert stream.feed("plain text ") + stream.finish() == "plain text "
    assert stream.finish() == ""
    with pytest.raises(ValueError, match="finished"):
        stream.feed("more")


def test_one_scanner_serves_threads():
    scanner = Scanner()
    text = f"{EMAIL} " + "some words, " * 20_000
    results = []
    threads = [threading.Thread(target=lambda: results.append(scanner.scan(text).redacted)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {text.replace(EMAIL, "<EMAIL_ADDRESS>")}


def test_positions_hold_over_long_streams_of_every_script():
    text = ("plain " * 30 + "größer 😀 漢字 " * 20 + EMAIL + " ") * 5
    stream = Scanner().stream()
    for i in range(0, len(text), 7):
        stream.feed(text[i : i + 7])
    stream.finish()
    assert [text[found.start : found.end] for found in stream.findings] == [EMAIL] * 5


def test_the_package_exports_the_engine():
    assert tollhouse.Scanner is Scanner
    assert {type(Scanner().scan("")), type(Scanner().stream())} == {tollhouse.ScanResult, tollhouse.ScanStream}
    assert spans(Scanner().scan(EMAIL).findings) == [("EMAIL_ADDRESS", 0, len(EMAIL), "redact")]
