"""Changes of a running gateway's configuration: gated, refused, accepted, rolled back. Real processes throughout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.client import post
from tests.support.gateway import KEY, MASTER_KEY, echo_only, environment, running_gateway, start_gateway
from tests.support.net import process_tree, wait_until
from tollhouse.gateway import control, kept

EMAIL = "kim.doe@example.com"
ADMIN = {"x-admin-api-key": MASTER_KEY}
CORPUS = [
    {"id": "fine", "messages": [{"role": "user", "content": "Hello!"}], "expected_decision": "ALLOWED"},
    {"id": "personal", "messages": [{"role": "user", "content": f"Write to {EMAIL}"}]},
]
SPEECH = {"model": "tollhouse/echo", "messages": CORPUS[1]["messages"]}
ENV = {"TEST_KEY": KEY, "TEST_MASTER_KEY": MASTER_KEY}
NO_SECRETS = {
    "keys": [{"name": "wide", "key": "os.environ/TEST_KEY"}],
    "general_settings": {"master_key": "os.environ/TEST_MASTER_KEY"},
}
RELOADS = "gateway_config_reloads_total"


def config(corpus, pii="redact"):
    return echo_only(scan={"request": {"pii": pii}}, reload={"corpus": str(corpus)}, **NO_SECRETS)


def write(gateway, content):
    (gateway.folder / "config.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in CORPUS))
    return path


def command(gateway, *args):
    """`tollhouse ...` as somebody on the machine runs it."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("tollhouse")), *args, "--config", str(gateway.folder / "config.yaml")],
        env=environment(LLM_GATEWAY_STATE_DIR=str(gateway.folder / "state")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def reload(gateway, **body):
    return post(gateway, body, path="/admin/reload", headers=ADMIN, timeout_s=60)


def status(gateway):
    return json.loads(gateway.get("/admin/config", **ADMIN)[1])


def decision(gateway):
    return post(gateway, SPEECH).headers["x-gateway-decision"]


def folder(gateway):
    return Path(kept.folder_of(str(gateway.folder / "state"), str(gateway.folder / "config.yaml")))


def judged(gateway, ask):
    """Ask for a change beside the test: the gate process that judges it, and a call that waits for the answer."""
    asker = ThreadPoolExecutor(1)
    asked = asker.submit(ask)
    asker.shutdown(wait=False)
    judge = wait_until(lambda: running_child(gateway.pid, b"gateway.gate"), what="the gate runs", timeout_s=30)
    return judge, lambda: asked.result(60)


def left_over(gateway):
    return [p.name for p in folder(gateway).iterdir() if p.name.startswith(("sandbox-", "staged-"))]


@pytest.fixture(scope="module")
def gateway(corpus):
    with running_gateway(config(corpus), env=ENV) as running:
        yield running


def test_a_loosening_is_refused_and_the_old_workers_go_on(gateway, corpus):
    workers = process_tree(gateway.pid)[1:]
    before = status(gateway)
    write(gateway, config(corpus, "allow"))
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: status(gateway)["is_busy"], what="it is judged")
    told = reload(gateway)  # waits for its turn
    assert gateway.metric(RELOADS, outcome="refused", reason="loosened") == 2
    assert told.status == 409
    assert told.json["error"]["code"] == "config_refused"
    assert told.json["gate"]["loosened"] == [{"id": "personal", "to": "ALLOWED", "from": {"running": "TRANSFORMED"}}]
    assert process_tree(gateway.pid)[1:] == workers
    assert decision(gateway) == "TRANSFORMED"
    now = status(gateway)
    assert {name: now[name] for name in ("version", "fingerprint")} == {
        name: before[name] for name in ("version", "fingerprint")
    }
    line = next(line for line in gateway.log_lines if line.get("reason") == "loosened")
    assert (line["level"], line["loosened"][0]["id"]) == ("warning", "personal")
    assert EMAIL not in gateway.output + told.body.decode()
    assert not left_over(gateway)


