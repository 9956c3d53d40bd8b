"""`python -m bench.peers_plots peers.json`: the pictures of the report, beside it. Runs where matplotlib is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OWN = "#c0392b"
OTHERS = "#5d6d7e"
DIRECT = "direct"
# Of which scenario, which figure, and what to write over it.
PICTURES = {
    "peers-cpu.png": (
        ("32 x 1 KB", "cpu_us", "CPU per request, us\n32 connections, 1 KB"),
        ("32 x 64 KB", "cpu_us", "CPU per request, us\n32 connections, 64 KB"),
        ("128 streams, 10 ms", "cpu_us", "CPU per chunk, us\n128 streams, 10 ms apart"),
    ),
    "peers-latency.png": (
        ("1 x 1 KB", "added_p50_us", "Added p50, us\n1 connection, 1 KB"),
        ("1 x 1 KB", "added_p99_us", "Added p99, us\n1 connection, 1 KB"),
        ("128 streams, 10 ms", "added_delay_p50_us", "Added delay per chunk, p50, us\n128 streams, 10 ms apart"),
    ),
}


def bars(axes: Any, title: str, values: dict[str, float]) -> None:
    """Horizontal, the smallest on top, on a scale where a millisecond and a microsecond both show."""
    order = sorted(values, key=lambda name: values[name], reverse=True)
    drawn = axes.barh(order, [max(values[name], 1.0) for name in order])
    for bar, name in zip(drawn, order, strict=True):
        bar.set_color(OWN if name == "tollhouse" else OTHERS)
    axes.bar_label(drawn, [f"{values[name]:,.0f}" for name in order], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.8, max([10.0, *values.values()]) * 6)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw(report: dict[str, Any], name: str, folder: Path) -> None:
    columns = PICTURES[name]
    results = report["results"]
    figure, grid = plt.subplots(len(results), len(columns), figsize=(12, 2.6 * len(results)), squeeze=False)
    for row, (mode, by_scenario) in zip(grid, results.items(), strict=True):
        for axes, (scenario, key, title) in zip(row, columns, strict=True):
            found = by_scenario.get(scenario, {})
            bars(axes, f"{mode}: {title}", {one: own[key] for one, own in found.items() if one != DIRECT})
    figure.suptitle(f"{report['date']}, {report['machine']['cpu']}, medians of {report['rounds']} rounds", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / name, dpi=90)
    plt.close(figure)


def main() -> None:
    path = Path(sys.argv[1])
    report = json.loads(path.read_text())
    if not report["results"]:
        print("nothing was measured: no pictures", file=sys.stderr)
        return
    for name in PICTURES:
        draw(report, name, path.parent)


if __name__ == "__main__":
    main()
