"""Gitleaks: a folder with a file for each text, its own rules. The path of the program is the argument."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

from bench.detection.peers.harness import Finding, place, serve_all


def scan(texts: list[str]) -> list[list[Finding]]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for i, text in enumerate(texts):
            # Its rules leave out some names of files; these it takes.
            (folder / f"text{i}.txt").write_text(text)
        report = [
            "--report-format",
            "json",
            "--report-path",
            "-",
            "--log-level",
            "error",
            "--no-banner",
            "--exit-code",
            "0",
        ]
        done = subprocess.run([sys.argv[1], "dir", *report, name], capture_output=True, text=True, check=True)
    findings: list[list[Finding]] = [[] for _ in texts]
    for one in json.loads(done.stdout or "[]"):
        i = int(pathlib.Path(one["File"]).stem.removeprefix("text"))
        placed = place(texts[i], one["Secret"], one["StartLine"])
        if placed:
            findings[i].append(placed)
    return findings


if __name__ == "__main__":
    serve_all(scan)
