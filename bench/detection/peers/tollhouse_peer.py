"""This project's own scanner, through Python like the others."""

from __future__ import annotations

from bench.detection.peers.harness import Finding, ScanOne, serve
from tollhouse import Scanner


def prepare() -> ScanOne:
    look = Scanner(policy={"pii": "redact", "secrets": "redact", "injection": "flag"}).scan

    def scan(text: str) -> list[Finding]:
        return [(one.type, one.start, one.end) for one in look(text).findings]

    return scan


if __name__ == "__main__":
    serve(prepare)
