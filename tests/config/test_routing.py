from __future__ import annotations

import pytest

from tollhouse.config.loader import check, load, load_mapping
from tollhouse.config.problems import ConfigError
from tollhouse.config.settings import Allowance, Escalation, Fallback, HeaderRoute, HealthChecks, Hedge

GENERAL = {"timeout", "rate_limit", "server_error", "connection", "auth", "busy"}
# In the shape of the deployment checklist's template.
TEMPLATE = """
model_list:
  - model_name: small-oss
    litellm_params: {model: openai/small-oss, api_base: "http://127.0.0.1:8000/v1", api_key: none, timeout: 45}
  - model_name: llama-70b
    litellm_params: {model: openai/llama-70b, api_base: "http://127.0.0.1:8001/v1", api_key: none}
routes:
  openai:
    - models: [small-oss]
      completion_params: {temperature: 0.1, max_tokens: 800}
    - models: [llama-70b]
      condition: {header: X-AI-Alternate, value: llama3}
logging:
  prometheus: {enabled: true, host: 127.0.0.1, port: 9100}
rate_limits:
  global_per_minute: 600
  per_api_key: {default: 60, token-2: 120}
auth:
  type: bearer
  tokens: ["${GATEWAY_TOKEN}", sk-second-token]
health_checks:
  enabled: true
  endpoint: /health
  require_backend_healthy: true
fallbacks:
  - {primary: small-oss, backup: llama-70b, condition: timeout}
"""


def _models(*names):
    return [{"model_name": n, "litellm_params": {"model": f"openai/{n}", "api_key": "k"}} for n in names]


def _settings(*names, **sections):
    return load_mapping({"model_list": _models(*names or ("a", "b", "c"))} | sections, {})


def _rules(settings):
    return {(rule.model, rule.to, rule.causes) for rule in settings.routing.fallbacks}


def test_the_templates_sections_load_without_a_warning(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TEMPLATE)
    settings = load(str(path), {"GATEWAY_TOKEN": "sk-first-token"})
    assert settings.warnings == ()
    routing = settings.routing
    assert routing.header_routes == (HeaderRoute("x-ai-alternate", "llama3", ("llama-70b",)),)
    assert routing.completion_params == {"small-oss": {"temperature": 0.1, "max_tokens": 800}}
    assert routing.fallbacks == (Fallback("small-oss", ("llama-70b",), frozenset({"timeout"})),)
    assert settings.health_checks == HealthChecks(path="/health", required=True)
    assert settings.metrics_address == ("127.0.0.1", 9100)
    assert [key.name for key in settings.keys] == ["token-1", "token-2"]
    assert settings.key_default == Allowance(level="key", id="", rpm=60)
    limits = {(one.level, one.id): one.rpm for one in settings.allowances}
    assert limits == {("global", "all"): 600, ("key", "token-2"): 120}


def test_a_template_that_names_a_model_without_a_deployment_loads_and_says_so(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TEMPLATE.replace("  - model_name: llama-70b\n", "  - model_name: other\n", 1))
    said = {(p.path, p.line): p.message for p in check(str(path), {"GATEWAY_TOKEN": "sk-first-token"})}
    assert set(said) == {("routes.openai[1].models[0]", 11), ("fallbacks[0].backup", 26)}
    assert all("llama-70b" in message for message in said.values())
    settings = load(str(path), {"GATEWAY_TOKEN": "sk-first-token"})
    assert (settings.routing.header_routes, settings.routing.fallbacks) == ((), ())


