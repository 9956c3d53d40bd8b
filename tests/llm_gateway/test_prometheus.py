"""A real Prometheus scrapes a real gateway, and what is shipped for it is true of what the gateway exposes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.collector import Collector
from tests.support.net import wait_until
from tests.support.prometheus import DEPLOY, running_prometheus
from tests.support.scenario import counted, running_scenario_gateway

pytestmark = pytest.mark.llm_gateway_real_integration

DASHBOARDS = sorted(DEPLOY.glob("grafana/*.json"))
NAME = re.compile(r"\bgateway_[a-z_]+\b")


def _panels(path: Path) -> list[tuple[str, str]]:
    dashboard = json.loads(path.read_text())
    targets = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [(title, expr.replace("$model", ".*").replace("$provider", ".*")) for title, expr in targets]


def _rules() -> list[tuple[str, str]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    "command",
    [["check", "config", "prometheus.yaml"], ["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]],
    ids=" ".join,
)
def test_promtool_has_nothing_to_say(command):
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, cwd=DEPLOY, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test():
    tested = re.findall(r"alertname: (\w+)", (DEPLOY / "alerts_test.yaml").read_text())
    assert {name for name, _ in _rules()} == set(tested)


def test_panels_have_an_id_and_a_place_each():
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        places = [panel["gridPos"] for panel in panels]
        taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(taken) == len(set(taken))
        assert max(x for x, _ in taken) < 24


def test_a_real_prometheus_scrapes_it_and_finds_what_panels_and_alerts_ask_for():
    with Collector() as collector, running_scenario_gateway(collector) as gateway:
        counted(gateway)
        gateway.wait_idle()
        with running_prometheus(gateway.port) as prometheus:
            scrapes = 'count_over_time(up{job="tollhouse"}[1m])'
            wait_until(lambda: (prometheus.value(scrapes) or 0) >= 3, what="three scrapes", every_s=0.05)
            assert prometheus.value("up") == 1
            chats = 'gateway_requests_total{route="/v1/chat/completions",status="200",model="good"}'
            assert prometheus.value(f"sum({chats})") == gateway.metric(
                "gateway_requests_total", route="/v1/chat/completions", status="200", model="good"
            )
            exposed = prometheus.names()
            asked = [pair for path in DASHBOARDS for pair in _panels(path)]
            assert len(asked) > 20
            empty = [title for title, expr in asked if not prometheus.query(expr)]
            assert not empty
            for title, expr in [*asked, *_rules()]:
                assert set(NAME.findall(expr)) <= exposed, title
                prometheus.query(expr)
            unwatched = {
                name for name in exposed if name.startswith("gateway_") and not name.endswith(("_count", "_sum"))
            }
            unwatched -= {name for _, expr in asked for name in NAME.findall(expr)}
            assert unwatched <= {
                "gateway_telemetry_dropped_total",
                "gateway_hedges_total",
                "gateway_upstream_malformed_events_total",
            }
            gateway.stop()
            down = 'ALERTS{alertname="TollhouseDown"}'
            wait_until(lambda: prometheus.query(down), what="the alert is on its way", every_s=0.05)
            assert prometheus.value("up") == 0
