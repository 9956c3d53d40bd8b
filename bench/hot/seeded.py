"""`python -m bench.hot.seeded [--runs N]`: proof that the gate of instructions sees a tenth more, and nothing else.

In a copy of this tree assignments that nobody needs are put into one function after the other, so many that the piece
takes a tenth more instructions. The gate must fail each time and name the piece; then N runs of the unchanged copy must
pass.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.callgrind import Counts
from bench.gateways.entry import ROOT
from bench.hot import tree
from bench.hot.instructions import COUNTS, toolchain

MORE = 0.10
TRIED = 200  # by which it is found out what an assignment takes


@dataclass(frozen=True)
class Seed:
    """Which piece a function belongs to, and how many units of it a call does."""

    piece: str
    file: str
    function: str  # with its class
    units: int = 1


SEEDS = (
    Seed("request id", "middlewares/request_id.py", "RequestIdStage.enter"),
    Seed("edge", "middlewares/edge.py", "EdgeStage.enter"),
    Seed("auth", "middlewares/auth.py", "AuthStage.enter"),
    Seed("body", "middlewares/body.py", "BodyStage.enter"),
    Seed("policy", "middlewares/policy.py", "PolicyStage.decide"),
    Seed("scan: 1 KB", "middlewares/scan.py", "ScanStage.enter"),
    Seed("scan: answer", "middlewares/guard.py", "AnswerGuard.check"),
    Seed("route", "gateway/routing.py", "RouteStage.enter"),
    Seed("quota: in memory", "middlewares/quota.py", "QuotaStage.leave"),
    Seed("quota: with the journal", "middlewares/stores/embedded.py", "EmbeddedQuota.admit"),
    Seed("access log", "middlewares/access_log.py", "AccessLogStage.leave"),
    Seed("metrics", "middlewares/metrics.py", "MetricsStage.leave"),
    Seed("receipt", "middlewares/receipt.py", "ReceiptStage.leave"),
    Seed("receipt: in the chain", "middlewares/stores/chain.py", "Chain.append", 64),
    Seed("ledger: row", "middlewares/stores/ledger.py", "LedgerFile.append_from", 64),
    Seed("server: request and answer", "gateway/server/exchange.py", "HttpExchange.respond"),
    Seed("upstream: ask and answer", "providers/openai.py", "OpenAIUpstream.start"),
    Seed("app: pass-through, whole", "gateway/lane.py", "Lane.__call__"),
    Seed("app: everything, stream", "gateway/request.py", "Request.run"),
    Seed("sockets: pass-through, whole", "gateway/fastpath.py", "FastPath.begin"),
    Seed("sockets: limits, whole", "gateway/fastpath.py", "FastPath.end"),
    Seed("sockets: scanned, whole", "gateway/errand.py", "Errand.raise_flags"),
    Seed("sockets: refused", "gateway/fastpath.py", "FastPath._refused"),
    Seed("sockets: everything, whole", "gateway/request.py", "Request.start"),
    Seed("sockets: everything, stream", "gateway/request.py", "Request.run"),
)


@contextmanager
def copied() -> Iterator[Path]:
    """The files that git knows of, as they are now, and the extension."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for name in [*tree.git("ls-files").splitlines(), tree.EXTENSION]:
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        yield copy


@contextmanager
def slowed(copy: Path, seed: Seed, assignments: int) -> Iterator[None]:
    """So many assignments at the beginning of a function."""
    path = copy / seed.file
    source = path.read_text()
    lines = source.splitlines(keepends=True)
    first = _first_statement(ast.parse(source), seed.function)
    lines.insert(first.lineno - 1, " " * first.col_offset + "_ = 0; " * assignments + "\n")
    path.write_text("".join(lines))
    yield
    path.write_text(source)


def _first_statement(module: ast.Module, function: str) -> ast.stmt:
    owner, _, name = function.rpartition(".")
    for one in ast.walk(module):
        if isinstance(one, ast.ClassDef) and one.name == owner:
            for part in one.body:
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name == name:
                    return part.body[1] if ast.get_docstring(part) is not None else part.body[0]
    raise SystemExit(f"there is no {function} any more: SEEDS in bench/hot/seeded.py names it")


def gate(copy: Path, only: str = "") -> tuple[bool, str]:
    """Whether the gate passes in the copy, and what it says."""
    command = [sys.executable, "-m", "bench.hot.instructions", *(["--only", only, "--once"] if only else [])]
    done = subprocess.run(command, cwd=copy, env=tree.environment(copy), capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def assignment_takes(copy: Path, held: Counts) -> float:
    """Instructions."""
    seed = SEEDS[1]
    with slowed(copy, seed, TRIED):
        return (tree.count(copy, only=[seed.piece])[seed.piece] - held.instructions[seed.piece]) / TRIED


def main() -> int:
    """Seed, then run unchanged."""
    parser = argparse.ArgumentParser(description="Proof that the gate sees a tenth more, and passes what is unchanged.")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="of the unchanged tree")
    options = parser.parse_args()
    held = Counts.read(COUNTS)
    if held.toolchain != toolchain():
        raise SystemExit("the counts are of another toolchain: make instructions-hot INSTRUCTIONS=--update")
    failures = 0
    with copied() as copy:
        takes = assignment_takes(copy, held)
        print(f"an assignment takes {takes:.1f} instructions")
        for seed in SEEDS:
            assignments = round(held.instructions[seed.piece] * MORE * seed.units / takes)
            with slowed(copy, seed, assignments):
                passed, told = gate(copy, seed.piece)
            beyond = [line for line in told.splitlines() if " instructions, at most " in line]
            named = next((line for line in beyond if line.startswith(f"{seed.piece}: ")), "")
            failures += passed or not named
            print(f"{'MISSED' if passed or not named else 'seen':6} {seed.function:28} {named or told}", flush=True)
        for number in range(1, options.runs + 1):
            passed, told = gate(copy)
            failures += not passed
            print(f"unchanged, run {number}: {'passes' if passed else told}", flush=True)
    print(f"{len(SEEDS)} seeded, {options.runs} runs, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