def test_a_check_tells_and_changes_nothing(gateway, corpus):
    before = status(gateway)
    write(gateway, config(corpus, "block"))
    done = command(gateway, "reload", "--check")
    assert (done.returncode, done.stdout) == (
        0,
        "tightened: personal: BLOCKED instead of TRANSFORMED\npassed: it would be accepted\n",
    )
    assert status(gateway)["version"] == before["version"]


def test_what_is_stricter_is_accepted_kept_and_rolled_back_by_one_command(gateway, corpus):
    first = status(gateway)
    (original,) = folder(gateway).glob(f"v{first['version']:06d}/*-config.yaml")
    write(gateway, config(corpus, "block"))
    told = reload(gateway)
    assert (told.status, told.json["version"], [one["id"] for one in told.json["gate"]["tightened"]]) == (
        200,
        first["version"] + 1,
        ["personal"],
    )
    wait_until(lambda: decision(gateway) == "BLOCKED", what="the new one decides")
    (copy,) = folder(gateway).glob(f"v{told.json['version']:06d}/*-config.yaml")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    done = command(gateway, "rollback")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: decision(gateway) == "TRANSFORMED", what="the one before decides")
    assert (gateway.folder / "config.yaml").read_text() == original.read_text()
    now = status(gateway)
    assert (now["version"], now["fingerprint"]) == (first["version"], first["fingerprint"])
    assert gateway.metric("gateway_config_info", version=str(now["version"])) == 1
    assert gateway.metric(RELOADS, outcome="accepted", reason="rollback") == 1
    assert f"  {told.json['version']}  " in command(gateway, "rollback", "--list").stdout


def test_a_rollback_after_a_refusal_puts_the_files_back_and_leaves_the_workers(gateway):
    (good,) = folder(gateway).glob(f"v{status(gateway)['version']:06d}/*-config.yaml")
    wait_until(lambda: len(process_tree(gateway.pid)) == 2, what="one worker is left")
    workers = process_tree(gateway.pid)[1:]
    write(gateway, "port: 0\n")
    refused = reload(gateway)
    assert (refused.status, refused.json["reason"]) == (409, "invalid")
    assert "config.yaml:1: port" in refused.json["problems"][0]
    done = command(gateway, "rollback")
    assert (done.returncode, "accepted last: back to it" in done.stdout) == (0, True), done.stderr
    assert (gateway.folder / "config.yaml").read_text() == good.read_text()
    assert process_tree(gateway.pid)[1:] == workers


def test_a_gate_that_is_killed_refuses_and_leaves_nothing(gateway, corpus):
    write(gateway, config(corpus, "block"))
    judge, answer = judged(gateway, lambda: reload(gateway).json)
    sandboxed = wait_until(lambda: process_tree(judge)[1:], what="a sandbox runs", timeout_s=30)
    os.kill(judge, signal.SIGKILL)
    assert answer()["reason"] == "gate"
    wait_until(lambda: not any(map(_is_alive, sandboxed)), what="the sandboxes end")
    assert decision(gateway) == "TRANSFORMED"
    assert "sandbox" not in " ".join(left_over(gateway))


def test_a_rollback_does_not_wait_for_a_gate(gateway, corpus):
    write(gateway, config(corpus, "block"))
    judge, answer = judged(gateway, lambda: reload(gateway).json)
    (path,) = control.found(str(folder(gateway)))
    told = control.ask(path, {"do": "rollback", "version": status(gateway)["version"]}, timeout_s=60)
    assert (told["outcome"], told["message"], answer()["reason"]) == ("accepted", "it runs already", "superseded")
    assert not _is_alive(judge)
    assert decision(gateway) == "TRANSFORMED"


