"""Trains a linear model of the injection detector and writes its weights to config/injection.

    cargo build --release -p tollhouse-core --example injection_probe
    TOLLHOUSE_CORPORA=... python scripts/train_injection.py latin|languages
    TOLLHOUSE_CORPORA=... python scripts/train_injection.py --report

Needs numpy, scipy, scikit-learn and what injection_prose.py and injection_documents.py read. Words are cut and hashed
by the compiled detector itself, so features cannot differ between training and use. Held-out records are never read
into the model. Five-fold cross-validations over the others, near duplicates kept together, give the threshold, which is
put into the bias: at a score of 0.5 about as many of the harmless texts that the model is measured on are flagged as
it allows. With --report nothing is written.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from corpora import ROOT
from injection_corpora import ATTACKS, BENIGN, TOOL, TRIGGER_WORDS, Probed, Record, probe, records
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

FOLDER = ROOT / "config" / "injection"
MAGIC = b"THINJ1\0\0"
BLOCK, WINDOW, SMOOTHING = 64, 256, 8.0
"""As in native/core/src/scan/injection/model.rs."""
RATES = (0.001, 0.002, 0.005, 0.01)
INVERSE_REGULARISATION = 3.0
PRIOR = 0.5
"""The power of the log-ratio of naive Bayes by which a feature is scaled: what tells the classes apart is penalised
less than chance finds of few texts."""
SEED = 0
SPLITS = 5
"""Cross-validations over whose thresholds the mean is taken: each hangs on a handful of texts."""
EPSILON = 1e-6
"""Log-odds below which scores are the same."""


@dataclass(frozen=True)
class Kind:
    """One of the models: where its weights are, what it is asked about, what it learns from."""

    file: str
    bits: int
    """log2 of the number of weights."""
    words: Callable[[Probed], NDArray[np.uint32]]
    asked: Callable[[Probed], bool]
    emphasis: dict[str, float]
    """What a text of a set weighs; 1 where it does not say."""
    benign: tuple[str, ...]
    """The sets over which its false positives are counted."""
    false_positives: float
    """The share of these that may be flagged."""
    caution: float = 0.0
    """What a full window has to weigh more than one of a single block, in log-odds: as in native/core."""


KINDS = {
    "latin": Kind(
        file="weights.bin",
        bits=16,
        words=lambda probed: probed.words,
        asked=lambda probed: probed.modelled,
        emphasis={
            "inthewild": 2.0,
            "notinject": 2.0,
            "wildguard_benign": 8.0,
            "mitre_frr": 2.0,
            "xstest_safe": 2.0,
            # A bad question is no injection, but attacks often hold one: it must not weigh much either way.
            "harmful": 0.3,
            "pii": 0.5,
            "secrets": 0.5,
            "sgd_multiturn": 0.5,
            "jbb_PAIR": 0.5,
            "languages_benign": 8.0,
            "documents": 0.15,
        },
        benign=BENIGN,
        false_positives=0.0006,
        caution=1.0,
    ),
    "languages": Kind(
        file="weights-languages.bin",
        bits=15,
        words=lambda probed: probed.all_words,
        asked=lambda probed: probed.foreign,
        emphasis={
            "languages_benign": 3.0,
            "languages_text": 1.0,
            "languages_attack": 2.0,
            "mitre_frr": 2.0,
            "notinject": 2.0,
            "system_prompts": 2.0,
            "pii": 0.5,
            "prose": 0.5,
            "interface": 0.3,
        },
        benign=("languages_benign", "languages_text", "mitre_frr", "notinject"),
        false_positives=0.003,
    ),
}

SHUT = 0.3
"""What harmless texts weigh at which the gate does not open: the model is not asked about their like."""


@dataclass(frozen=True)
class Windows:
    features: csr_matrix
    owner: NDArray[np.int64]
    """The record that a row was cut from."""
    caution: NDArray[np.float64]
    """What its score is lowered by."""


def buckets(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """The three buckets of each word: itself, with the word before, with the word before that."""
    last = np.concatenate([np.zeros(1, np.uint32), words[:-1]])
    previous = np.concatenate([np.zeros(1, np.uint32), last[:-1]])
    pair = ((last * np.uint32(0x85EBCA6B)) ^ words) * np.uint32(0x9E3779B1)
    skipping = ((previous * np.uint32(0xC2B2AE35)) ^ words) * np.uint32(0x9E3779B1)
    hashes = np.stack([words, pair, skipping], axis=1)
    return (hashes >> np.uint32(16)) % np.uint32(1 << bits)


def spans(count: int) -> list[tuple[int, int]]:
    """First and last word of each window that the detector measures, less those that grow to the first full one."""
    if count <= WINDOW:
        return [(0, count)]
    ends = [*range(WINDOW, count, BLOCK), count]
    return [((end - 1) // BLOCK * BLOCK + BLOCK - WINDOW, end) for end in ends]


def windows(probed: list[Probed], kind: Kind) -> Windows:
    columns, values, lengths, owner, caution = [], [], [], [], []
    for index, item in enumerate(probed):
        words = kind.words(item)
        if not len(words):
            continue
        hashed = buckets(words, kind.bits)
        for start, end in spans(len(words)):
            found, counts = np.unique(hashed[start:end].ravel(), return_counts=True)
            columns.append(found)
            values.append(counts / np.sqrt(end - start + SMOOTHING))
            lengths.append(len(found))
            owner.append(index)
            caution.append(kind.caution * ((end - start - 1) // BLOCK) / (WINDOW // BLOCK - 1))
    shape = (len(owner), 1 << kind.bits)
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    features = csr_matrix((np.concatenate(values), np.concatenate(columns), pointers), shape=shape)
    return Windows(features, np.array(owner), np.array(caution))


def ratios(features: csr_matrix, labels: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each feature tells the classes apart: the size of the log-ratio of its smoothed shares in them."""
    present = features.astype(bool).astype(np.float64)
    shares = [1.0 + present.T @ (weights * chosen) for chosen in (labels, ~labels)]
    return np.abs(np.log(shares[0] / shares[0].sum()) - np.log(shares[1] / shares[1].sum()))


