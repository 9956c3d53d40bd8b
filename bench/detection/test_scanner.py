"""`pytest bench/detection`: what a call of the scanner costs from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.detection.texts import benign, cut
from tollhouse import Scanner

MEGABYTE = 1 << 20
Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner()


@pytest.mark.parametrize("size", [1024, 4096, 65_536])
def test_scan(benchmark: Any, scanner: Scanner, size: int) -> None:
    pieces = cut(benign(MEGABYTE), size)
    scan = scanner.scan

    def all_pieces() -> None:
        for piece in pieces:
            scan(piece)

    total = sum(len(piece.encode()) for piece in pieces)
    benchmark.extra_info |= {"bytes": total, "calls": len(pieces)}
    benchmark(all_pieces)
    tell(benchmark, total, len(pieces))


def test_stream_of_deltas(benchmark: Any, scanner: Scanner) -> None:
    deltas = cut(benign(MEGABYTE // 8), 4)

    def whole_stream() -> None:
        feed = scanner.stream().feed
        for delta in deltas:
            feed(delta)

    benchmark(whole_stream)
    tell(benchmark, sum(len(delta.encode()) for delta in deltas), len(deltas))


def test_findings(benchmark: Any, scanner: Scanner) -> None:
    text = cut(benign(4096), 4000)[0] + " Write to jo@example.com or call +1 212 555 0142."
    result = benchmark(scanner.scan, text)
    assert "jo@example.com" not in result.redacted


def tell(benchmark: Any, size: int, calls: int) -> None:
    """Print what the targets are stated in."""
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        print(f"\n{benchmark.name}: {size / median / 1e9:.3f} GB/s, {median / calls * 1e9:.0f} ns a call")