def test_admin_routes_need_the_admin_key(gateway):
    assert post(gateway, {}, path="/admin/reload").status in {401, 403}
    assert gateway.get("/admin/config")[0] in {401, 403}
    bad = post(gateway, {"check": "yes"}, path="/admin/reload", headers=ADMIN)
    assert (bad.status, bad.json["error"]["param"]) == (400, "check")


def running_child(pid, name):
    """A child's process id, by what it was started as."""
    for child in process_tree(pid)[1:]:
        with contextlib.suppress(OSError):
            if name in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_stopping_ends_a_gate_that_runs_and_tells_who_waits(corpus):
    with running_gateway(config(corpus), env=ENV) as gateway:
        (path,) = control.found(str(folder(gateway)))
        judge, answer = judged(gateway, lambda: control.ask(path, {"do": "reload"}, timeout_s=60))
        gateway.signal(signal.SIGTERM)
        assert answer()["reason"] == "stopping"
        assert gateway.wait() == 0
        assert not _is_alive(judge)
        assert not left_over(gateway)
        assert not control.found(str(folder(gateway)))


def test_a_killed_supervisor_leaves_no_process_and_the_next_one_clears_up(corpus, tmp_path):
    gateway = start_gateway(config(corpus), folder=tmp_path, env=ENV)
    wait_until(gateway.is_ready, what="it serves", every_s=0.02)
    wait_until((folder(gateway) / "current").exists, what="what it runs is kept")
    gateway.signal(signal.SIGHUP)
    judge = wait_until(lambda: running_child(gateway.pid, b"gateway.gate"), what="the gate runs", timeout_s=30)
    wait_until(lambda: process_tree(judge)[1:], what="a sandbox runs", timeout_s=30)
    everyone = process_tree(gateway.pid)
    os.kill(judge, signal.SIGSTOP)  # it would clear up at the sight of the supervisor's end
    for pid in (gateway.pid, judge):
        os.kill(pid, signal.SIGKILL)
    gateway.wait()
    wait_until(lambda: not any(map(_is_alive, everyone)), what="all have ended")
    assert any(name.startswith("sandbox-") for name in left_over(gateway))
    gateway = start_gateway(config(corpus), folder=tmp_path, env=ENV)
    wait_until(gateway.is_ready, what="it serves again", every_s=0.02)
    assert not [name for name in left_over(gateway) if name.startswith("sandbox-")]
    assert len(control.found(str(folder(gateway)))) == 1
    done = command(gateway, "rollback")
    assert (done.returncode, "there is no earlier configuration" in done.stderr) == (1, True)
    gateway.stop()


def test_a_mounted_folder_that_is_swapped_behind_links_is_reloaded_and_rolled_back():
    """As Kubernetes mounts a ConfigMap: config.yaml -> ..data/config.yaml, ..data -> the folder of the day."""
    with running_gateway(echo_only(**NO_SECRETS), env=ENV) as gateway:
        mount = gateway.folder
        plain = (mount / "config.yaml").read_text()
        for day in ("..monday", "..tuesday"):
            (mount / day).mkdir()
            (mount / day / "config.yaml").write_text("include: [more.yaml]\n" + plain)
            (mount / day / "more.yaml").write_text(f"default_model: {day}\n")
        (mount / "config.yaml").unlink()
        (mount / "..data").symlink_to("..monday")
        for name in ("config.yaml", "more.yaml"):
            (mount / name).symlink_to(f"..data/{name}")
        monday = reload(gateway).json
        (mount / "..new").symlink_to("..tuesday")
        (mount / "..new").replace(mount / "..data")
        tuesday = reload(gateway).json
        assert (monday["outcome"], tuesday["version"]) == ("accepted", monday["version"] + 1)
        (mount / "..monday" / "more.yaml").unlink()
        done = command(gateway, "rollback")
        assert done.returncode == 0, done.stderr
        assert (mount / "more.yaml").is_symlink()
        assert (mount / "more.yaml").read_text() == "default_model: ..monday\n"
        assert status(gateway)["fingerprint"] == monday["fingerprint"]
