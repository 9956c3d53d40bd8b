from __future__ import annotations

import json
from typing import Any

import pytest

from tollhouse.config.identities import AwsAccess, GoogleAccount
from tollhouse.config.loader import load, load_mapping
from tollhouse.config.problems import ConfigError
from tollhouse.config.secret import Secret
from tollhouse.config.settings import Deployment, Settings

KEYS: dict[str, Any] = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s/ecret"}


def _settings(model: str, environ: dict[str, str] | None = None, **params: Any) -> Settings:
    entry = {"model_name": "m", "litellm_params": {"model": model, **params}}
    return load_mapping({"model_list": [entry]}, environ or {})


def _one(model: str, environ: dict[str, str] | None = None, **params: Any) -> Deployment:
    found = [d for d in _settings(model, environ, **params).deployments if d.model_name == "m"]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("bedrock/anthropic.claude-v1:0", "anthropic.claude-v1:0"),
        ("bedrock/converse/anthropic.claude-v1:0", "anthropic.claude-v1:0"),
        ("bedrock_converse/us.amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
        ("bedrock/invoke/anthropic.claude-v1:0", "anthropic.claude-v1:0"),
        ("bedrock/*", "*"),
    ],
)
def test_bedrocks_models_are_known_by_litellms_names(model, expected):
    made = _one(model, aws_region_name="eu-west-1", **KEYS)
    assert (made.provider, made.model, made.api_key) == ("bedrock", expected, None)
    assert made.api_base == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert made.aws == AwsAccess(access_key_id="AKIA", secret_access_key=Secret("s/ecret"), region="eu-west-1")
    assert "s/ecret" not in repr(made)


def test_a_region_may_stand_in_the_model():
    made = _one("bedrock/us-gov-west-1/anthropic.claude-v1:0", {"AWS_REGION": "eu-west-1"}, **KEYS)
    assert made.model == "anthropic.claude-v1:0"
    assert made.aws is not None
    assert made.aws.region == "us-gov-west-1"
    assert "us-gov-west-1" in made.api_base


def test_aws_keys_come_from_the_file_or_the_environment_as_a_whole():
    environ = {
        "AWS_ACCESS_KEY_ID": "env-id",
        "AWS_SECRET_ACCESS_KEY": "env-secret",
        "AWS_SESSION_TOKEN": "env-token",
        "AWS_DEFAULT_REGION": "cn-north-1",
    }
    made = _one("bedrock/m", environ)
    assert made.aws == AwsAccess("env-id", Secret("env-secret"), "cn-north-1", Secret("env-token"))
    assert made.api_base == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"
    # A token belongs to its keys.
    assert _one("bedrock/m", environ, **KEYS).aws == AwsAccess("AKIA", Secret("s/ecret"), "cn-north-1")
    # What the file says wins over a Bedrock key in the environment, which wins over AWS keys there.
    bearer = environ | {"AWS_BEARER_TOKEN_BEDROCK": "bearer"}
    assert _one("bedrock/m", bearer, **KEYS).api_key is None
    assert (_one("bedrock/m", bearer).api_key, _one("bedrock/m", bearer).aws) == (Secret("bearer"), None)
    assert _one("bedrock/m", environ, api_key="own").api_key == Secret("own")


def test_an_endpoint_of_ones_own_is_used():
    base = "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com"
    assert _one("bedrock/m", aws_bedrock_runtime_endpoint=base, aws_region_name="eu-west-1", **KEYS).api_base == base


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"aws_access_key_id": "AKIA"}, "aws_access_key_id"),
        ({**KEYS}, "aws_region_name"),
        ({**KEYS, "aws_region_name": "eu-west-1/../x"}, "aws_region_name"),
        ({**KEYS, "aws_session_token": "a\r\nb", "aws_region_name": "eu-west-1"}, "aws_session_token"),
    ],
)
def test_what_is_wrong_at_aws_is_named_and_no_secret_is_shown(params, named):
    with pytest.raises(ConfigError, match=rf"litellm_params\.{named}: ") as caught:
        _settings("bedrock/m", **params)
    assert "s/ecret" not in str(caught.value)


def test_a_model_whose_keys_are_not_told_is_left_out_and_the_rest_is_served():
    for model in ("bedrock/m", "vertex_ai/gemini-2.5-pro"):
        settings = _settings(model)
        assert "m" not in {d.model_name for d in settings.deployments}
        assert any("litellm_params" in warning and "is needed" in warning for warning in settings.warnings)


def test_vertex_has_its_project_and_place_in_the_path():
    made = _one("vertex_ai/gemini-2.5-pro", vertex_project="p-1", vertex_location="europe-west4", api_key="ya29.x")
    path = "/v1/projects/p-1/locations/europe-west4/publishers/google"
    assert made.api_base == f"https://europe-west4-aiplatform.googleapis.com{path}"
    assert (made.bearer, made.api_key) == (True, Secret("ya29.x"))
    environ = {"VERTEXAI_PROJECT": "p-2", "VERTEX_ACCESS_TOKEN": "ya29.y"}
    made = _one("vertex_ai_beta/gemini-2.5-pro", environ)
    assert made.api_base.startswith("https://aiplatform.googleapis.com/v1/projects/p-2/locations/global/")
    with pytest.raises(ConfigError, match="vertex_project: is needed"):
        _settings("vertex_ai/gemini-2.5-pro", api_key="ya29.x")
    with pytest.raises(ConfigError, match="vertex_location: must be"):
        _settings("vertex_ai/gemini-2.5-pro", vertex_project="p", vertex_location="a/b", api_key="ya29.x")


