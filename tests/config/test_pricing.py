from __future__ import annotations

import pytest

from tollhouse._native import PriceTable
from tollhouse.config import pricing
from tollhouse.config.loader import check, load
from tollhouse.config.price_table import BUILT_IN

OWN = """
model_list:
  - model_name: cheap
    litellm_params:
      {model: openai/gpt-4o-mini, input_cost_per_token: 1.5e-07, output_cost_per_token: 6e-07,
       input_cost_per_request: 0.01, cache_read_input_token_cost: 0.000000075,
       output_cost_per_token_above_200k_tokens: "1e-06"}
  - model_name: informed
    litellm_params: {model: azure/deployed, api_base: "https://acme.example.com", api_key: k}
    model_info: {base_model: gpt-4o, mode: chat}
  - model_name: negotiated
    litellm_params: {model: groq/llama, api_key: k}
    model_info: {input_cost_per_token: 0.00000001, output_cost_per_token: 0, max_tokens: 5}
  - model_name: bare
    litellm_params: {model: gpt-4o, input_cost_per_token: 0.1e-9}
prices:
  ollama/*: {input: 0, output: 0}
  openai/GPT-5: {input: "0.15", output: "0.60", cached: 0.015, request: 0.001, above: {200000: {output: 1.2}}}
  azure/other: openai/gpt-4o-mini
  groq/llama: {input: 3, output: 0.0000000001}
"""
WRONG = """
model_list:
  - model_name: a
    litellm_params:
      model: openai/a
      input_cost_per_token: cheap
  - model_name: b
    litellm_params: {model: openai/b, output_cost_per_token: 0.1e-6}
  - model_name: c
    litellm_params: {model: openai/c, input_cost_per_token: 1.0e-6}
  - model_name: d
    litellm_params:
      {model: openai/c, input_cost_per_token: 2.0e-6}
prices:
  nonsense: {input: 1}
  openai/e:
    input: -1
    output: .nan
    outptu: 3
  openai/f: {output: 1}
  openai/g: 7
  openai/h: gpt-4o
  openai/i: {input: 9000}
  openai/j: {input: true, above: 5}
  openai/k: {input: 1, above: {many: {input: 2}}}
"""


def _write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return str(path)


def test_litellms_prices_and_our_own_become_whole_nano_usd(tmp_path):
    settings = load(_write(tmp_path, OWN), {})
    assert settings.warnings == ()
    base = {"input": 150_000_000, "output": 600_000_000, "cached": 75_000_000, "request": 10_000_000}
    assert settings.prices == {
        **BUILT_IN,
        "openai/gpt-4o-mini": base | {"above": {200_000: base | {"output": 1_000_000_000}}},
        "azure/deployed": "azure/gpt-4o",
        "openai/gpt-4o": {"input": 100_000},
        "groq/llama": {"input": 3_000_000_000, "output": 1},
        "ollama/*": {"input": 0, "output": 0},
        "openai/gpt-5": {
            "input": 150_000_000,
            "output": 600_000_000,
            "cached": 15_000_000,
            "request": 1_000_000,
            "above": {
                200_000: {"input": 150_000_000, "output": 1_200_000_000, "cached": 15_000_000, "request": 1_000_000}
            },
        },
        "azure/other": "openai/gpt-4o-mini",
    }


def test_the_table_takes_what_the_settings_say(tmp_path):
    settings = load(_write(tmp_path, OWN), {})
    table = PriceTable(pricing.table(), settings.prices)

    def found(provider, model):
        price = table.find(provider, model)
        assert price is not None
        return price

    def rate(provider, model, kind="input", prompt=0):
        return found(provider, model).rate(kind, prompt)

    assert rate("openai", "gpt-4o-mini", "output", 200_001) == 1_000_000_000
    assert rate("azure", "other") == 150_000_000
    assert rate("azure", "deployed") == 2_500_000_000
    assert found("tollhouse", "tollhouse/echo").is_free
    assert found("ollama", "whatever").is_free
    assert found("openai", "gpt-4o-mini").max_output == 16384


def test_a_bad_price_is_told_with_its_line_and_path(tmp_path):
    said = {(problem.path, problem.line): problem.message for problem in check(_write(tmp_path, WRONG), {})}
    assert said == {
        ("model_list[0].litellm_params.input_cost_per_token", 6): "must be a price in USD, 0 or more",
        ("model_list[1].litellm_params.input_cost_per_token", 8): "is missing, so the other prices cannot be used",
        ("model_list[3].litellm_params", 12): "has another price than model_list[2], which is openai/c as well",
        ("prices.nonsense", 15): "must be provider/model, and may end in *",
        ("prices.openai/e.input", 17): "must be a price in USD, 0 or more",
        ("prices.openai/e.output", 18): "must be a price in USD, 0 or more",
        ("prices.openai/e.outptu", 19): "is no kind of tokens: " + ", ".join(pricing.KINDS) + ", or request",
        ("prices.openai/f", 20): "needs a price for input, if only 0",
        ("prices.openai/g", 21): "must be prices by kind, or the provider/model that it costs the same as",
        ("prices.openai/h", 22): "must be prices by kind, or the provider/model that it costs the same as",
        ("prices.openai/i.input", 23): "is more than any model costs; see which number of tokens it is for",
        ("prices.openai/j.input", 24): "must be a price in USD, 0 or more",
        ("prices.openai/j.above", 24): "must be prices by kind, by the number of prompt tokens",
        ("prices.openai/k.above.many", 25): "must be prices by kind, by the number of prompt tokens",
    }


def test_what_costs_the_same_as_nothing_known_is_told(tmp_path):
    text = """
model_list:
  - model_name: m
    litellm_params: {model: azure/mine, api_key: k, api_base: "http://localhost"}
    model_info: {base_model: gtp-4o}
prices:
  azure/a: openai/gtp-4o
  azure/round: azure/about
  azure/about: azure/round
  azure/good: azure/better
  azure/better: openai/gpt-4o
  ollama/*: openai/gpt-4o-mini
"""
    said = [(found.path, found.message, found.severity) for found in check(_write(tmp_path, text), {})]
    assert said == [
        ("model_list[0].model_info.base_model", "azure/gtp-4o has no price", "warning"),
        ("prices.azure/a", "openai/gtp-4o has no price", "error"),
        ("prices.azure/round", "azure/about has no price", "error"),
        ("prices.azure/about", "azure/round has no price", "error"),
    ]


@pytest.mark.parametrize("name", ["input_cost_per_token", "output_cost_per_token_above_128k_tokens"])
def test_litellms_price_fields_are_known(name):
    assert pricing.is_price(name)
    assert not pricing.is_price("input_cost_per_second")
