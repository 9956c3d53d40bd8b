"""The runbook's own commands, run once for all tests that look at what is left."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.gateway import ROOT, environment

SCENARIO = ROOT / "scripts/ci/run_llm_gateway_telemetry_scenario.py"
VALIDATE = ROOT / "scripts/ci/validate_llm_gateway_observability.py"
BARE_PYTHON = f"{sys.base_prefix}/bin/python3"  # has nothing of ours


@pytest.fixture(scope="session")
def out_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the telemetry scenario wrote."""
    path = tmp_path_factory.mktemp("scenario") / "OUT.log"
    command = [BARE_PYTHON, str(SCENARIO), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def sinks(out_log: Path) -> dict[str, list[dict[str, Any]]]:
    """Its records by sink."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in out_log.read_bytes().splitlines():
        record = orjson.loads(line)
        found[record["sink"]].append(record)
    return found


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    command = [BARE_PYTHON, str(VALIDATE), str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