ACCOUNT = {
    "type": "service_account",
    "client_email": "g@p.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\nsecret\n",
    "private_key_id": "k1",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def test_a_service_account_comes_from_its_file_or_as_text(tmp_path):
    path = tmp_path / "account.json"
    path.write_text(json.dumps(ACCOUNT))
    for credentials in (str(path), json.dumps(ACCOUNT)):
        made = _one("vertex_ai/gemini-2.5-pro", vertex_project="p", vertex_credentials=credentials)
        assert made.api_key is None
        assert made.google == GoogleAccount(
            client_email="g@p.iam.gserviceaccount.com",
            private_key=Secret(ACCOUNT["private_key"]),
            token_uri="https://oauth2.googleapis.com/token",
            key_id="k1",
        )
        assert "secret" not in repr(made)
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "GOOGLE_CLOUD_PROJECT": "p"}
    assert "vertex_ai/*" in {d.model_name for d in load(None, environ).deployments}


@pytest.mark.parametrize(
    "credentials",
    [
        "/no/such/file",
        "{",
        json.dumps(ACCOUNT | {"type": "authorized_user"}),
        json.dumps(ACCOUNT | {"type": "impersonated_service_account"}),
        json.dumps(ACCOUNT | {"type": "external_account", "credential_source": {"url": "http://x.example"}}),
        json.dumps(ACCOUNT | {"type": ["a"]}),
        json.dumps(ACCOUNT | {"private_key": None}),
        json.dumps(ACCOUNT | {"token_uri": "https://evil.example/token"}),
        json.dumps(ACCOUNT | {"token_uri": "https://evil.example/a.googleapis.com/token"}),
    ],
)
def test_credentials_that_cannot_be_used_are_named_and_not_shown(credentials):
    with pytest.raises(ConfigError, match="vertex_credentials: must") as caught:
        _settings("vertex_ai/gemini-2.5-pro", vertex_project="p", vertex_credentials=credentials)
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "is_reached"),
    [
        ("claude-sonnet-4-5@20250929", True),
        ("meta/llama-3.3-70b-instruct-maas", True),
        ("openai/gpt-oss-120b-maas", True),
        ("text-embedding-005", True),
        ("text-multilingual-embedding-002", True),
        ("*", True),
        ("openai/1234567890", False),
        ("mistral-large-2411", False),
        ("mistralai/mistral-large-2411", False),
        ("jamba-1.5", False),
    ],
)
def test_of_vertex_those_models_are_reached_that_are_spoken_to(model, is_reached):
    settings = _settings(f"vertex_ai/{model}", vertex_project="p", api_key="ya29.x")
    assert [d.model for d in settings.deployments if d.model_name == "m"] == ([model] if is_reached else [])
    assert is_reached or any("Google's own models" in warning for warning in settings.warnings)


@pytest.mark.parametrize(
    ("base", "version", "expected"),
    [
        ("https://z.example", "2024-10-21", ("https://z.example/openai", "2024-10-21")),
        ("https://z.example/", "2025-01-01-preview", ("https://z.example/openai", "2025-01-01-preview")),
        ("https://z.example/openai", "2024-10-21", ("https://z.example/openai", "2024-10-21")),
        ("https://z.example/openai/v1", "2024-10-21", ("https://z.example/openai/v1", None)),
        ("https://z.example", "preview", ("https://z.example/openai/v1", "preview")),
        ("https://z.example", None, ("https://z.example/openai/v1", None)),
    ],
)
def test_a_dated_version_means_classic_azure(base, version, expected):
    made = _one("azure/gpt", api_base=base, api_key="k", api_version=version)
    assert (made.api_base, made.api_version) == expected
    environ = {"AZURE_API_KEY": "k", "AZURE_API_BASE": base} | ({"AZURE_API_VERSION": version} if version else {})
    ambient = {d.model_name: d for d in load(None, environ).deployments}["azure/*"]
    assert (ambient.api_base, ambient.api_version, ambient.bearer) == (*expected, False)


def test_a_token_of_entra_is_sent_as_such():
    made = _one("azure/gpt", api_base="https://z.example", azure_ad_token="eyJ", api_version="2024-10-21")
    assert (made.api_key, made.bearer) == (Secret("eyJ"), True)
    made = _one("azure/gpt", {"AZURE_AD_TOKEN": "eyJ"}, api_base="https://z.example", api_key="k")
    assert (made.api_key, made.bearer) == (Secret("k"), False)


def test_a_version_that_is_none_is_named():
    with pytest.raises(ConfigError, match="api_version: must be a date"):
        _settings("azure/gpt", api_base="https://z.example", api_key="k", api_version="latest&x=y")


def test_the_environment_turns_clouds_on_where_it_has_all_they_need():
    def names(environ: dict[str, str]) -> set[str]:
        return {d.model_name for d in load(None, environ).deployments}

    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert "bedrock/*" in names(keys | {"AWS_REGION": "eu-west-1"})
    assert "bedrock/*" in names({"AWS_BEARER_TOKEN_BEDROCK": "t", "AWS_REGION": "eu-west-1"})
    assert "bedrock/*" not in names(keys)
    assert "bedrock/*" not in names({"AWS_REGION": "eu-west-1"})
    assert "vertex_ai/*" in names({"VERTEXAI_PROJECT": "p", "VERTEX_ACCESS_TOKEN": "t"})
    assert "vertex_ai/*" not in names({"VERTEXAI_PROJECT": "p"})
    gemini = {d.model_name: d for d in load(None, {"GEMINI_API_KEY": "k"}).deployments}["gemini/*"]
    assert gemini.api_base == "https://generativelanguage.googleapis.com/v1beta"
