"""`python -m bench.scale.fleet`: what 10^4, 10^5 and 10^6 requests a second take, by what was measured on one machine.

It is a calculation: costs of one request and of one report (scale.json, redis.json) times how many there are, over what
a processor is to be used. What leases do near the end of a budget is played through (`lease_simulation`);
`python -m bench.scale.lease_check` drives real nodes on a real Redis through such a story and prints both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.gateways.entry import EVERYTHING, PASS, ROOT
from bench.peers_report import table
from bench.scale.lease_simulation import SHARE, Story, play
from tollhouse.middlewares.stores.leased.lease import MAX_LINES, MAX_METERS
from tollhouse.middlewares.stores.leased.slices import LEAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPORT = ROOT / "bench" / "report" / "scale"
RATES = (10_000, 100_000, 1_000_000)
CONNECTIONS = 64  # of the rows whose CPU is taken
NODES = (4, 16, 64, 256)


@dataclass(frozen=True)
class Constants:
    """Measured microseconds of CPU: of the gateway a request and the scan, of one Redis thread the rest."""

    request_us: Mapping[str, float]  # by where limits are kept: none, embedded, Redis, leased
    scan_us: float  # on top, with requests and answers scanned
    pair_us: float
    report_us: float
    slice_us: float
    line_us: float


@dataclass(frozen=True)
class Plan:
    """What is chosen. Workers take a core each; shares are of a core, and leave room for what does not come evenly."""

    scanned: bool = False
    worker_share: float = 0.6
    redis_share: float = 0.5
    cores_per_node: int = 16
    keys: int = 100_000  # that ask at about the same time
    meters_per_key: int = 3
    shared_meters: int = 5  # of teams, models and everybody, that a worker touches between two reports
    every_s: float = 0.05  # between two reports of a worker
    has_affinity: bool = False  # a key's requests go to one worker of its cell


class Need(NamedTuple):
    """Of a fleet."""

    cores: float
    workers: int
    nodes: int
    cells: int  # groups of workers with a Redis of their own
    cell_rate: float  # requests a second of one


def workers(rate: float, store: str, constants: Constants, plan: Plan) -> int:
    """How many it takes for so many requests a second."""
    return max(1, ceil(_cores(rate, store, constants, plan) / plan.worker_share))


def _cores(rate: float, store: str, constants: Constants, plan: Plan) -> float:
    each_us = constants.request_us[store] + (constants.scan_us if plan.scanned else 0.0)
    return rate * each_us / 1e6


def distinct(kinds: float, draws: float) -> float:
    """How many different ones come up when one of `kinds` is drawn evenly so many times."""
    return kinds * (1 - (1 - 1 / kinds) ** draws) if kinds > 1 else min(1.0, draws)


def slices(rate: float, store_workers: int, keys: float, plan: Plan) -> float:
    """Meters that one worker's report tells of: of keys that asked since the last one, and those that are shared."""
    draws = rate / store_workers * plan.every_s
    found = distinct(keys / store_workers if plan.has_affinity else keys, draws)
    return plan.meters_per_key * found + plan.shared_meters


def redis_cores(rate: float, store: str, constants: Constants, plan: Plan, *, keys: float | None = None) -> float:
    """What the server of one cell takes. `keys`: of this cell; absent: all of the plan's."""
    if store != "leased":
        return rate * constants.pair_us / 1e6
    count = workers(rate, store, constants, plan)
    told = slices(rate, count, plan.keys if keys is None else keys, plan)
    lines = rate / count * plan.every_s
    reports = max(1.0, told / MAX_METERS, lines / MAX_LINES) / plan.every_s * count
    per_window = count / plan.every_s
    used_us = reports * constants.report_us + per_window * told * constants.slice_us + rate * constants.line_us
    return used_us / 1e6


