from __future__ import annotations

import json
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse._native import END, PriceTable, ResponseReader, Tokens
from tollhouse.config import pricing
from tollhouse.config.settings import Override

GOLDEN = Path(__file__).parent / "golden"
ROWS = [json.loads(line) for line in (GOLDEN / "costs.jsonl").read_text().splitlines()]
OWN: dict[str, Override] = {
    "ollama/*": {"input": 10_000_000, "output": 20_000_000},
    "hosted_vllm/mine": {"input": 0, "output": 0},
    "hosted_vllm/dear": {"input": 1, "output": 3},
    "hosted_vllm/same": "openai/gpt-4o-mini",
}
INPUT = ["input", "cached", "cache_write", "cache_write_1h", "audio_input", "audio_cached", "image_input"]
OUTPUT = ["output", "reasoning", "audio_output", "image_output"]
KINDS = INPUT + OUTPUT


@pytest.fixture(scope="module")
def table():
    # Frozen rows of config/prices.json, so that renewing the table changes no expectation here.
    return PriceTable((GOLDEN / "prices.json").read_bytes(), OWN)


def _answer(body: bytes) -> ResponseReader:
    reader = ResponseReader("chat")
    assert reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body) & END
    return reader


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['provider']}/{row['model']}")
def test_a_providers_usage_costs_what_its_price_list_says(table, row):
    """`sum` is the arithmetic by hand: tokens times USD per million."""
    price = table.find(row["provider"], row["model"])
    if "variant" in row:
        price = price.variant(row["variant"])
    usage = row["usage"]
    whole = usage if {"usage", "usageMetadata", "done"} & usage.keys() else {"usage": usage}
    tokens = Tokens.find(json.dumps(usage).encode())
    assert _answer(json.dumps(whole).encode()).cost(price) == row["nano_usd"]
    if tokens is None:
        assert row["sum"] is None
        return
    by_hand = sum((Decimal(a) * Decimal(b) for a, b in (part.split(" x ") for part in row["sum"])), Decimal(0))
    assert row["nano_usd"] == (by_hand * 1000).to_integral_value(ROUND_CEILING)
    assert price.cost(tokens) == row["nano_usd"]
    assert price.cost(tokens) <= price.bound(tokens.prompt, tokens.completion)


def test_the_golden_rows_cover_every_kind_and_provider():
    found = [tokens for row in ROWS if (tokens := Tokens.find(json.dumps(row["usage"]).encode())) is not None]
    kinds = {kind for tokens in found for kind in KINDS if tokens[kind]}
    assert kinds == set(KINDS)
    assert len(ROWS) >= 60
    assert len({row["provider"] for row in ROWS}) >= 15


def _table(base, long, above, request):
    longer = [{"tokens": above, "price": long | {"request": request}}]
    row = {"provider": "p", "model": "m", "price": base | {"request": request}, "above": longer}
    return PriceTable(json.dumps({"version": "v", "models": [row]}).encode())


_PRICES = st.fixed_dictionaries(dict.fromkeys(KINDS, st.integers(0, 2 * 10**12)))


@given(
    base=_PRICES,
    long=_PRICES,
    above=st.integers(1, 10**6),
    request=st.integers(0, 10**12),
    counts=st.fixed_dictionaries(dict.fromkeys(KINDS, st.integers(0, 10**6) | st.integers(0, 10**8))),
)
def test_a_cost_is_the_exact_sum_rounded_up_once(base, long, above, request, counts):
    price = _table(base, long, above, request).find("p", "m")
    rates = long if sum(counts[kind] for kind in INPUT) > above else base
    exact = sum((Fraction(counts[kind] * rates[kind], 10**6) for kind in KINDS), Fraction(request))
    assert price.cost(Tokens(**counts)) == ceil(exact) < 2**53


@given(
    base=_PRICES,
    long=_PRICES,
    above=st.integers(1, 10**6),
    prompt=st.integers(0, 2 * 10**6),
    choices=st.integers(1, 128),
    amount=st.integers(0, 2**53 - 1),
)
def test_affordable_output_is_the_most_whose_bound_fits(base, long, above, prompt, choices, amount):
    price = _table(base, long, above, 0).find("p", "m")
    each = price.affordable_output(prompt, amount, choices)
    if each is None:
        assert price.bound(prompt, 0) > amount
        return
    assert price.bound(prompt, each * choices) <= amount
    if (each + 1) * choices <= 10**9:
        assert price.bound(prompt, (each + 1) * choices) > amount