def test_litellms_router_settings_say_what_they_say():
    settings = _settings(
        router_settings={
            "routing_strategy": "latency-based-routing",
            "model_group_alias": {"x": "a", "y": {"model": "b", "hidden": True}},
            "num_retries": 1,
            "timeout": 30,
            "stream_timeout": 7,
            "allowed_fails": 5,
            "cooldown_time": 12,
            "retry_after": 3,
            "fallbacks": [{"a": ["b", "c"]}],
            "context_window_fallbacks": [{"a": ["c"]}],
            "content_policy_fallbacks": [{"b": ["c"]}],
        },
        litellm_settings={"num_retries": 9, "request_timeout": 99, "drop_params": True, "default_fallbacks": ["c"]},
    )
    assert settings.warnings == ()
    routing = settings.routing
    assert (routing.strategy, routing.aliases, routing.hidden) == ("lowest-latency", {"x": "a", "y": "b"}, {"y"})
    assert (routing.retries, routing.retries_first, routing.max_attempts) == (1, True, 3)
    assert (routing.allowed_fails, routing.cooldown_s, routing.min_wait_s, routing.max_wait_s) == (5, 12, 3, 3)
    assert (settings.timeouts.total_s, settings.timeouts.first_event_s) == (30, 7)
    assert {d.timeouts.total_s for d in settings.deployments} == {30}
    assert _rules(settings) == {
        ("a", ("c",), frozenset({"context_window"})),
        ("b", ("c",), frozenset({"content_policy"})),
        ("a", ("b", "c"), frozenset(GENERAL | {"content_policy"})),
        ("*", ("c",), frozenset(GENERAL | {"context_window", "content_policy"})),
    }


def test_litellm_settings_hold_where_the_router_says_nothing():
    settings = _settings(
        litellm_settings={"num_retries": 4, "request_timeout": 99, "allowed_fails": 2, "fallbacks": [{"a": ["b"]}]}
    )
    assert (settings.routing.retries, settings.routing.max_attempts) == (4, 6)
    assert (settings.timeouts.total_s, settings.routing.allowed_fails) == (99, 2)
    assert _rules(settings) == {("a", ("b",), frozenset(GENERAL | {"context_window", "content_policy"}))}


def test_the_defaults():
    routing = _settings().routing
    assert (routing.strategy, routing.retries, routing.retries_first, routing.max_attempts) == ("weighted", 2, False, 3)
    assert (routing.allowed_fails, routing.window_s, routing.cooldown_s) == (3, 60, 5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("simple-shuffle", "weighted"),
        ("least-busy", "least-busy"),
        ("latency-based-routing", "lowest-latency"),
        ("cost-based-routing", "cost"),
        ("usage-based-routing", "least-used"),
        ("usage-based-routing-v2", "least-used"),
    ],
)
def test_strategies_have_litellms_names(theirs, ours):
    settings = _settings(router_settings={"routing_strategy": theirs})
    assert settings.routing.strategy == ours
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ([{}, {}], [1, 1]),
        ([{"weight": 3}, {}], [3, 1]),
        ([{"rpm": 900}, {"rpm": 300}], [3, 1]),
        ([{"tpm": 1000}, {}, {"tpm": 500}], [2, 1, 1]),
        ([{"weight": 2, "rpm": 1}, {"weight": 1, "rpm": 100}], [2, 1]),
    ],
)
def test_shares_go_by_weight_then_rpm_then_tpm(params, weights):
    entries = [
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": f"http://127.0.0.1:{port}/v1", **more}}
        for port, more in enumerate(params, 9000)
    ]
    settings = load_mapping({"model_list": entries}, {})
    assert [d.weight for d in settings.deployments if d.model_name == "m"] == weights


def test_our_own_section():
    settings = _settings(
        routing={
            "strategy": "cost",
            "affinity": "prefix",
            "session_header": "X-Chat",
            "max_attempts": 5,
            "max_wait_s": 1,
            "breaker": {"allowed_fails": 1, "window_s": "30s", "cooldown_s": "500ms"},
            "hedge": {"after": "p95", "models": ["a"]},
            "escalations": [
                {"model": "a", "over_prompt_tokens": 2000, "to": "b"},
                {"model": "a", "over_prompt_tokens": 9000, "to": "c"},
            ],
        }
    )
    routing = settings.routing
    assert (routing.strategy, routing.affinity, routing.session_header) == ("cost", "prefix", "x-chat")
    assert (routing.max_attempts, routing.max_wait_s) == (5, 1)
    assert (routing.allowed_fails, routing.window_s, routing.cooldown_s) == (1, 30, 0.5)
    assert routing.hedge == Hedge(percentile=95, models=("a",))
    assert routing.escalations == (Escalation("a", 9000, "c"), Escalation("a", 2000, "b"))
    assert _settings(routing={"hedge": {"after": "250ms"}}).routing.hedge == Hedge(after_s=0.25)


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k}}
router_settings:
  routing_strategy: best
  fallbacks: [{a: [nobody]}]
  num_retries: -1
