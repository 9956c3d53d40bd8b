"""`python -m bench.scale`: how cost grows with connections, streams, sizes, rules, keys, models and workers.

Every sweep starts real gateways (`tollhouse serve`) before one mock. scale.json keeps what was measured last of each
sweep, so that one of them can be run anew; scale.md and a picture of each are made from that.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environments, loads
from bench.environments import Unavailable
from bench.gateways.entry import ROOT
from bench.loads import LoadFailed
from bench.peers import PLOTS
from bench.processes import NotServing
from bench.scale import report as told
from bench.scale.bench import WHERE, Bench, raise_descriptors
from bench.scale.sweeps import bodies, concurrency, idle, keys, models, rules, stores, streams, workers

if TYPE_CHECKING:
    from bench.scale.sweep import Sweep

SWEEPS = tuple(module.SWEEP for module in (concurrency, streams, idle, bodies, rules, keys, models, stores, workers))
REPORT = ROOT / "bench" / "report" / "scale"


def measured(sweep: Sweep, bench: Bench) -> dict[str, Any]:
    """A sweep's part of the report; what failed says why, and what came before it is kept."""
    bench.notes.clear()
    before, rows, why = os.getloadavg()[0], [], ""
    try:
        for row in sweep.measure(bench):
            rows.append(row)
            print(sweep.name, *(f"{key}={_short(value)}" for key, value in row.items()), file=sys.stderr, flush=True)
    except (LoadFailed, NotServing, TimeoutError, AssertionError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        print(f"{sweep.name}: {error}", file=sys.stderr)
    shown = asdict(sweep)
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "load_average": (before, os.getloadavg()[0]),
        "rows": rows,
        "why": why,
        "notes": list(bench.notes),
        "plots": shown["plots"],
        "by": sweep.by,
        "headings": {name: heading for name, (heading, _) in sweep.columns.items()},
    }


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _draw(path: Path) -> None:
    try:
        packages = environments.python(ROOT / "build" / "peers" / "plots", PLOTS)
    except Unavailable as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return
    script = Path(__file__).with_name("plots.py")
    subprocess.run([str(packages / "python"), str(script), str(path)], check=True)


def main() -> None:
    names = [sweep.name for sweep in SWEEPS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a load")
    parser.add_argument("--points", type=int, default=99, help="of each sweep, from the smallest")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--no-plots", action="store_true")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"no such sweep: {', '.join(sorted(unknown))}")
    loads.build()
    raise_descriptors()
    options.report.mkdir(parents=True, exist_ok=True)
    path = options.report / "scale.json"
    kept = json.loads(path.read_text()) if path.exists() else {"sweeps": {}}
    work = ROOT / WHERE / f"work-{os.getpid()}"
    with loads.mock(work) as mock:
        for sweep in SWEEPS:
            if sweep.name in chosen:
                kept["machine"] = loads.machine()
                bench = Bench(mock, work, seconds=options.seconds, points=options.points)
                kept["sweeps"][sweep.name] = measured(sweep, bench)
                path.write_text(json.dumps(kept, indent=1))
                (options.report / "scale.md").write_text(told.markdown(kept, SWEEPS))
    if not options.no_plots:
        _draw(path)
    failed = [name for name in chosen if kept["sweeps"][name]["why"]]
    raise SystemExit(f"not measured to the end: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
