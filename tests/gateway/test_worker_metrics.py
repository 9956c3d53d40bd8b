from __future__ import annotations

import json

from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict

from tollhouse.gateway.worker_metrics import WorkerMetrics


def _count(path, value: float) -> None:
    counted = MmapedDict(str(path))
    counted.write_value(json.dumps(["requests", "requests_total", {}, "All."]), value, 0.0)
    counted.close()


def test_the_counts_of_workers_are_added_and_files_that_are_being_made_or_have_gone_hold_none(tmp_path):
    registry = CollectorRegistry()
    WorkerMetrics(registry, path=str(tmp_path))
    _count(tmp_path / "counter_1.db", 2)
    _count(tmp_path / "counter_2.db", 3)
    (tmp_path / "counter_3.db").touch()
    (tmp_path / "gauge_livesum_4.db").symlink_to(tmp_path / "gone")
    assert registry.get_sample_value("requests_total") == 5