def fit(
    data: Windows, rows: NDArray[np.int64], attack: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Fits on all windows of harmless texts and on the one window of each attack that looks most like one.

    Returns the weights of the features and the bias.
    """
    owner, labels = data.owner[rows], attack[data.owner[rows]]
    per_text = np.bincount(owner, minlength=len(attack))
    weights = weight[owner] / np.where(labels, 1.0, np.sqrt(per_text[owner]))
    features = data.features[rows]
    chosen = ~labels | (np.diff(owner, prepend=-1) != 0)
    for last in (False, True):
        scale = ratios(features[chosen], labels[chosen], weights[chosen]) ** PRIOR
        model = LogisticRegression(C=INVERSE_REGULARISATION, solver="liblinear", random_state=SEED)
        model.fit(features[chosen].multiply(scale).tocsr(), labels[chosen], weights[chosen])
        coefficients = model.coef_[0] * scale
        if not last:
            scores = features @ coefficients
            chosen = ~labels | (scores >= highest(scores, owner, len(attack))[owner])
    return coefficients, float(model.intercept_[0])


def highest(scores: NDArray[np.float64], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """The score of each record: that of its highest window."""
    result = np.full(count, -99.0)
    np.maximum.at(result, owner, scores)
    return result


def emphasis(everything: list[Record], probed: list[Probed], kind: Kind) -> NDArray[np.float64]:
    """What each text weighs in training."""
    sources = [kind.emphasis.get(record.source, 1.0) for record in everything]
    shut = [not (record.attack or kind.asked(item)) for record, item in zip(everything, probed, strict=True)]
    return np.array(sources) * np.where(shut, SHUT, 1.0)


def cross_validated(
    data: Windows,
    rows: NDArray[np.int64],
    everything: list[Record],
    usable: NDArray[np.bool_],
    weight: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """The score of each record by a model that has seen none of its group."""
    attack = np.array([record.attack for record in everything])
    groups = np.unique([record.group for record in everything], return_inverse=True)[1][data.owner[rows]]
    scores = np.full(data.features.shape[0], -99.0)
    for train, test in GroupKFold(5, shuffle=True, random_state=seed).split(rows, groups=groups):
        coefficients, bias = fit(data, rows[train][usable[data.owner[rows[train]]]], attack, weight)
        scores[rows[test]] = data.features[rows[test]] @ coefficients + bias - data.caution[rows[test]]
    return highest(scores, data.owner, len(everything))


def usable(record: Record, probed: Probed, kind: Kind) -> bool:
    """Whether a model learns from a text."""
    if record.source in TOOL:
        return False
    if kind is KINDS["languages"]:
        return probed.foreign and not record.ordinary
    if record.source in {"languages_attack", "prose", "interface"}:
        return False
    # Attacks of which this model is not asked would teach that their language is one.
    return not record.attack or probed.modelled or not probed.searched


def combined(scores: NDArray[np.float64], probed: list[Probed]) -> NDArray[np.float64]:
    """Log-odds of a model, where it is asked, and of the templates, as the detector joins them."""
    phrases = [np.log(p.phrase / (1 - p.phrase)) if p.searched and p.phrase > 0 else -99.0 for p in probed]
    return np.maximum(scores, phrases)


def threshold(scores: NDArray[np.float64], benign: NDArray[np.bool_], rate: float) -> float:
    return float(np.sort(scores[benign])[::-1][int(rate * benign.sum())])


def log_odds(scores: list[float]) -> NDArray[np.float64]:
    clipped = np.clip(scores, 1e-9, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))


def report(
    title: str, scores: NDArray[np.float64], everything: list[Record], from_tools: NDArray[np.float64] | None = None
) -> None:
    """Prints the share of each set that is flagged at fixed rates of false positives over all benign sets.

    And at the two thresholds: 0.5 for users; 0.3 for tools, whose texts are scored as such if the scores are given.
    """
    sources = np.array([record.source for record in everything])
    benign = np.isin(sources, BENIGN)
    columns = [(f"{rate:.1%}", scores, threshold(scores, benign, rate)) for rate in RATES]
    # What reaches a threshold counts, in use; above are shares over a score.
    columns += [
        ("0.5", scores, -EPSILON),
        ("tool 0.3", scores if from_tools is None else from_tools, np.log(0.3 / 0.7) - EPSILON),
    ]
    print(f"\n{title}\n{'set':24}{'texts':>7}" + "".join(f"{name:>10}" for name, _, _ in columns))  # noqa: T201
    rows = [("all benign", benign), ("trigger words", np.isin(sources, TRIGGER_WORDS))]
    rows += [(source, sources == source) for source in sorted(set(sources), key=lambda name: (name in ATTACKS, name))]
    for name, chosen in rows:
        shares = "".join(f"{np.mean(values[chosen] > cut):10.3f}" for _, values, cut in columns)
        print(f"{name:24}{chosen.sum():7}{shares}")  # noqa: T201


def quantised(coefficients: NDArray[np.float64], bias: float) -> bytes:
    scale = np.abs(coefficients).max() / 127
    return MAGIC + struct.pack("<ff", bias, scale) + np.round(coefficients / scale).astype(np.int8).tobytes()


def measure(everything: list[Record], probed: list[Probed], *, tuning: bool) -> None:
    odds, from_tools = (log_odds(values) for values in zip(*((p.score, p.tool_score) for p in probed), strict=True))
    kept = np.array([record.held_out for record in everything]) != tuning
    chosen = [record for record, keep in zip(everything, kept, strict=True) if keep]
    report(f"{'Tuning' if tuning else 'Held-out'} texts, compiled weights", odds[kept], chosen, from_tools[kept])


def train(everything: list[Record], probed: list[Probed], kind: Kind) -> None:
    data = windows(probed, kind)
    held_out = np.array([record.held_out for record in everything])
    learned = np.array([usable(record, item, kind) for record, item in zip(everything, probed, strict=True)])
    asked = np.array([kind.asked(item) for item in probed])
    rows = np.flatnonzero(~held_out[data.owner])
    weight = emphasis(everything, probed, kind)
    benign = np.array([record.source in kind.benign for record in everything]) & ~held_out
    splits = [
        np.where(asked, cross_validated(data, rows, everything, learned, weight, seed), -99.0) for seed in range(SPLITS)
    ]
    shifts = [threshold(scores, benign, kind.false_positives) for scores in splits]
    shift = float(np.mean(shifts))
    print(f"thresholds of {SPLITS} splits: {', '.join(f'{each:.3f}' for each in shifts)}")  # noqa: T201
    report(
        "Development texts, cross-validated",
        combined(splits[0] - shift, probed)[~held_out],
        [record for record in everything if not record.held_out],
    )
    attack = np.array([record.attack for record in everything])
    coefficients, bias = fit(data, rows[learned[data.owner[rows]]], attack, weight)
    path = FOLDER / kind.file
    path.write_bytes(quantised(coefficients, bias - shift))
    print(f"\nwrote {path.relative_to(ROOT)}, threshold {shift:.3f}; build again to use it")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the injection weights.")
    parser.add_argument("model", nargs="?", choices=KINDS, help="the model to train")
    parser.add_argument("--report", action="store_true", help="only print the figures of the compiled weights")
    parser.add_argument("--tuning", action="store_true", help="those of the texts that may be tuned on")
    arguments = parser.parse_args()
    if not (arguments.report or arguments.model):
        parser.error("name a model to train, or ask for a --report")
    everything = records()
    probed = probe([record.text for record in everything])
    if arguments.report:
        measure(everything, probed, tuning=arguments.tuning)
    else:
        train(everything, probed, KINDS[arguments.model])


if __name__ == "__main__":
    main()
