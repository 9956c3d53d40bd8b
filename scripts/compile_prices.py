"""Compile config/prices.json, the price table, from the data of genai-prices and from config/models.json.

Usage: python scripts/compile_prices.py [--day 2026-11-21]

Prices become integers, nano-USD per million tokens, as they hold on that day, with what is known to change later. Names
become patterns: `*` is anything, `#` a digit, `!` before what must not match. A model that has no price for tokens is
left out: it is unpriced, not free.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai_prices import types as source
from genai_prices.data import providers

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "config" / "prices.json"
MODELS = ROOT / "config" / "models.json"

# Prices by genai-prices' keys. Other things that cost (searches, pages, hours, characters, video) are no tokens that a
# gateway sees counted by kind.
KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "audio_cached",
    "input_image_mtok": "image_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
}
# Ways of processing that a request or its caller chooses, by what genai-prices calls them.
VARIANTS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
}
# Names of providers in LiteLLM's files and in ours.
ALIASES = {
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
# Plans for seats rather than prices of an API.
LEFT_OUT = frozenset({"cursor", "github-copilot"})

NANO = Decimal(10**9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--day", type=date.fromisoformat, default=datetime.now(tz=UTC).date())
    table = compiled(parser.parse_args().day)
    TABLE.write_text(written(table), encoding="utf-8")
    print(f"{table['version']}: {len(table['models'])} models", file=sys.stderr)  # noqa: T201


def compiled(day: date) -> dict[str, Any]:
    """The table as it holds on a day."""
    own = json.loads(MODELS.read_text(encoding="utf-8"))
    known = own["max_output"]
    offered = [p for p in providers if p.id not in LEFT_OUT]
    models = [row for p in offered for m in p.models if (row := _model(p.id, m, day, known)) is not None]
    if known:
        sys.exit(f"config/models.json names models without a price: {', '.join(sorted(known))}")
    body = {
        "aliases": ALIASES,
        "hides_thoughts": own["hides_thoughts"],
        "fallbacks": {p.id: p.fallback_model_providers for p in offered if p.fallback_model_providers},
        "models": sorted(models, key=lambda row: (row["provider"], row["model"])),
    }
    return {"version": f"genai-prices {version('genai-prices')}, {day}, sha256:{digest(body)}", **body}


def digest(body: dict[str, Any]) -> str:
    """Of everything but the version itself."""
    plain = {key: value for key, value in body.items() if key != "version"}
    return sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def written(table: dict[str, Any]) -> str:
    """A line for each model, so that a renewed table can be read as a difference."""
    head = {key: value for key, value in table.items() if key != "models"}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    models = ",\n".join(json.dumps(row, ensure_ascii=False) for row in table["models"])
    return "\n".join(["{", '"unit": "nano-USD per million tokens; request: nano-USD",', *lines, '"models": [']) + (
        f"\n{models}\n]\n}}\n"
    )


def _model(provider: str, model: source.ModelInfo, day: date, known: dict[str, int]) -> dict[str, Any] | None:
    now = _period(model, day)
    if now is None:
        return None
    row: dict[str, Any] = {"provider": provider, "model": model.id}
    names = sorted({name.lower() for name in _names(model.match)} - {model.id.lower()})
    if names:
        row["names"] = names
    if model.context_window:
        row["context"] = model.context_window
    if (most := known.pop(f"{provider}/{model.id}", None)) is not None:
        row["max_output"] = most
    row |= now
    later = []
    before = now
    for start in sorted({start for start in _starts(model) if start > day}):
        period = _period(model, start)
        if period is not None and period != before:
            later.append({"from": start.isoformat(), **period})
            before = period
    if later:
        row["later"] = later
    return row


def _starts(model: source.ModelInfo) -> Iterator[date]:
    """Days on which something changes."""
    conditional = model.prices if isinstance(model.prices, list) else []
    for constraint in [c.constraint for c in conditional] + [v.constraint for v in model.price_variants or ()]:
        if isinstance(constraint, source.StartDateConstraint):
            yield constraint.start_date


def _period(model: source.ModelInfo, day: date) -> dict[str, Any] | None:
    """What holds on a day; None if tokens have no price.

    Where hours of the day have prices of their own, the dearest of each kind: nobody knows when the provider books it.
    """
    start = datetime.combine(day, time(), tzinfo=UTC)
    hours = [start + timedelta(minutes=minutes) for minutes in range(0, 24 * 60, 30)] if _has_hours(model) else [start]
    now = _dearest([_steps(model.get_prices(hour)) for hour in hours])
    # Models that are free on purpose say so in their names; others simply have no price for tokens.
    if not now and model.id.endswith(":free"):
        now = {0: {"input": 0, "output": 0}}
    if "input" not in now.get(0, {}):
        return None
    variants: dict[str, dict[int, dict[str, int]]] = {}
    for (key, value), name in VARIANTS.items():
        other = _dearest([_steps(model.get_prices(hour, {key: value})) for hour in hours])
        if other != now and "input" in other.get(0, {}):
            variants[name] = _dearest([other, variants[name]]) if name in variants else other
    period = _shape(now)
    if variants:
        period["variants"] = {name: _shape(steps) for name, steps in sorted(variants.items())}
    return period


def _has_hours(model: source.ModelInfo) -> bool:
    conditional = model.prices if isinstance(model.prices, list) else []
    return any(isinstance(c.constraint, source.TimeOfDateConstraint) for c in conditional)


def _steps(price: source.ModelPrice) -> dict[int, dict[str, int]]:
    """Prices by kind, by the number of prompt tokens above which they hold for the whole request."""
    given = {kind: value for key, kind in KINDS.items() if (value := price.__dict__.get(key)) is not None}
    tiered = [value for value in given.values() if isinstance(value, source.TieredPrices)]
    starts = [0, *sorted({tier.start for value in tiered for tier in value.tiers})]
    steps = {start: {kind: _nano(_at(value, start)) for kind, value in given.items()} for start in starts}
    request = price.__dict__.get("requests_kcount")
    if request is not None:
        for step in steps.values():
            step["request"] = _nano(_at(request, 0) / 1000)
    return {start: step for start, step in steps.items() if step}


def _at(value: Decimal | source.TieredPrices, above: int) -> Decimal:
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= above and above]
    return reached[-1] if reached else value.base


def _nano(usd: Decimal) -> int:
    """Rounded up, unless it is noise: some prices of the source went through floats (0.18000000000000002)."""
    nano = usd * NANO
    nearest = nano.to_integral_value()
    if nano < 0:
        raise ValueError(f"{usd} USD is no price")
    return int(nearest if abs(nano - nearest) < Decimal("0.001") else nano.to_integral_value(ROUND_CEILING))


def _dearest(periods: list[dict[int, dict[str, int]]]) -> dict[int, dict[str, int]]:
    """The dearest of each kind at each length of prompt."""
    if len(periods) == 1:
        return periods[0]
    merged: dict[int, dict[str, int]] = {}
    for start in sorted({start for steps in periods for start in steps}):
        into = merged.setdefault(start, {})
        for steps in periods:
            holding = max((step for step in steps if step <= start), default=None)
            for kind, price in ({} if holding is None else steps[holding]).items():
                into[kind] = max(price, into.get(kind, 0))
    return merged


def _shape(steps: dict[int, dict[str, int]]) -> dict[str, Any]:
    shape: dict[str, Any] = {"price": steps[0]}
    above = [{"tokens": start, "price": step} for start, step in sorted(steps.items()) if start]
    return shape | {"above": above} if above else shape


def _names(clause: Any) -> list[str]:
    """Patterns that match what a clause matches."""
    match clause:
        case source.ClauseEquals(equals=text):
            return [text]
        case source.ClauseStartsWith(starts_with=text):
            return [f"{text}*"]
        case source.ClauseEndsWith(ends_with=text):
            return [f"*{text}"]
        case source.ClauseContains(contains=text):
            return [f"*{text}*"]
        case source.ClauseOr(or_=clauses):
            return [name for inner in clauses for name in _names(inner)]
        case source.ClauseAnd(and_=clauses):
            return _both(clauses)
        case source.ClauseRegex(regex=regex):
            return _expanded(regex)
    raise ValueError(f"a clause that is not known: {clause!r}")


def _both(clauses: list[Any]) -> list[str]:
    """Something, and not speech: the only conjunction there is, in two spellings."""
    first, second = clauses
    if not isinstance(second, source.ClauseRegex) or second.regex != r"^(?!.*-[tT][tT][sS](?:$|-))":
        raise ValueError(f"a conjunction that is not known: {clauses!r}")
    return [f"{name} !*-tts !*-tts-*" for name in _names(first)]


_TOKEN = re.compile(
    r"\\d\{(?P<times>\d)\}|(?P<digit>\\d)|\\(?P<escaped>\W)|\[(?P<any>[^\]\\]+)\]|(?P<plain>[\w\-/:@,=])"
)
_OPTIONAL = re.compile(r"\((?:\?:)?([^()|]*)\)\?")


def _expanded(regex: str) -> list[str]:
    """Patterns of a simple regular expression: literals, digits, a choice of characters, optional groups."""
    optional = _OPTIONAL.search(regex)
    if optional:
        start, end = optional.span()
        return [name for part in ("", optional[1]) for name in _expanded(regex[:start] + part + regex[end:])]
    names = [""]
    at = 1 if regex.startswith("^") else 0
    end = len(regex) - regex.endswith("$")
    while at < end:
        token = _TOKEN.match(regex, at, end)
        if token is None:
            raise ValueError(f"a regular expression that is not known: {regex}")
        at = token.end()
        choice = token["any"] or token["escaped"] or token["plain"] or "#" * int(token["times"] or 1)
        names = [name + one for name in names for one in (choice if token["any"] else [choice])]
    before, after = ("" if regex.startswith("^") else "*"), ("" if regex.endswith("$") else "*")
    return [f"{before}{name}{after}" for name in names]


if __name__ == "__main__":
    main()
