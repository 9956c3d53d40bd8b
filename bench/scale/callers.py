"""Callers that ask again as soon as they are answered, or refused: how many are served, and who waits how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.peers_report import table
from bench.scale.bench import Load, chat
from bench.scale.watching import ADMIN, watched

if TYPE_CHECKING:
    from bench.scale.bench import Bench

CALLERS = (64, 512, 1024, 2048, 4096, 8000)


def measure(bench: Bench, mode: str) -> list[dict[str, Any]]:
    """One gateway, and more and more of them."""
    found = []
    with bench.gateway(mode, upstream={}, general_settings={"admin_key": ADMIN}) as gateway:
        for callers in CALLERS:
            seen, _, live = watched(bench, gateway, Load(chat(), callers, seconds=bench.seconds / 2))
            found.append(
                {
                    "mode": mode,
                    "callers": callers,
                    "served": (seen["requests"] - seen["allowed"]) / seen["elapsed_s"],
                    "refused": seen["allowed"] / seen["elapsed_s"],
                    "p50_ms": seen["latency_us"]["p50"] / 1000,
                    "p99_ms": seen["latency_us"]["p99"] / 1000,
                    "live_p95_ms": live[0],
                    "live_failed": live[1],
                }
            )
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """A line for each number of callers."""
    head = ["mode", "callers", "served / s", "refused / s", "p50, p99 ms", "health and admin: p95 ms / failed"]
    lines = [
        [
            row["mode"],
            f"{row['callers']:,}",
            f"{row['served']:,.0f}",
            f"{row['refused']:,.0f}",
            f"{row['p50_ms']:,.0f}, {row['p99_ms']:,.0f}",
            f"{row['live_p95_ms']:,.0f} / {row['live_failed']}",
        ]
        for row in rows
    ]
    return table(head, lines)
