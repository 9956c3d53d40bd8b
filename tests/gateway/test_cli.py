from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tollhouse.gateway.cli import cli


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_GATEWAY_STATE_DIR", str(tmp_path / "state"))

    def invoke(*args):
        return CliRunner().invoke(cli, args)

    return invoke


def test_keys_are_made_listed_and_revoked(run):
    made = json.loads(
        run("keys", "create", "--name", "app", "--team", "t", "--models", "a, b", "--expires", "30d", "--json").output
    )
    assert made["key"].startswith(f"sk-th-{made['id']}-")
    assert (made["models"], made["revoked_at"]) == (["a", "b"], None)
    plain = run("keys", "create").output.strip()
    listed = run("keys", "list").output
    assert made["id"] in listed
    assert "a,b" in listed
    assert "all models" in listed
    assert plain not in listed
    assert run("keys", "revoke", made["id"]).exit_code == 0
    assert json.loads(run("keys", "list", "--json").output)[0]["revoked_at"] is not None
    again = run("keys", "revoke", made["id"])
    assert (again.exit_code, "no active key" in again.output) == (1, True)


def test_an_ambiguous_name_is_told(run):
    run("keys", "create", "--name", "twin")
    run("keys", "create", "--name", "twin")
    result = run("keys", "revoke", "twin")
    assert (result.exit_code, "2 active keys" in result.output) == (1, True)


@pytest.mark.parametrize(
    "args",
    [
        ("keys", "create", "--expires", "soon"),
        ("keys", "create", "--expires", "²d"),
        ("serve", "--port", "0"),
        ("nonsense",),
        ("validate",),
    ],
)
def test_wrong_usage_is_exit_code_2(run, args):
    assert run(*args).exit_code == 2


def test_a_state_folder_that_cannot_be_used_is_told(run, tmp_path):
    (tmp_path / "state").write_text("a file")
    result = run("keys", "list")
    assert (result.exit_code, "cannot be used" in result.output) == (1, True)


def test_validate_tells_errors_and_the_exit_code(run, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("port: 9000\nunknown: 1\n")
    bad.write_text("port: 0\n\nhost: 7\n")
    result = run("validate", str(good))
    assert result.exit_code == 0
    assert "ok" in result.output
    assert "good.yaml:2: warning: unknown" in result.output
    result = run("validate", str(bad))
    assert result.exit_code == 1
    assert "bad.yaml:1: port" in result.output
    assert "bad.yaml:3: host" in result.output
    assert "2 errors" in result.output


def test_serve_refuses_a_bad_configuration(run, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("port: 0\n")
    result = run("serve", "--config", str(bad))
    assert (result.exit_code, "bad.yaml:1" in result.output) == (1, True)


def test_serve_without_a_key_stays_on_loopback(run):
    result = run("serve", "--host", "0.0.0.0")
    assert (result.exit_code, "no key is configured" in result.output) == (1, True)


def test_serve_tells_of_a_key_store_that_is_none(run):
    state = Path(os.environ["LLM_GATEWAY_STATE_DIR"])
    state.mkdir()
    (state / "tollhouse.db").write_text("not a database")
    result = run("serve")
    assert (result.exit_code, "the key store in" in result.output) == (1, True)


def test_the_command_and_the_module_say_their_version():
    for command in ([sys.executable, "-m", "tollhouse"],):
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        assert said.startswith("tollhouse 0.")


def test_help_imports_nothing_heavy():
    heavy = {"pydantic", "starlette", "granian", "yaml", "sqlite3", "asyncio"}
    code = f"import sys; from tollhouse.gateway import cli; print(*({heavy} & sys.modules.keys()))"
    # Coverage of subprocesses imports sqlite3 itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert said.strip() == ""
