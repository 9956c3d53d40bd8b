"""`make k6`: the scenarios of gateway.js against BASE_URL, or against a gateway and a mock upstream started for it.

Where the overload is to be three times the capacity and CAPACITY is not given, that is measured first. The exit code is
1 if a threshold did not hold, 2 if k6 could not do its work.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import loads
from bench.gateways import tollhouse
from bench.gateways.entry import EVERYTHING, KEY, ROOT, Setup
from bench.processes import NotServing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCRIPT = Path(__file__).with_name("gateway.js")
WORK = ROOT / "build" / "k6"
THRESHOLDS_FAILED = 99
SCENARIOS = "chat,safety,stream,spike,soak,overload"
# With answers that take 400 ms this is a capacity of 160 a second, which k6 can triple on the same machine. A full
# queue holds as many as are asked at once, so with the default wait of a second overload would double everybody's time.
LIMITS = {"max_in_flight": 64, "queue_wait_s": 0.2}


@contextlib.contextmanager
def gateway() -> Iterator[dict[str, str]]:
    """A gateway with everything on before a mock upstream; yields where it is and its keys, as variables."""
    loads.build()
    admin = secrets.token_urlsafe(24)
    with loads.mock(WORK / "work") as mock:
        setup = Setup("tollhouse", mock.port, WORK / "work", WORK, EVERYTHING)
        with tollhouse.start(setup, upstream=LIMITS, general_settings={"admin_key": admin}) as running:
            yield {"BASE_URL": f"http://127.0.0.1:{running.port}", "API_KEY": KEY, "ADMIN_KEY": admin}


def k6(program: Path, variables: Mapping[str, str], folder: Path) -> dict[str, object]:
    """Run the script to its end; returns what it wrote into summary.json."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "summary.json"
    report.unlink(missing_ok=True)
    # Keys go through the environment: a command line is for everybody to see.
    environment = {**os.environ, **variables, "REPORT_DIR": str(folder), "K6_NO_USAGE_REPORT": "true"}
    command = [str(program), "run", "--quiet", "--no-color", "--log-output", "stderr", str(SCRIPT)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode not in {0, THRESHOLDS_FAILED} or not report.exists():
        raise SystemExit(2)
    found: dict[str, object] = json.loads(report.read_text())
    return found


def run(program: Path, variables: dict[str, str], folder: Path) -> int:
    """Capacity, then all scenarios."""
    chosen = os.environ.get("SCENARIOS", SCENARIOS)
    if "overload" in chosen.split(",") and not os.environ.get("CAPACITY"):
        found = k6(program, {**variables, "SCENARIOS": "peak"}, folder / "peak")
        if found["failed"]:
            return 1
        variables["CAPACITY"] = str(found["peak_rps"])
    found = k6(program, {**variables, "SCENARIOS": chosen}, folder)
    print(f"{folder}/junit.xml, summary.html, summary.json", file=sys.stderr)
    return 1 if found["failed"] else 0


def main() -> None:
    program = Path(os.environ.get("K6", WORK / "bin" / "k6"))
    folder = Path(os.environ.get("REPORT_DIR", WORK / "report")).resolve()
    if base := os.environ.get("BASE_URL"):
        raise SystemExit(run(program, {"BASE_URL": base}, folder))
    try:
        with gateway() as variables:
            code = run(program, variables, folder)
    except NotServing as error:
        print(error, file=sys.stderr)
        code = 2
    raise SystemExit(code)


if __name__ == "__main__":
    main()
