"""Kingfisher through its library for Python: bytes, its own rules at their default confidence, nothing validated."""

from __future__ import annotations

import kingfisher_sdk

from bench.detection.peers.harness import Finding, ScanOne, characters, serve


def prepare() -> ScanOne:
    scanner = kingfisher_sdk.Scanner()

    def scan(text: str) -> list[Finding]:
        raw = text.encode()
        scanner.reset_dedup()
        places = [finding.location for finding in scanner.scan(raw) if finding.visible]
        spans = [(one["start_offset"], one["end_offset"]) for one in places]
        return [("SECRET", characters(raw, start), characters(raw, end)) for start, end in spans]

    return scan


if __name__ == "__main__":
    serve(prepare)
