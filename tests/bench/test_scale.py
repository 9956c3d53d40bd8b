"""What judges and extrapolates: lines, the calculation of a fleet, the story of leases, the verdicts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.processes import free_port
from bench.scale import fleet, overload, soak
from bench.scale.fits import line, plane, trend
from bench.scale.fleet import Constants, Plan, distinct, least_leased, need, redis_cores, slices, workers
from bench.scale.lease_simulation import Shared, Story, play
from bench.scale.report import markdown
from bench.scale.sweeps import concurrency, keys, rules
from tollhouse.middlewares.stores.leased.slices import LEAST

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "bench" / "harness" / "target" / "debug"
COSTS = Constants(
    request_us={"none": 50, "embedded": 70, "Redis": 200, "leased": 150},
    scan_us=100,
    pair_us=100,
    report_us=150,
    slice_us=9,
    line_us=3,
)


def _run(module: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, "--report", str(folder), *options]
    environment = {**os.environ, "BENCH_PROGRAMS": str(PROGRAMS)}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)


# Lines


def test_a_line_through_exact_points_is_exact():
    found = line([(x, 3 + 2 * x) for x in range(10)])
    assert found[:2] == pytest.approx((3, 2))
    assert found.margin == pytest.approx(0, abs=1e-9)


def test_the_margin_is_students():
    # Four points, two degrees of freedom: t = 4.303.
    found = line([(0, 0.0), (1, 1.0), (2, 0.0), (3, 1.0)])
    assert found.slope == pytest.approx(0.2)
    assert found.margin == pytest.approx(4.303 * (0.8 / 2 / 5) ** 0.5, rel=0.02)


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, 1), (1, 2)]])
def test_what_is_no_line_is_refused(points):
    with pytest.raises(ValueError, match=r"line|same x"):
        line(points)


def test_noise_is_flat_and_a_leak_in_it_is_not():
    flat = rising = 0
    for seed in range(60):
        chance = random.Random(seed)
        noise = [chance.gauss(0, 100) for _ in range(60)]
        flat += trend([(x, 5000 + each) for x, each in enumerate(noise)]).is_flat
        rising += not trend([(x, 5000 + 10 * x + each) for x, each in enumerate(noise)]).is_flat
    assert flat >= 52
    assert rising == 60


def test_a_plane_is_found_again():
    points = [((1.0, a, b), 150 + 9 * a + 3 * b) for a in (3, 30, 120) for b in (1, 20, 200)]
    assert plane(points) == pytest.approx((150, 9, 3))
    with pytest.raises(ValueError, match="determine"):
        plane([((1.0, 2.0), 1.0), ((2.0, 4.0), 2.0)])


# Fleets


def test_draws_from_many_are_distinct_and_from_few_are_all():
    assert distinct(1_000_000, 100) == pytest.approx(100, rel=0.001)
    assert distinct(10, 10_000) == pytest.approx(10)
    assert distinct(1, 0.5) == 0.5
    chance = random.Random(1)
    seen = [len({chance.randrange(50) for _ in range(80)}) for _ in range(400)]
    assert distinct(50, 80) == pytest.approx(sum(seen) / len(seen), rel=0.02)


def test_workers_are_the_work_over_what_one_is_to_do():
    plan = Plan(worker_share=0.5)
    assert workers(100_000, "none", COSTS, plan) == 10  # 5 cores
    assert workers(100_000, "none", COSTS, replace(plan, scanned=True)) == 30
    assert workers(1, "none", COSTS, plan) == 1


def test_without_leases_redis_takes_a_pair_for_each():
    assert redis_cores(10_000, "Redis", COSTS, Plan()) == pytest.approx(1.0)


def test_with_leases_redis_takes_lines_reports_and_slices():
    plan = Plan(keys=1, meters_per_key=3, shared_meters=0, worker_share=1.0)
    # 1,000 a second are one worker's (0.15 cores): 20 reports of 3 meters and 50 lines each.
    expected = 20 * (150 + 3 * 9) + 1000 * 3
    assert slices(1000, 1, 1, plan) == 3
    assert redis_cores(1000, "leased", COSTS, plan) == pytest.approx(expected / 1e6)


def test_a_report_that_is_full_is_followed_by_another():
    plan = Plan(keys=10_000_000, meters_per_key=8, shared_meters=0, worker_share=1.0)
    rate = 4_000  # one worker, 200 different keys a report: 1,600 meters, of 200 to a report
    expected = 20 * (8 * 150 + 1600 * 9) + rate * 3
    assert redis_cores(rate, "leased", COSTS, plan) == pytest.approx(expected / 1e6, rel=0.001)


@pytest.mark.parametrize("store", ["Redis", "leased"])
@pytest.mark.parametrize("rate", fleet.RATES)
def test_no_redis_of_a_fleet_has_more_to_do_than_it_should(store, rate):
    plan = Plan()
    found = need(rate, store, COSTS, plan)
    keys_each = max(1.0, plan.keys / found.cells)
    assert redis_cores(found.cell_rate, store, COSTS, plan, keys=keys_each) <= plan.redis_share
    assert found.cells * found.cell_rate == pytest.approx(rate)
    assert found.workers >= found.cores
    if 1 < found.cells < 20:
        fewer = found.cells - 1
        assert redis_cores(rate / fewer, store, COSTS, plan, keys=plan.keys / fewer) > plan.redis_share


def test_keys_that_stay_with_a_worker_save_where_they_come_again_before_a_report():
    plan = Plan(keys=20_000)
    direct = need(100_000, "Redis", COSTS, plan).cells
    leased = need(100_000, "leased", COSTS, plan).cells
    own = need(100_000, "leased", COSTS, replace(plan, has_affinity=True, every_s=1.0)).cells
    assert own < leased < direct


def test_constants_come_from_what_was_measured(tmp_path):
    rows = [{"mode": mode, "connections": c, "cpu_us": c + us} for mode, us in (("pass-through", 1), ("everything", 90))
            for c in (1, 64)]  # fmt: skip
    stores = [{"store": name, "cpu_us": us} for name, us in (("embedded", 80), ("Redis", 300), ("leased", 200))]
    sweeps = {"sweeps": {"concurrency": {"rows": rows}, "stores": {"rows": stores}}}
    (tmp_path / "scale.json").write_text(json.dumps(sweeps))
    redis = {"pair_us": {"3": 60, "8": 100}, "report_us": 150, "slice_us": 9, "line_us": 3}
    (tmp_path / "redis.json").write_text(json.dumps(redis))
    found = fleet.constants_of(tmp_path)
    assert found.request_us == {"none": 65, "embedded": 80, "Redis": 300, "leased": 200}
    assert (found.scan_us, found.pair_us) == (154 - 80, 100)
    fleet.main(["--report", str(tmp_path)])
    report = json.loads((tmp_path / "fleet.json").read_text())
    assert len(report["fleets"]) == len(fleet.RATES) * len(fleet.PLANS)
    assert "| 1,000,000 | Redis decides each |" in (tmp_path / "fleet.md").read_text()


# Leases


@pytest.mark.parametrize("nodes", [1, 7, 40])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_budget_that_nodes_share_is_spent_and_nothing_more(nodes, seed):
    story = Story(nodes, cap=3_000 * 3000, rate=1_000, seed=seed)
    found = play(story)
    assert found.overspent == 0
    # What is left is less than the requests under way had reserved beyond their cost.
    assert 0 <= found.unspent * story.cap <= story.rate * story.takes_s * (story.want - story.cost) + story.want
    assert found.local + found.through + found.refused == found.asked
    assert found.refused > 0


def test_most_is_decided_by_the_nodes_while_there_is_much_and_few_share_it():
    few, many = (play(Story(nodes, cap=20_000 * 3000, rate=2_000)) for nodes in (4, 128))
    assert few.local_share > 0.8
    assert many.local_share < few.local_share / 2


def test_nothing_is_leased_below_what_the_equation_says():
    for nodes in (1, 10, 300):
        least = int(least_leased(nodes, units=40))
        for cap, is_leased in ((least, True), (least - 1, False)):
            shared = Shared(cap)
            shared.holders = set(range(1, nodes))
            _, _, limit = shared.report(0, 0, 0, 0, 10**9, LEAST * 40)
            assert (limit > 0) is is_leased


# Verdicts


def _leg(**growth: float) -> soak.Leg:
    chance = random.Random(3)
    leg = soak.Leg("pass-through", seconds=1.0)
    for turn in range(40):
        values = {name: 1000 + chance.random() + growth.get(name, 0) * turn for name in soak.WATCHED | soak.NOTED}
        leg.samples.append({"requests": 10_000.0 * turn, **values})
    return leg


def test_a_soak_that_grows_by_nothing_holds():
    assert _leg().rising() == []


@pytest.mark.parametrize("name", soak.WATCHED)
def test_whatever_rises_fails_a_soak(name):
    assert _leg(**{name: 0.2}).rising() == [name]
    assert _leg(**{name: -0.2}).rising() == [], "what shrinks is no leak"


def test_a_soak_that_was_too_short_does_not_hold():
    legs = {"pass-through": {"rising": [], "wrong": [], "counts": {"requests": 90, "streams": 10}}}
    assert soak.failures({"wanted": {"requests": 100, "streams": 10}, "legs": legs}) == [
        "90 of 100 requests in the time that there was"
    ]


def _overload(**changes: float) -> dict[str, Any]:
    held = {"goodput": 0.95, "p99_ms": 180.0, "p99_once_ms": 100.0, "refusal_us": 5.0, "serving_us": 100.0}
    return {**held, "live_failed": 0, "live_p95_ms": 20.0, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goodput": 0.89}, "89% of the capacity"),
        ({"p99_ms": 201.0}, "2.01 times"),
        ({"refusal_us": 11.0}, "11% of an answer"),
        ({"live_failed": 1}, "1 failed"),
        ({"live_p95_ms": 101.0}, "p95 101 ms"),
    ],
)
def test_each_bound_of_overload_can_break(changes, said):
    assert overload.broken(_overload()) == []
    (why,) = overload.broken(_overload(**changes))
    assert said in why


# The real thing, short


def test_a_sweep_measures_real_gateways_and_says_what(tmp_path):
    options = ("--only", "concurrency", "--points", "1", "--seconds", "0.4", "--no-plots")
    done = _run("bench.scale", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "scale.json").read_text())
    rows = report["sweeps"]["concurrency"]["rows"]
    assert [row["mode"] for row in rows] == ["pass-through", "everything"]
    assert all(row["rps"] > 0 and row["cpu_us"] > 0 for row in rows)
    assert "| pass-through | 1 |" in (tmp_path / "scale.md").read_text()


def test_what_fails_in_a_sweep_says_why_and_keeps_what_was_measured():
    found = {"date": "d", "load_average": (1, 2), "rows": [{"mode": "m", "connections": 1}], "why": "no", "notes": []}
    text = markdown({"machine": {"cpu": "c"}, "sweeps": {"concurrency": found}}, [concurrency.SWEEP])
    assert "Not measured: no" in text
    assert "| m | 1 | - |" in text


def test_a_short_soak_runs_every_kind_and_sees_a_leak(tmp_path):
    options = ("--requests", "2000", "--streams", "100", "--turn-s", "0.5", "--minutes", "0.5", "--leak", "3000000")
    done = _run("bench.scale.soak", tmp_path, *options)
    report = json.loads((tmp_path / "soak.json").read_text())
    for mode, leg in report["legs"].items():
        assert set(leg["counts"]) >= {"whole", "streams", "left", "refused upstream", "cut upstream", "no key"}, mode
        assert all(leg["counts"].values())
    assert done.returncode == 1
    assert "rises" in done.stderr


def test_keys_of_the_sweep_open_and_are_as_long_as_real_ones():
    assert keys.key(7) == f"sk-th-{'0' * 11}7-{'k' * 48}"
    assert keys.make.__doc__


def test_rules_of_the_sweep_are_each_others_neighbours_and_no_twins():
    found = rules.pack(300)
    assert len({each["id"] for each in found}) == len({each["regex"] for each in found}) == 300


def test_the_generator_offers_a_rate_and_counts_what_is_refused(tmp_path):
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"user": "status-429", "messages": []}))
    port = free_port()
    with subprocess.Popen([str(PROGRAMS / "mock"), "--port", str(port)], stdout=subprocess.PIPE) as mock:
        assert mock.stdout is not None
        mock.stdout.readline()
        options = {
            "port": port,
            "body": body,
            "connections": 4,
            "requests": 9999,
            "seconds": 1,
            "rate": 200,
            "allow": 429,
        }
        command = [
            str(PROGRAMS / "load"),
            *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        ]
        seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout)
        failing = subprocess.run(command[:-2], check=False, capture_output=True, text=True, timeout=20)
        mock.kill()
    assert 150 <= seen["requests"] <= 200
    assert seen["allowed"] == seen["requests"]
    assert failing.returncode == 1, "a status that is not allowed is an error"
