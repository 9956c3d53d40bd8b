"""The report of `bench.peers` in Markdown: what was on, CPU, throughput, added latency, streams, memory, losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.gateways.entry import MODES
from bench.loads import DIRECT, HELD_STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

OWN = "tollhouse"
NONE = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def markdown(report: dict[str, Any]) -> str:
    parts = [_head(report), _not_here(report)]
    for mode, by_scenario in report["results"].items():
        parts += [f"## {mode[0].upper()}{mode[1:]}: {MODES[mode]}", _mode(report, mode, by_scenario)]
    parts += ["## What was switched on", _switched_on(report), "## The mock and the generator", _mock(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: dict[str, Any]) -> str:
    machine = ", ".join(f"{key}: {value}" for key, value in report["machine"].items())
    before, after = (report["load_average"][key][0] for key in ("before", "after"))
    rounds = f"{report['rounds']} rounds of {report['seconds']} s, interleaved over the gateways; medians"
    return (
        f"# Tollhouse and its peers\n\n{report['date']}, `make bench-peers`: {machine}; load average {before:.1f} "
        f"before, {after:.1f} after. {rounds}. One worker each. CPU is user and system time of the whole process tree. "
        "Generator, mock and gateway share the machine. How: [README](../README.md#beside-its-peers)."
    )


def _not_here(report: dict[str, Any]) -> str:
    """Every gateway, mode or load without figures, with the reason."""
    lines = [f"- {name} {report['versions'][name]}: {why}" for name, why in report["missing"].items()]
    for mode, by_name in report["contenders"].items():
        lines += [
            f"- {name}, {mode}: does not serve: {facts['why']}" for name, facts in by_name.items() if facts["why"]
        ]
        lines += [
            f"- {name}, {mode}, {HELD_STREAMS}: {facts['held_why']}"
            for name, facts in by_name.items()
            if facts.get("held_why")
        ]
    for mode, by_scenario in report["failures"].items():
        for scenario, by_name in by_scenario.items():
            lines += [f"- {name}, {mode}, {scenario}: {why}" for name, why in by_name.items()]
    lines += [
        f"- {name}, {mode}, {scenario}: so slow that it was measured once" for mode, scenario, name in report["slow"]
    ]
    lines += [f"- out of time: {what}" for what in report["cut"]]
    return "\n".join(["Without figures, or with fewer:", "", *(_plain(line) for line in lines)]) if lines else ""


def _plain(line: str) -> str:
    return line.replace("|", "/").replace("\n", " ")


def _mode(report: dict[str, Any], mode: str, by_scenario: dict[str, Any]) -> str:
    names = [name for name in report["versions"] if any(name in by_name for by_name in by_scenario.values())]
    units = report["units"]
    requests = [scenario for scenario in by_scenario if units[scenario] == "request"]
    chunks = [scenario for scenario in by_scenario if units[scenario] == "chunk"]

    def rows(columns: Sequence[str], cell: Callable[[dict[str, Any], dict[str, Any]], str]) -> list[list[str]]:
        found = []
        for name in names:
            cells = []
            for column in columns:
                by_name = by_scenario[column]
                cells.append(cell(by_name[name], by_name.get(OWN, {})) if name in by_name else NONE)
            found.append([name, *cells])
        return found

    def cpu(own: dict[str, Any], ours: dict[str, Any]) -> str:
        ratio = f" ({own['cpu_us'] / ours['cpu_us']:.2f})" if ours.get("cpu_us") else ""
        return f"{own['cpu_us']:.1f}{ratio}"

    def added(prefix: str) -> Callable[[dict[str, Any], dict[str, Any]], str]:
        return lambda own, _: " / ".join(f"{own[f'added_{prefix}p{part}_us']:.0f}" for part in (50, 95, 99))

    columns = [*requests, *(scenario for scenario in by_scenario if scenario not in requests)]
    parts = [
        "CPU us per request, chunk or stream (times Tollhouse's):",
        table(["", *(f"{one} / {units[one]}" for one in columns)], rows(columns, cpu)),
        "Requests a second, generator and mock on the same CPUs:",
        table(["", *requests], rows(requests, lambda own, _: f"{own['rps']:.0f}")),
        "Added p50 / p95 / p99 us; with more than one connection most of it is the queue before a full CPU:",
        table(["", *requests], rows(requests, added(""))),
    ]
    if chunks:
        parts += [
            "Added delay per chunk, p50 / p95 / p99 us:",
            table(["", *chunks], rows(chunks, added("delay_"))),
        ]
    return "\n\n".join([*parts, _memory(report["contenders"].get(mode, {}))])


def _memory(facts: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, own in facts.items():
        if own["why"]:
            continue
        cells = [f"{own['idle_mb']:.0f}", str(own.get("held", NONE)), NONE, NONE]
        if "held_mb" in own:
            each = (own["held_mb"] - own["held_before_mb"]) * 1000 / max(1, own["held"])
            cells[2:] = [f"{own['held_mb']:.0f}", f"{each:.0f}"]
        rows.append([name, *cells])
    head = ["RSS of the tree", "idle MB", f"held of {HELD_STREAMS}", "MB then", "KB a stream more"]
    return table(head, rows)


def _switched_on(report: dict[str, Any]) -> str:
    rows = []
    for mode, by_name in report["modes"].items():
        for name, says in by_name.items():
            facts = report["contenders"].get(mode, {}).get(name, {})
            what = says or "has no such thing, or not without what was not to be had"
            statuses = [str(facts.get(key, NONE)) for key in ("without_key", "with_secret")]
            rows.append([mode, f"{name} {report['versions'][name]}", *statuses, _plain(what)])
    note = (
        "Statuses are of a request without a key and of one with a GitHub token in it, sent before the loads. Nobody "
        "has a cache switched on, because Tollhouse has none of its own."
    )
    return note + "\n\n" + table(["mode", "gateway", "no key", "secret", "what is on"], rows)


def _mock(report: dict[str, Any]) -> str:
    rows = []
    for mode, by_scenario in report["results"].items():
        for scenario, by_name in by_scenario.items():
            own = by_name.get(DIRECT)
            others = [found for name, found in by_name.items() if name != DIRECT]
            if own is None or not others:
                continue
            most = max(others, key=lambda found: found["rps"])
            rate = "rps"
            rows.append(
                [
                    f"{mode}, {scenario}",
                    f"{own[rate]:.0f}",
                    f"{most[rate]:.0f}",
                    f"{max(found['mock_cpu_share'] for found in others):.0%}",
                    f"{max(found['loader_cpu_share'] for found in others):.0%}",
                ]
            )
    note = (
        "Both have one thread, so 100% of a CPU would be their limit. Where they come near it, with the fastest "
        "gateways, throughput says less than CPU per request does."
    )
    head = ["", "direct, a second", "fastest gateway", "mock's CPU at most", "generator's CPU at most"]
    return note + "\n\n" + table(head, rows)