def need(rate: float, store: str, constants: Constants, plan: Plan) -> Need:
    """Of a fleet for so many requests a second.

    A Redis is one thread for one prefix, so what is beyond one is cells: each has its Redis, its workers and its
    tenants, with their keys, and no limit reaches over two of them.
    """
    cells = 1
    if store in {"Redis", "leased"}:
        while redis_cores(rate / cells, store, constants, plan, keys=max(1.0, plan.keys / cells)) > plan.redis_share:
            cells += max(1, cells // 20)
    count = cells * workers(rate / cells, store, constants, plan)
    return Need(_cores(rate, store, constants, plan), count, ceil(count / plan.cores_per_node), cells, rate / cells)


def least_leased(nodes: int, *, units: float = 1) -> float:
    """What has to be left of a meter for anything of it to be leased, where one admission takes `units`.

    Below that Redis decides each request: a node's part of what is left is one in `SHARE` times the nodes, and a part
    of less than `LEAST` admissions is not worth having.
    """
    return LEAST * SHARE * nodes * units


def constants_of(folder: Path) -> Constants:
    """From what `bench.scale` and `bench.scale.redis_costs` have left there."""
    sweeps = json.loads((folder / "scale.json").read_text())["sweeps"]
    redis = json.loads((folder / "redis.json").read_text())
    by_mode = {row["mode"]: row["cpu_us"] for row in sweeps["concurrency"]["rows"] if row["connections"] == CONNECTIONS}
    by_store = {row["store"]: row["cpu_us"] for row in sweeps["stores"]["rows"]}
    return Constants(
        request_us={"none": by_mode[PASS], **by_store},
        scan_us=max(0.0, by_mode[EVERYTHING] - by_store["embedded"]),
        pair_us=redis["pair_us"]["8"],
        report_us=redis["report_us"],
        slice_us=redis["slice_us"],
        line_us=redis["line_us"],
    )


PLANS = {
    "Redis decides each": ("Redis", Plan()),
    "leases": ("leased", Plan()),
    "leases, scanned": ("leased", Plan(scanned=True)),
    # No option of the gateway: what reporting once a second, and a load balancer that looks at keys, would save.
    "leases told each second, a key to one worker": ("leased", Plan(every_s=1.0, has_affinity=True)),
}


def fleets(constants: Constants) -> list[dict[str, Any]]:
    return [
        {"rate": rate, "plan": name, **need(rate, store, constants, plan)._asdict()}
        for rate in RATES
        for name, (store, plan) in PLANS.items()
    ]


def stories() -> list[Story]:
    """A budget of 60,000 requests that is spent in 10 s, by more and more nodes."""
    return [Story(nodes, cap=60_000 * 3000, rate=6_000) for nodes in NODES]


def markdown(report: dict[str, Any]) -> str:
    constants = ", ".join(f"{name} {_number(value)}" for name, value in report["constants"].items())
    needs = table(
        ["requests / s", "limits", "cores", "workers", "nodes of 16", "cells (Redis)", "requests / s of a cell"],
        [
            [
                f"{one['rate']:,}",
                one["plan"],
                f"{one['cores']:,.1f}",
                f"{one['workers']:,}",
                f"{one['nodes']:,}",
                f"{one['cells']:,}",
                f"{one['cell_rate']:,.0f}",
            ]
            for one in report["fleets"]
        ],
    )
    played = table(
        [
            "nodes",
            "decided by the node",
            "in leases and unused, at most, of the budget",
            "refused first when spent or held was",
            "refused while leases had it",
            "of all refused",
            "left over at the end",
            "overspent",
            "nothing is leased below (requests left)",
        ],
        [
            [
                f"{one['nodes']}",
                f"{one['local_share']:.1%}",
                f"{one['most_leased']:.1%}",
                f"{one['first_refused_at']:.2%}",
                f"{one['phantom']:,}",
                f"{one['refused']:,}",
                f"{one['unspent']:.3%}",
                f"{one['overspent']}",
                f"{least_leased(one['nodes']):,.0f}",
            ]
            for one in report["stories"]
        ],
    )
    return f"# A fleet\n\n`python -m bench.scale.fleet`. Constants: {constants}.\n\n{needs}\n\n{played}\n"


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_number(one)}" for name, one in value.items()) + ")"
    return f"{value:.4g}"


def played(story: Story) -> dict[str, Any]:
    outcome = play(story)
    return {**asdict(outcome), "nodes": story.nodes, "local_share": outcome.local_share, "story": asdict(story)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    constants = constants_of(options.report)
    report = {
        "constants": asdict(constants),
        "fleets": fleets(constants),
        "stories": [played(story) for story in stories()],
    }
    (options.report / "fleet.json").write_text(json.dumps(report, indent=1))
    text = markdown(report)
    (options.report / "fleet.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
