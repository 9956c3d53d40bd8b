"""What comes after k6: its summary as JUnit and HTML, and the exit code. k6 itself runs in `make k6`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
DATA = {
    "metrics": {
        "http_req_duration{scenario:chat}": {
            "type": "trend",
            "values": {"med": 1, "p(95)": 60, "p(99)": 70, "max": 80},
            "thresholds": {"p(95)<=50": {"ok": False}},
        },
        "http_req_failed{scenario:chat}": {
            "type": "rate",
            "values": {"rate": 0},
            "thresholds": {"rate<0.001": {"ok": True}},
        },
        "ms{scenario:capacity}": {"type": "trend", "values": {"p(99)": 100}},
        "ms{scenario:overload}": {"type": "trend", "values": {"p(99)": 250}},
    }
}
COMPARISON = {
    "scenario": "overload",
    "name": "<twice>",
    "metric": "ms",
    "of": "overload",
    "than": "capacity",
    "stat": "p(99)",
}


def summary(folder: Path, times: float, **changes: str) -> dict[str, str]:
    """What summary.js makes of DATA, by file name."""
    shutil.copy(ROOT / "bench" / "k6" / "summary.js", folder / "summary.mjs")
    options: dict[str, Any] = {"folder": "r", "where": "http://x", "scenarios": ["chat"], "seconds": 2}
    options["comparisons"] = [{**COMPARISON, "times": times, **changes}]
    call = f"summary({json.dumps(DATA)}, {json.dumps(options)})"
    script = f"import {{ summary }} from './summary.mjs'; console.log(JSON.stringify({call}))"
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=30)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_each_threshold_is_a_test_case_that_says_what_was(tmp_path):
    suites = {suite.get("name"): suite for suite in ET.fromstring(summary(tmp_path, 3)["r/junit.xml"])}
    assert {name: (suite.get("tests"), suite.get("failures")) for name, suite in suites.items()} == {
        "chat": ("2", "1"),
        "overload": ("1", "0"),
    }
    failure = suites["chat"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "was 60"


def test_scenarios_are_compared_with_each_other(tmp_path):
    assert json.loads(summary(tmp_path, 2)["r/summary.json"])["failed"] == [
        "chat: http_req_duration{scenario:chat}: p(95)<=50",
        "overload: <twice>",
    ]


def test_what_was_not_measured_does_not_hold(tmp_path):
    found = json.loads(summary(tmp_path, 3, of="nothing", than="nothing")["r/summary.json"])
    assert "overload: <twice>" in found["failed"]


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows(tmp_path):
    page = summary(tmp_path, 2)["r/summary.html"]
    assert "&lt;twice&gt;" in page
    assert "http" not in page.replace("http_req_", "").replace("http://x", "")


@pytest.fixture
def k6(tmp_path):
    """A program in k6's place: notes its arguments and variables, fails where FAILING says."""
    program = tmp_path / "k6"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "with open(os.environ['SEEN'], 'a') as file:\n"
        "    print(json.dumps([sys.argv, os.environ['SCENARIOS'], os.environ.get('CAPACITY')]), file=file)\n"
        "failed = [name for name in [os.environ.get('FAILING')] if name == os.environ['SCENARIOS']]\n"
        "with open(os.environ['REPORT_DIR'] + '/summary.json', 'w') as file:\n"
        "    json.dump({'failed': failed, 'peak_rps': 12.5}, file)\n"
        "sys.exit(99 if failed else 0)\n"
    )
    program.chmod(0o755)
    return program


def drive(k6: Path, **variables: str) -> tuple[int, list[list[Any]]]:
    seen = k6.with_name("seen")
    own = {"BASE_URL": "http://127.0.0.1:1", "API_KEY": "sk-secret", "K6": str(k6), "SEEN": str(seen)}
    environment = {**os.environ, **own, "REPORT_DIR": str(k6.with_name("report")), **variables}
    done = subprocess.run([sys.executable, "-m", "bench.k6.run"], cwd=ROOT, env=environment, check=False, timeout=30)
    return done.returncode, [json.loads(line) for line in seen.read_text().splitlines()]


def test_capacity_is_measured_before_it_is_tripled(k6):
    code, runs = drive(k6, SCENARIOS="chat,overload")
    assert code == 0
    assert [run[1:] for run in runs] == [["peak", None], ["chat,overload", "12.5"]]
    assert not any("sk-secret" in word for run in runs for word in run[0])


def test_a_threshold_that_does_not_hold_is_exit_code_1(k6):
    assert drive(k6, SCENARIOS="chat", FAILING="chat")[0] == 1


def test_a_k6_that_does_not_work_is_exit_code_2(k6):
    k6.write_text(f"#!{sys.executable}\nimport os\nopen(os.environ['SEEN'], 'w').close()\nraise SystemExit(107)\n")
    assert drive(k6, SCENARIOS="chat")[0] == 2
