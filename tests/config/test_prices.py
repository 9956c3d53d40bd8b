"""The committed price table against the data that it was compiled from."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
from decimal import Decimal

import pytest
from genai_prices import types
from genai_prices.data import providers

from scripts import compile_prices
from tollhouse._native import PriceTable
from tollhouse.config import pricing

TABLE = json.loads(pricing.table())
SOURCE, DAY, _ = TABLE["version"].split(", ")


@pytest.fixture(scope="module")
def table():
    return PriceTable(pricing.table())


def test_the_table_is_what_the_script_makes_of_its_source():
    assert TABLE["version"].endswith(f"sha256:{compile_prices.digest({k: v for k, v in TABLE.items() if k != 'unit'})}")
    if f"genai-prices {importlib.metadata.version('genai-prices')}" == SOURCE:
        made = compile_prices.compiled(dt.date.fromisoformat(DAY))
        assert compile_prices.written(made) == pricing.table().decode()


def test_the_table_is_sorted_and_whole():
    rows = [(row["provider"], row["model"]) for row in TABLE["models"]]
    assert rows == sorted(rows)
    assert len(rows) == len(set(rows)) > 2000


def _names(clause):
    match clause:
        case types.ClauseEquals(equals=text):
            yield text
        case types.ClauseStartsWith(starts_with=text):
            yield from (text, f"{text}-x", f"{text}-20260101")
        case types.ClauseContains(contains=text):
            yield from (text, f"x-{text}-y")
        case types.ClauseEndsWith(ends_with=text):
            yield f"us.{text}"
        case types.ClauseOr(or_=clauses):
            for inner in clauses:
                yield from _names(inner)


def test_every_name_has_the_price_of_the_source(table):
    """Where the hour matters the dearest holds, so those are left out."""
    noon = dt.datetime.fromisoformat(f"{DAY}T12:00:00+00:00")
    installed = f"genai-prices {importlib.metadata.version('genai-prices')}"
    assert installed == SOURCE, "the table is of another version of its source: run scripts/compile_prices.py"
    compared = 0
    for provider in providers:
        if provider.id in compile_prices.LEFT_OUT:
            continue
        for name in sorted({name for model in provider.models for name in _names(model.match)}):
            model = provider.find_model(name, all_providers=providers)
            if model is None or any(
                isinstance(c.constraint, types.TimeOfDateConstraint)
                for c in (model.prices if isinstance(model.prices, list) else ())
            ):
                continue
            wanted = model.get_prices(noon).input_mtok
            usd = wanted.base if isinstance(wanted, types.TieredPrices) else wanted
            price = table.find(provider.id, name)
            if usd is None:
                assert price is None or price.is_free, (provider.id, name)
            else:
                assert price is not None, (provider.id, name)
                assert abs(price.rate("input") - usd * 10**9) < Decimal(1), (provider.id, name)
                compared += 1
    assert compared > 3500


def test_names_that_a_configuration_uses_are_priced(table):
    for provider, model in [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-20241120"),
        ("azure", "gpt-4o"),
        ("gemini", "gemini-2.5-pro"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("together_ai", "MiniMaxAI/MiniMax-M3"),
        ("xai", "grok-3-mini"),
    ]:
        assert table.find(provider, model) is not None, (provider, model)
    assert table.find("openai", "whisper-1") is None
    assert table.find("hosted_vllm", "gpt-4o") is None


def test_prices_change_on_their_day():
    row = next(row for row in TABLE["models"] if row.get("later"))
    later = row["later"][0]
    before = PriceTable(pricing.table(), day=DAY).find(row["provider"], row["model"])
    after = PriceTable(pricing.table(), day=later["from"]).find(row["provider"], row["model"])
    assert before is not None
    assert after is not None
    assert [before.rate(kind) for kind in row["price"]] == list(row["price"].values())
    assert [after.rate(kind) for kind in later["price"]] == list(later["price"].values())


@pytest.mark.parametrize(
    ("regex", "names"),
    [
        (r"^a-\d{8}$", ["a-########"]),
        (r"^a\.5[-@]\d", ["a.5-#*", "a.5@#*"]),
        (r"^(x/)?a(-\d{2})?$", ["a", "a-##", "x/a", "x/a-##"]),
    ],
)
def test_simple_regular_expressions_become_patterns(regex, names):
    assert sorted(compile_prices._expanded(regex)) == sorted(names)


def test_other_regular_expressions_are_refused_rather_than_guessed():
    for regex in ["^a.*$", "^a|b$", "^(?!x)a$"]:
        with pytest.raises(ValueError, match="not known"):
            compile_prices._expanded(regex)
