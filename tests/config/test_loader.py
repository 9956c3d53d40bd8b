from __future__ import annotations

import pickle
from hashlib import sha256

import pytest

from tollhouse.config.loader import ConfigError, check, load, load_mapping
from tollhouse.config.secret import Secret

OWN = """
store: embedded
keys:
  - name: prod_customer
    key: os.environ/TEAM_KEY_prod_customer
    team: acme
    models: [gpt-4o-mini, gpt-4o]
    limits: {rpm: 100, tpm: 200000, parallel: 50, refill: interval}
    budget: {usd: "25.00", window: 1d, mode: hard}
teams: [{name: acme, limits: {rpm: 5}, budget: {usd: 100}}]
limits: {rpm: 600}
scan: {request: {pii: redact, secrets: block, injection: block}, response: {pii: redact, secrets: redact}}
upstream: {connect_s: 5, first_event_s: 120, idle_s: 300, total_s: 1800}
"""
LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/OPENAI_API_KEY
      rpm: 100
    model_info: {mode: chat}
  - model_name: gpt-4o-mini
    litellm_params:
      {model: azure/mini-deployment, api_base: "https://acme.example.com", api_key: k, api_version: preview, weight: 3}
  - model_name: local/*
    litellm_params: {model: hosted_vllm/*, api_base: "http://127.0.0.1:8000/v1", timeout: 30, stream_timeout: 5}
  - model_name: bare
    litellm_params: {model: gpt-4o}
  - model_name: cloudy
    litellm_params: {model: bedrock/anthropic.claude, aws_region_name: us-east-1}
router_settings: {routing_strategy: simple-shuffle}
litellm_settings: {drop_params: true}
general_settings: {master_key: os.environ/MASTER, database_url: none}
environment_variables: {MASTER: sk-master}
"""


def _write(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def _said(problems):
    return {(problem.path, problem.line, problem.severity): problem.message for problem in problems}


def test_our_own_sections_load(tmp_path):
    path = _write(tmp_path, OWN)
    settings = load(path, {"TEAM_KEY_prod_customer": "sk-team", "HOME": "/home/x"})
    assert [(k.name, k.team, k.models, k.digest) for k in settings.keys] == [
        ("prod_customer", "acme", ("gpt-4o-mini", "gpt-4o"), sha256(b"sk-team").digest())
    ]
    assert settings.state_dir == "/home/x/.local/state/tollhouse"
    assert settings.warnings == ()


def test_a_litellm_file_loads_as_it_is(tmp_path):
    environ = {"OPENAI_API_KEY": "sk-openai", "AWS_EC2_METADATA_DISABLED": "true"}
    settings = load(_write(tmp_path, LITELLM), environ)
    found = {(d.model_name, d.provider): d for d in settings.deployments}
    mini = found["gpt-4o-mini", "openai"]
    assert (mini.model, mini.api_base, mini.api_key) == (
        "gpt-4o-mini",
        "https://api.openai.com/v1",
        Secret("sk-openai"),
    )
    azure = found["gpt-4o-mini", "azure"]
    assert (azure.api_base, azure.weight, azure.api_version) == ("https://acme.example.com/openai/v1", 3, "preview")
    local = found["local/*", "hosted_vllm"]
    assert (local.model, local.api_key, local.timeouts.total_s, local.timeouts.first_event_s) == ("*", None, 30, 5)
    assert found["bare", "openai"].model == "gpt-4o"
    assert ("tollhouse/echo", "tollhouse") in found
    assert not any(name == "cloudy" for name, _ in found)
    assert settings.master_key == Secret("sk-master")
    assert any("aws_access_key_id: is needed" in warning for warning in settings.warnings)
    assert any(w.startswith("general_settings.database_url") for w in settings.warnings)


def test_every_error_is_told_at_once_with_its_line_and_path(tmp_path):
    path = _write(
        tmp_path,
        """model_list:
  - model_name: a
    litellm_params: {model: nonsense/x}
  - model_name: b
    litellm_params:
      model: openai/b
      api_base: ftp://x
  - litellm_params: {model: openai/c}
keys:
  - {name: k, key: a}
  - {name: k, key: b}
  - {name: l, key: a}
  - {name: m}
  - {name: n, key_hash: zz}
  - {name: o, key: "${NOT_SET}"}
port: 99999
upstream: {connect_s: -1}
colour: red
colour: blue
""",
    )
    said = _said(check(path, {}))
    assert {key for key in said if key[2] == "error"} >= {
        ("model_list[0].litellm_params.model", 3, "error"),
        ("model_list[1].litellm_params.api_base", 7, "error"),
        ("model_list[2].model_name", 8, "error"),
        ("keys[5].key", 15, "error"),
        ("keys[4].key_hash", 14, "error"),
        ("port", 16, "error"),
        ("upstream.connect_s", 17, "error"),
        ("colour", 19, "error"),
    }
    assert ("colour", 18, "warning") in said or ("colour", 19, "warning") in said
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert len(caught.value.problems) >= 8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([{"name": "k", "key": "a"}, {"name": "k", "key": "b"}], "used twice"),
        ([{"name": "k", "key": "a"}, {"name": "l", "key": "a"}], "same key"),
        ([{"name": "k"}], "either key or key_hash"),
        ([{"name": "k", "key": "a", "key_hash": "0" * 64}], "either key or key_hash"),
    ],
)
def test_keys_are_unambiguous(keys, message):
    with pytest.raises(ConfigError, match=message):
        load_mapping({"keys": keys}, {})


def test_a_hash_serves_as_well_as_a_key():
    digest = sha256(b"sk-x").hexdigest()
    settings = load_mapping({"keys": [{"name": "a", "key_hash": f"sha256:{digest}"}]}, {})
    assert settings.keys[0].digest == sha256(b"sk-x").digest()


@pytest.mark.parametrize("text", ["a: [", "- a", "a: 1\n a: 2", "\xff"])
def test_what_is_no_configuration_is_told_not_raised(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("latin-1"))
    problems = check(str(path), {})
    assert [problem.severity for problem in problems] == ["error"]
    assert str(problems[0]).startswith(str(path))


def test_a_missing_file_is_told():
    assert "cannot be read" in str(check("/nonexistent/c.yaml", {})[0])


def test_includes_are_joined_and_keep_their_lines(tmp_path):
    _write(tmp_path, "keys:\n  - {name: b, key: bb}\n  - {name: c}\nport: 1\n", "more.yaml")
    path = _write(tmp_path, "include: [more.yaml]\nport: 9000\nkeys: [{name: a, key: aa}]\n")
    problems = check(path, {})
    assert [(p.path, p.line, p.file.endswith("more.yaml")) for p in problems] == [("keys[2]", 3, True)]
    loop = _write(tmp_path, "include: [loop.yaml]\n", "loop.yaml")
    assert "includes itself" in str(check(loop, {})[0])


def test_precedence_is_command_line_environment_file():
    data = {"port": 1000, "host": "10.0.0.1", "workers": 2}
    environ = {"LLM_GATEWAY_PORT": "2000", "LLM_GATEWAY_HOST": "10.0.0.2"}
    settings = load_mapping(data, environ)
    assert (settings.port, settings.host, settings.workers) == (2000, "10.0.0.2", 2)
    assert load(None, environ, overrides={"port": 3000}).port == 3000


@pytest.mark.parametrize(
    ("data", "path"),
    [({"logging": {"level": "loud"}}, "logging.level"), ({"store": "banana"}, "store")],
)
def test_what_would_stop_a_worker_stops_the_command(data, path):
    with pytest.raises(ConfigError, match=path):
        load_mapping(data, {})


@pytest.mark.parametrize(
    ("file", "environ", "store"),
    [
        ({}, {}, "embedded"),
        ({"store": "redis://host:6379/0"}, {"LLM_GATEWAY_REDIS_URL": "redis://other"}, "redis://host:6379/0"),
        ({"store": "embedded"}, {"REDIS_URL": "redis://other"}, "embedded"),
        ({}, {"LLM_GATEWAY_REDIS_URL": "rediss://first", "REDIS_URL": "redis://second"}, "rediss://first"),
        ({}, {"REDIS_URL": "redis+sentinel://a:26379,b/master"}, "redis+sentinel://a:26379,b/master"),
    ],
)
def test_the_store_is_the_files_or_else_the_environments(file, environ, store):
    settings = load_mapping(file, environ)
    assert (settings.store, settings.warnings) == (store, ())


@pytest.mark.parametrize("name", ["PORT", "WORKERS", "LOG_LEVEL", "LOG_FORMAT", "DRAIN_S"])
def test_a_bad_variable_is_named(name):
    with pytest.raises(ConfigError, match=f"LLM_GATEWAY_{name}: must be"):
        load(None, {f"LLM_GATEWAY_{name}": "lots"})


@pytest.mark.parametrize("given", ["box:11434", "http://box:11434", "http://box:11434/v1"])
def test_the_address_of_a_provider_without_keys_turns_it_on(given):
    names = {d.model_name: d for d in load(None, {"OLLAMA_HOST": given}).deployments}
    assert names["ollama/*"].api_base == "http://box:11434" + ("/v1" if given.endswith("/v1") else "")
    assert names["ollama/*"].api_key is None
    assert "ollama/*" not in {d.model_name for d in load(None, {}).deployments}


def test_a_key_that_no_header_can_carry_is_named_and_not_shown():
    params = {"model": "openai/x", "api_key": "sk-canary\n"}
    data = {"model_list": [{"model_name": "m", "litellm_params": params}]}
    with pytest.raises(ConfigError) as caught:
        load_mapping(data, {"OPENAI_API_KEY": "sk-canary\n"})
    assert [problem.path for problem in caught.value.problems] == [
        "model_list[0].litellm_params.api_key",
        "OPENAI_API_KEY",
    ]
    assert "canary" not in str(caught.value)


def test_an_address_in_the_environment_that_is_none_is_named():
    with pytest.raises(ConfigError, match="AZURE_API_BASE: must be an http or https URL"):
        load(None, {"AZURE_API_KEY": "k", "AZURE_API_BASE": "acme"})


def test_a_providers_key_in_the_environment_turns_it_on():
    settings = load(
        None,
        {"OPENAI_API_KEY": "sk-o", "GROQ_API_KEY": "sk-g", "AZURE_API_KEY": "a", "AZURE_API_BASE": "https://z.example"},
    )
    names = {d.model_name: (d.provider, d.model, d.api_base) for d in settings.deployments}
    assert names["openai/*"] == ("openai", "*", "https://api.openai.com/v1")
    assert names["groq/*"][0] == "groq"
    assert names["azure/*"][2] == "https://z.example/openai/v1"
    assert names["*"][0] == "openai"
    assert (
        load(None, {"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k", "LLM_GATEWAY_DEFAULT_PROVIDER": "groq"})
        .deployments[-2]
        .provider
        == "groq"
    )
    own = load(None, {"LLM_GATEWAY_OPENAI_API_KEY": "own", "OPENAI_API_KEY": "other"}).deployments[0].api_key
    assert own == Secret("own")


def test_without_any_key_only_the_built_in_model_is_there():
    assert [d.model_name for d in load(None, {}).deployments] == ["tollhouse/echo"]


@pytest.mark.parametrize("base", ["ftp://x", "https://user:pw@x", "https://x?key=1", "not a url", "http://x:port/"])
def test_a_base_url_is_http_and_holds_no_secret(base):
    entry = {"model_name": "m", "litellm_params": {"model": "vllm/m", "api_base": base}}
    with pytest.raises(ConfigError) as caught:
        load_mapping({"model_list": [entry]}, {})
    assert "pw" not in str(caught.value)


def test_a_secret_is_in_no_message_and_no_repr():
    data = {"general_settings": {"master_key": "sk-canary"}, "keys": [{"name": 1, "key": ["sk-canary"]}]}
    with pytest.raises(ConfigError) as caught:
        load_mapping(data, {})
    assert "canary" not in str(caught.value)
    settings = load_mapping({"general_settings": {"master_key": "sk-canary"}}, {})
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings.master_key)


def test_settings_travel_to_workers_whole():
    settings = load(None, {"OPENAI_API_KEY": "sk-o", "LLM_GATEWAY_MASTER_KEY": "m"})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_what_is_wrong_in_several_entries_is_found_in_all_of_them_with_their_own_lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/x, api_key: k, timeout: -1, weight: 0}}\n"
        "  - {model_name: b, litellm_params: {model: openai/x, api_key: k}}\n"
        "  - {model_name: c, litellm_params: {api_key: k}}\n"
        "  - {model_name: d, litellm_params: {model: bogus}}\n"
        "keys: [{name: k, key: sk, budget: {mode: hard}}, {name: m}]\n"
    )
    assert [(problem.line, problem.path) for problem in check(str(path), {})] == [
        (2, "model_list[0].litellm_params.timeout"),
        (2, "model_list[0].litellm_params.weight"),
        (4, "model_list[2].litellm_params.model"),
        (5, "model_list[3].litellm_params.model"),
        (6, "keys[0].budget.usd"),
        (6, "keys[1]"),
    ]


@pytest.mark.parametrize("text", ["a: &a [*a]\n", f"a: {'[' * 5000}{']' * 5000}\n"], ids=["alias of itself", "deep"])
def test_yaml_without_a_bottom_is_an_error(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert "nested too deeply" in str(check(str(path), {})[0])


def test_models_of_providers_that_are_not_known_yet_are_left_out_and_the_rest_is_served():
    entries = [
        {"model_name": "a", "litellm_params": {"model": "nvidia_nim/x", "api_key": "k"}},
        {"model_name": "b", "litellm_params": {"model": "ollama_chat/llama3"}},
    ]
    settings = load_mapping({"model_list": entries}, {})
    found = {d.model_name: (d.provider, d.model) for d in settings.deployments}
    assert "a" not in found
    assert found["b"] == ("ollama", "llama3")
    assert any("nvidia_nim" in warning for warning in settings.warnings)
