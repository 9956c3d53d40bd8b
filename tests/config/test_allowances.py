from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse.config import allowances
from tollhouse.config.document import Document
from tollhouse.config.loader import ConfigError, check, load_mapping
from tollhouse.config.settings import Allowance, BudgetSettings

ECHO = {"model": "tollhouse/echo"}


def _found(**sections):
    return load_mapping(sections, {}).allowances


def test_every_level_has_its_limits_and_budgets():
    found = _found(
        keys=[{"name": "k", "key": "sk-k", "limits": {"rpm": 5}, "budget": {"usd": "25.00", "window": "1d"}}],
        teams=[{"name": "t", "limits": {"tpm": 7, "refill": "continuous"}}],
        users=[
            {
                "name": "u",
                "budget": [{"usd": 1}, {"usd": 2, "window": "month", "mode": "soft", "time_zone": "Asia/Tokyo"}],
            }
        ],
        model_list=[{"model_name": "m", "litellm_params": ECHO, "limits": {"parallel": 3}}],
        limits={"rpm": 600},
        budget={"usd": "0.000000001"},
    )
    assert found == (
        Allowance("key", "k", rpm=5, budgets=(BudgetSettings(25 * 10**9, "1d"),)),
        Allowance("team", "t", tpm=7, refill="continuous"),
        Allowance(
            "user",
            "u",
            budgets=(BudgetSettings(10**9), BudgetSettings(2 * 10**9, "month", "soft", "Asia/Tokyo")),
        ),
        Allowance("model", "m", parallel=3),
        Allowance("global", "all", rpm=600, budgets=(BudgetSettings(1),)),
    )


def test_nothing_that_is_said_is_nothing():
    assert _found(keys=[{"name": "k", "key": "sk-k"}], teams=[{"name": "t"}]) == ()


@pytest.mark.parametrize(("second", "expected"), [({"rpm": 30}, 40), ({}, None)])
def test_litellms_limits_of_deployments_add_up_if_all_of_them_have_one(second, expected):
    entries = [
        {"model_name": "m", "litellm_params": ECHO | {"rpm": 10}},
        {"model_name": "m", "litellm_params": ECHO | second},
    ]
    found = _found(model_list=entries)
    assert [one.rpm for one in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"limits": {"rpm": 0}}, "limits.rpm"),
        ({"limits": {"tpm": 1 << 40}}, "limits.tpm"),
        ({"limits": {"refill": "sometimes"}}, "limits.refill"),
        ({"budget": {"usd": -1}}, "budget.usd"),
        ({"budget": {"usd": 10_000_000}}, "budget.usd"),
        ({"budget": {"usd": "0.0000000001"}}, "budget.usd"),
        ({"budget": {"usd": 1, "window": "week"}}, "budget.window"),
        ({"budget": {"usd": 1, "time_zone": "Mars/Olympus"}}, "budget.time_zone"),
        ({"budget": [{"usd": 1}, {"usd": 2}]}, "budget[1]"),
        ({"teams": [{"name": "t"}, {"name": "t"}]}, "teams[1].name"),
        ({"store": "postgres://host"}, "store"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(sections, place):
    with pytest.raises(ConfigError) as refused:
        load_mapping(sections, {})
    assert [problem.path for problem in refused.value.problems if problem.severity == "error"] == [place]


def test_two_entries_of_a_model_cannot_both_limit_it(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "model_list:\n"
        "  - {model_name: m, litellm_params: {model: tollhouse/echo}, limits: {rpm: 1}}\n"
        "  - {model_name: m, litellm_params: {model: tollhouse/echo}, limits: {rpm: 2}}\n"
    )
    assert [(problem.line, problem.path) for problem in check(str(path), {})] == [(3, "model_list[1]")]


@pytest.mark.parametrize("text", ["lots", "0", "-5", "1.5"])
def test_a_limit_in_the_environment_is_a_number(text):
    variable = "LLM_GATEWAY_RATE_LIMIT_REQUESTS_PER_MINUTE"
    with pytest.raises(ConfigError, match=variable):
        load_mapping({}, {variable: text})
    assert load_mapping({}, {variable: "60"}).key_default == Allowance("key", "", rpm=60)


def test_the_names_of_many_models_are_not_compared_with_each_other():
    looks = 0

    class Entry:
        limits = budget = None
        litellm_params = SimpleNamespace(rpm=10, tpm=None)

        def __init__(self, name: str) -> None:
            self._name = name

        @property
        def model_name(self) -> str:
            nonlocal looks
            looks += 1
            return self._name

    entries: Any = [Entry(f"m{i // 2}") for i in range(1000)]
    found = allowances._models(entries, Document({}))
    assert {one.id: one.rpm for one in found if one is not None} == {f"m{i}": 20 for i in range(500)}
    assert looks <= 3 * len(entries)
