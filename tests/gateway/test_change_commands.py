"""`tollhouse rollback` and `reload` where no gateway runs; with one: test_reloads.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tollhouse.config.files import Files
from tollhouse.gateway import kept, restore
from tollhouse.gateway.cli import cli

NONE = "error: there is no earlier configuration that was accepted and kept (with secrets in clear none is)\n"


@pytest.fixture
def accepted(tmp_path):
    """Two configurations were accepted, and the second is in the file."""
    path = tmp_path / "config.yaml"
    history = kept.History(kept.folder_of(str(tmp_path / "state"), str(path)))
    kept.make(history.folder)
    for text in ("default_model: a\n", "default_model: b\n"):
        path.write_text(text)
        files = Files()
        files.read(path)
        staged = str(Path(history.folder) / "staged-x")
        kept.stage(staged, str(path), files, {})
        history.commit(staged, by="start", keep=5)
    return path, history


def run(path, *args):
    given = [*args, "--config", str(path)]
    return CliRunner().invoke(cli, given, env={"LLM_GATEWAY_STATE_DIR": str(path.parent / "state")})


def test_the_one_before_is_put_back(accepted):
    path, history = accepted
    result = run(path, "rollback")
    assert (result.exit_code, path.read_text()) == (0, "default_model: a\n")
    assert result.output == f"no gateway runs with this configuration\n{path}: as in version 1\n"
    assert history.current() == history.find(1)
    result = run(path, "rollback")
    assert (result.exit_code, result.stderr) == (1, NONE)
    assert run(path, "rollback", "--to", "2").exit_code == 0
    assert path.read_text() == "default_model: b\n"


def test_a_file_that_was_never_accepted_gives_way_to_what_was_accepted_last(accepted):
    path, history = accepted
    path.write_text("{")
    result = run(path, "rollback")
    assert (result.exit_code, path.read_text()) == (0, "default_model: b\n")
    assert "the files are not those of version 2, which was accepted last: back to it" in result.output
    assert history.current() == history.find(2)


def test_files_can_be_left_alone(accepted):
    path, history = accepted
    assert run(path, "rollback", "--running-only").exit_code == 0
    assert (path.read_text(), history.current()) == ("default_model: b\n", history.find(1))


def test_where_a_file_cannot_be_written_that_is_told(accepted, tmp_path):
    path, _ = accepted
    (tmp_path / f"config.yaml{restore.PART}").mkdir()  # in the way of what is written beside it
    result = run(path, "rollback")
    assert (result.exit_code, "the files are as they were: " in result.stderr) == (1, True), result.output
    assert path.read_text() == "default_model: b\n"


def test_versions_are_listed(accepted):
    path, _ = accepted
    run(path, "rollback")
    lines = run(path, "rollback", "--list").output.splitlines()
    assert [line[:3] for line in lines] == ["* 1", "  2"]
    assert [line.endswith("withdrawn") for line in lines] == [False, True]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["rollback", "--to", "9"], "there is no version 9"),
        (["reload"], "no gateway runs with this configuration"),
        (["reload", "--check"], "no gateway runs with this configuration"),
    ],
)
def test_what_there_is_not_is_told(accepted, args, reason):
    result = run(accepted[0], *args)
    assert (result.exit_code, reason in result.stderr) == (1, True)


def test_a_damaged_copy_stops_a_rollback(accepted):
    path, history = accepted
    (copy,) = Path(history.folder, "v000001").glob("*-config.yaml")
    copy.write_text("default_model: c\n")
    result = run(path, "rollback")
    assert (result.exit_code, "is not what was kept" in result.stderr) == (1, True)
    assert path.read_text() == "default_model: b\n"


def test_without_a_file_there_is_nothing_to_go_back_to(tmp_path):
    result = CliRunner().invoke(cli, ["rollback"], env={"LLM_GATEWAY_STATE_DIR": str(tmp_path)})
    assert (result.exit_code, "without a configuration file" in result.stderr) == (1, True)