fallbacks:
  - {primary: a, backup: a, condition: on-sundays}
  - {primary: a}
  - {primary: a, backup: a, condition: weather}
routes:
  openai:
    - {models: [a], condition: {header: "no header", value: x}}
    - {models: [a], completion_params: {model: b}}
health_checks: {interval: 0, path: health}
routing:
  strategy: fastest
  hedge: {after: p80}
  escalations:
    - {model: a, over_prompt_tokens: 10, to: nobody}
auth: {type: basic, tokens: [sk-one]}
"""
    )
    said = {(p.path, p.line, p.severity) for p in check(str(path), {})}
    assert said >= {
        ("router_settings.routing_strategy", 4, "error"),
        ("router_settings.fallbacks[0].a[0]", 5, "warning"),
        ("router_settings.num_retries", 6, "error"),
        ("fallbacks[0].condition", 8, "error"),
        ("fallbacks[1].backup", 9, "error"),
        ("routes.openai[0].condition.header", 13, "error"),
        ("routes.openai[1].completion_params.model", 14, "error"),
        ("health_checks.interval", 15, "error"),
        ("health_checks.path", 15, "error"),
        ("routing.strategy", 17, "error"),
        ("routing.escalations[0].to", 20, "error"),
        ("auth.type", 21, "error"),
    }
    assert any(place.startswith("routing.hedge.after") for place, _, _ in said)
    assert any(place.startswith("fallbacks[") and line == 10 for place, line, _ in said)


def test_an_alias_of_an_alias_leads_to_a_model_and_a_model_is_no_alias():
    section = {"model_group_alias": {"x": "y", "y": "b", "a": "c"}, "fallbacks": [{"b": ["a"]}]}
    settings = _settings(router_settings=section)
    assert settings.routing.aliases == {"x": "b", "y": "b"}
    assert {(rule.model, rule.to) for rule in settings.routing.fallbacks} == {("b", ("a",))}
    assert any("there is a model a" in warning for warning in settings.warnings)


def test_aliases_in_a_circle_are_refused():
    with pytest.raises(ConfigError, match="stands for itself"):
        _settings(router_settings={"model_group_alias": {"x": "y", "y": "x"}})


def test_no_more_fallbacks_than_wanted():
    section = {"fallbacks": [{"a": ["b", "c"]}], "default_fallbacks": ["c", "b"], "max_fallbacks": 1}
    rules = _settings(router_settings=section).routing.fallbacks
    assert {(rule.model, rule.to) for rule in rules} == {("a", ("b",)), ("*", ("c",))}


def test_a_pattern_is_no_model_to_go_to():
    sections = {
        "fallbacks": [{"primary": "a", "backup": ["x/*", "b"]}],
        "routes": {"r": [{"models": ["x/*", "a"], "condition": {"header": "x-h"}}]},
        "router_settings": {"default_fallbacks": ["*"]},
    }
    settings = _settings("a", "b", "x/*", "*", **sections)
    assert {(rule.model, rule.to) for rule in settings.routing.fallbacks} == {("a", ("b",))}
    assert settings.routing.header_routes == ()
    assert sum("is a pattern" in warning for warning in settings.warnings) == 3
    with pytest.raises(ConfigError, match="is a pattern"):
        _settings("a", "x/*", routing={"escalations": [{"model": "a", "over_prompt_tokens": 9, "to": "x/*"}]})


@pytest.mark.parametrize(
    ("more", "attempts"),
    [
        ({}, 3),
        ({"max_fallbacks": 4}, 5),
        ({"max_fallbacks": 1}, 3),
        ({"max_fallbacks": 4, "num_retries": 2}, 7),
        ({"num_retries": 2}, 4),
    ],
)
def test_attempts_are_as_many_as_were_asked_for(more, attempts):
    routing = _settings(router_settings={"fallbacks": [{"a": ["b", "c"]}]} | more).routing
    assert (routing.max_attempts, routing.max_fallbacks) == (attempts, more.get("max_fallbacks", 5))
    assert _settings(router_settings=more | {"num_retries": 0}).routing.max_attempts == 3
