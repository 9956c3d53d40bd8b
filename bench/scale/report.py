"""The sweeps in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.peers_report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scale.sweep import Sweep


def markdown(report: dict[str, Any], sweeps: Sequence[Sweep]) -> str:
    """Each sweep that the report has, in the order of `sweeps`."""
    machine = ", ".join(f"{key}: {value}" for key, value in report["machine"].items())
    parts = [
        "# How cost grows",
        _head(machine),
    ]
    for sweep in sweeps:
        if sweep.name in report["sweeps"]:
            parts += [f"## {sweep.title}", _sweep(sweep, report["sweeps"][sweep.name])]
    return "\n\n".join(parts) + "\n"


def _head(machine: str) -> str:
    return (
        f"`python -m bench.scale`: {machine}. Generator, mock and gateway share the machine; CPU is user and system "
        "time of all processes of the gateway. What it says, and what follows for a fleet: "
        "[docs/scaling.md](../../../docs/scaling.md)."
    )


def _sweep(sweep: Sweep, found: dict[str, Any]) -> str:
    before, after = found["load_average"]
    lines = [f"{found['date']}, load average of the machine {before:.1f} before, {after:.1f} after."]
    lines += [f"Not measured: {found['why']}"] if found["why"] else []
    lines += found["notes"]
    head = [heading for heading, _ in sweep.columns.values()]
    rows = [[_shown(row.get(name), decimals) for name, (_, decimals) in sweep.columns.items()] for row in found["rows"]]
    pictures = f"\n\n![{sweep.title}](scale-{sweep.name}.png)" if sweep.plots else ""
    return "\n\n".join([" ".join(lines), table(head, rows)]) + pictures


def _shown(value: float | str | None, decimals: int) -> str:
    return str(value) if isinstance(value, str) else "-" if value is None else f"{value:,.{decimals}f}"