def test_an_unpriced_model_is_none_and_a_free_one_is_free(table):
    assert table.find("hosted_vllm", "unheard-of") is None
    free = table.find("hosted_vllm", "mine")
    assert (free.is_free, free.bound(10**9, 10**9), free.affordable_output(10, 0)) == (True, 0, 10**9)
    assert not table.find("openai", "gpt-4o").is_free


def test_prices_say_what_the_model_can_do(table):
    price = table.find("openai", "gpt-4o")
    assert (price.max_output, price.context) == (16384, 128_000)
    assert (price.rate("input"), price.rate("reasoning"), price.variant("unheard-of")) == (2_500_000_000, 10**10, None)
    longer = table.find("gemini", "gemini-2.5-pro")
    assert (longer.rate("output", 200_000), longer.rate("output", prompt_tokens=200_001)) == (10**10, 15 * 10**9)


@pytest.mark.parametrize(
    ("names", "hides"),
    [
        ("openai/o3 openai/o1-pro openai/gpt-5 openai/gpt-5.1-codex azure/gpt-5-mini aws/openai.gpt-5.4", True),
        ("openrouter/openai/o4-mini openrouter/openai/gpt-6-sol vertex_ai/gemini-2.5-pro", True),
        ("gemini/gemini-3.8-flash-lite xai/grok-4 gemini/models/gemini-2.5-flash azure/mine", True),
        ("openai/gpt-4o openai/gpt-4.1 openai/gpt-3.5-turbo azure/gpt-35-turbo openai/gpt-5-chat-latest", False),
        ("gemini/gemini-2.0-flash gemini/gemini-2.5-flash-lite xai/grok-4-fast-non-reasoning", False),
        ("anthropic/claude-sonnet-4-5 openai/gpt-image-1 deepseek/deepseek-chat xai/grok-3 azure/plain", False),
    ],
)
def test_models_that_think_unseen_are_told_by_their_names(names, hides):
    own: dict[str, Any] = {f"{name.split('/')[0]}/*": {"input": 1} for name in names.split()}
    table = PriceTable(pricing.table(), own | {"azure/mine": "openai/o3", "azure/plain": "openai/gpt-4o"})
    for name in names.split():
        price = table.find(*name.split("/", 1))
        assert price is not None, name
        assert price.hides_thoughts is hides, name


def test_what_a_model_does_is_the_same_in_another_tier():
    price = PriceTable(pricing.table()).find("openai", "o3")
    assert price is not None
    flex = price.variant("flex")
    assert flex is not None
    assert flex.hides_thoughts


def test_numbers_that_no_model_reaches_are_refused(table):
    price = table.find("openai", "gpt-4o")
    for call in (lambda: price.bound(10**9 + 1, 0), lambda: price.affordable_output(10**12, 1)):
        with pytest.raises(OverflowError, match="tokens"):
            call()
    with pytest.raises(OverflowError):
        price.bound(-1, 0)
    with pytest.raises(OverflowError):
        Tokens(input=10**9, cached=1)
    with pytest.raises(TypeError, match="is no kind"):
        Tokens(inputs=1)
    with pytest.raises(KeyError):
        Tokens()["inputs"]
    with pytest.raises(ValueError, match="price of input is missing"):
        PriceTable(b'{"version":"v","models":[]}', {"a/b": {"output": 1}})


def test_tokens_compare_and_show_their_kinds():
    tokens = Tokens(input=3, cached=2, reasoning=1)
    assert tokens == Tokens.find(
        b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2},'
        b'"completion_tokens_details":{"reasoning_tokens":1}}'
    )
    assert tokens != Tokens(input=3)
    assert repr(tokens) == "Tokens(input=3, cached=2, reasoning=1)"
    assert (tokens.prompt, tokens.completion, tokens["cached"]) == (5, 1, 2)


def test_a_streams_cost_is_that_of_its_last_report(table):
    reader = ResponseReader("messages")
    reader.feed(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":1800,'
        b'"output_tokens":1}}}\n\n'
    )
    price = table.find("anthropic", "claude-sonnet-4-5")
    assert reader.cost(price) == 3 * 3000 + 1800 * 300 + 1 * 15000
    reader.feed(b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12}}\n\n')
    assert reader.cost(price) == 3 * 3000 + 1800 * 300 + 12 * 15000
    assert reader.tokens == Tokens(input=3, cached=1800, output=12)
    assert reader.usage == (1803, 12, 1800, 0)
    assert ResponseReader("chat").cost(price) is None
