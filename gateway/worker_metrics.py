"""What all workers have counted: each writes it down in files of its own, and a scrape reads those of all."""

from __future__ import annotations

import os
from glob import glob
from typing import TYPE_CHECKING

from prometheus_client import multiprocess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric


class WorkerMetrics(multiprocess.MultiProcessCollector):
    """Registers itself. folder: that of PROMETHEUS_MULTIPROC_DIR.

    The library reads whatever is there, and cannot read a file that a worker which starts has just made: a scrape at
    that moment would fail.
    """

    def collect(self) -> Iterable[Metric]:
        made = glob(os.path.join(self._path, "*.db"))
        metrics: Iterable[Metric] = self.merge([path for path in made if _holds_anything(path)])  # type: ignore[no-untyped-call]
        return metrics


def _holds_anything(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except FileNotFoundError:  # a gauge of a worker that has ended
        return False
