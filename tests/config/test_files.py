from __future__ import annotations

import pytest
import yaml

from tests.support import policies
from tollhouse.config.files import Files
from tollhouse.config.loader import ConfigError, check, load, state_dir


@pytest.fixture
def written(tmp_path):
    (tmp_path / "more.yaml").write_text("default_model: a\n")
    (tmp_path / "rules.yaml").write_text(
        "family: secrets\nrules: [{id: acme, type: SECRET, literals: [acme_], regex: 'acme_[0-9a-z]{20}'}]\n"
    )
    (tmp_path / "corpus.jsonl").write_text("{}\n")
    path = tmp_path / "config.yaml"
    path.write_text(
        "include: [more.yaml]\nscan: {request: {}, rule_files: [rules.yaml]}\n"
        "reload: {corpus: corpus.jsonl, accept: [x], timeout_s: 5, keep: 3, on_failure: report}\n"
    )
    return path


def test_all_files_that_a_configuration_is_made_of_are_remembered(written, tmp_path):
    files = Files()
    settings = load(str(written), {}, files=files)
    names = {str(tmp_path / name) for name in ("config.yaml", "more.yaml", "rules.yaml")}
    assert (set(files.contents), set(files.digests)) == (names, {str(tmp_path / "corpus.jsonl")})
    assert settings.fingerprint == files.fingerprint
    reload = settings.reload
    assert (reload.keep, reload.timeout_s, reload.refuses, set(reload.accept)) == (3, 5.0, False, {"x"})


def test_a_policy_is_remembered_with_its_signature(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"policy": policies.section(tmp_path, policies.ANYTHING)}))
    files = Files()
    load(str(path), {}, files=files)
    assert set(files.contents) == {str(tmp_path / name) for name in ("config.yaml", "policy.yaml", "policy.yaml.sig")}
    (tmp_path / "policy.yaml").write_text("gone")
    kept = load(str(path), {}, files=Files(files.contents))
    assert kept.policy is not None and kept.policy.version == "v1"


@pytest.mark.parametrize("name", ["config.yaml", "more.yaml", "rules.yaml", "corpus.jsonl"])
def test_a_change_of_any_of_them_is_another_fingerprint(written, tmp_path, name):
    before = load(str(written), {}).fingerprint
    assert load(str(written), {}).fingerprint == before
    with (tmp_path / name).open("a") as file:
        file.write("\n")
    assert load(str(written), {}).fingerprint != before


def test_what_was_kept_is_read_instead_of_the_files(written, tmp_path):
    files = Files()
    before = load(str(written), {}, files=files)
    for path in tmp_path.iterdir():
        path.unlink()
    after = load(str(written), {}, files=Files(files.contents, files.digests))
    assert (after.default_model, after.fingerprint, after.reload) == ("a", before.fingerprint, before.reload)
    with pytest.raises(ConfigError, match=r"more\.yaml"):
        load(str(written), {}, files=Files({str(written): files.contents[str(written)]}, files.digests))


def test_a_corpus_that_cannot_be_read_is_an_error(written, tmp_path):
    (tmp_path / "corpus.jsonl").unlink()
    (problem,) = check(str(written), {})
    assert (problem.path, "cannot be read" in problem.message) == ("reload.corpus[0]", True)


def test_a_gate_without_a_corpus_is_a_warning(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("reload: {accept: [x]}\n")
    (problem,) = check(str(path), {})
    assert (problem.severity, problem.path) == ("warning", "reload.accept")


def test_the_state_folder_is_known_even_if_the_file_is_wrong(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("port: 0\nstate_dir: /srv/state\n")
    assert state_dir(str(path), {}) == ("/srv/state", str(path))
    assert state_dir(None, {"LLM_GATEWAY_CONFIG": str(path)}) == ("/srv/state", str(path))
