"""Betterleaks through its bindings for Python: strings, its own rules."""

from __future__ import annotations

import betterleaks

from bench.detection.peers.harness import Finding, ScanOne, place, serve


def prepare() -> ScanOne:
    def scan(text: str) -> list[Finding]:
        found = betterleaks.scan_string(text)
        placed = (place(text, one.match.value, one.location.start_line) for one in found)
        return [finding for finding in placed if finding]

    return scan


if __name__ == "__main__":
    serve(prepare)
