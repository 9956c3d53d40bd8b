"""`python -m bench.scale.plots scale.json`: the pictures of the report, beside it. Runs where matplotlib is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = ("#c0392b", "#5d6d7e", "#2980b9", "#27ae60")


def lines(found: dict[str, Any], x: str, names: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Points of each line, by its label."""
    by, told = found["by"], found["headings"]
    drawn: dict[str, list[tuple[float, float]]] = {}
    for row in found["rows"]:
        for name in names:
            label = str(row[by]) if by else told[name]
            if name in row:
                drawn.setdefault(label, []).append((row[x], row[name]))
    return drawn


def draw(name: str, found: dict[str, Any], folder: Path) -> None:
    plots = found["plots"]
    figure, grid = plt.subplots(1, len(plots), figsize=(4.2 * len(plots), 3), squeeze=False)
    for axes, (title, (x, names)) in zip(grid[0], plots.items(), strict=True):
        for colour, (label, points) in zip(COLOURS, lines(found, x, names).items(), strict=False):
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, linewidth=1.2, markersize=3.5)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(found["headings"][x], fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(folder / f"scale-{name}.png", dpi=90)
    plt.close(figure)


def main() -> None:
    path = Path(sys.argv[1])
    for name, found in json.loads(path.read_text())["sweeps"].items():
        if found["plots"] and found["rows"]:
            draw(name, found, path.parent)


if __name__ == "__main__":
    main()
