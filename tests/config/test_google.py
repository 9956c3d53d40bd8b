"""Where Google Cloud's credentials are found, in the order of Application Default Credentials."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollhouse.config.identities import GoogleMachine, GoogleUser, GoogleWorkload
from tollhouse.config.loader import load, load_mapping
from tollhouse.config.problems import ConfigError
from tollhouse.config.secret import Secret
from tollhouse.config.settings import Deployment

USER = {
    "type": "authorized_user",
    "client_id": "id.apps.googleusercontent.com",
    "client_secret": "the-client-secret",
    "refresh_token": "1//the-refresh-token",
    "quota_project_id": "quota-1",
}
WORKLOAD: dict[str, Any] = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/var/token", "format": {"type": "json", "subject_token_field_name": "jwt"}},
    "service_account_impersonation_url": (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/g@p.iam.gserviceaccount.com:generateAccessToken"
    ),
}
PROJECT = {"VERTEXAI_PROJECT": "p"}


def _one(environ: dict[str, str], **params: Any) -> Deployment:
    entry = {"model_name": "m", "litellm_params": {"model": "vertex_ai/gemini-2.5-pro", **params}}
    made = [d for d in load_mapping({"model_list": [entry]}, environ).deployments if d.model_name == "m"]
    assert len(made) == 1
    return made[0]


def test_a_person_is_known_by_what_gcloud_has_left(tmp_path):
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text(json.dumps(USER))
    wanted = GoogleUser(
        USER["client_id"],
        Secret("the-client-secret"),
        Secret("1//the-refresh-token"),
        "https://oauth2.googleapis.com/token",
    )
    for environ in ({"HOME": str(tmp_path)}, {"CLOUDSDK_CONFIG": str(folder)}):
        made = _one(PROJECT | environ)
        assert (made.google, made.quota_project) == (wanted, "quota-1")
        assert "the-" not in repr(made)
        # Nobody has asked for that.
        assert "vertex_ai/*" not in {d.model_name for d in load(None, PROJECT | environ).deployments}


def test_a_workload_is_known_by_the_token_of_another_provider():
    made = _one(PROJECT, vertex_credentials=json.dumps(WORKLOAD))
    assert made.google == GoogleWorkload(
        audience=WORKLOAD["audience"],
        token_type=WORKLOAD["subject_token_type"],
        token_file="/var/token",
        token_uri="https://sts.googleapis.com/v1/token",
        member="jwt",
        impersonation_url=WORKLOAD["service_account_impersonation_url"],
    )
    plain = WORKLOAD | {"credential_source": {"file": "/var/token"}, "service_account_impersonation_url": None}
    google = _one(PROJECT, vertex_credentials=json.dumps(plain)).google
    assert isinstance(google, GoogleWorkload)
    assert (google.member, google.impersonation_url) == (None, None)


def test_without_a_file_the_machine_is_asked():
    assert _one(PROJECT).google == GoogleMachine("http://metadata.google.internal")
    assert _one(PROJECT | {"GCE_METADATA_HOST": "127.0.0.1:9"}).google == GoogleMachine("http://127.0.0.1:9")
    assert "vertex_ai/*" not in {d.model_name for d in load(None, PROJECT).deployments}


def test_a_machine_that_is_none_of_googles_is_not_asked():
    entry = {"model_name": "m", "litellm_params": {"model": "vertex_ai/gemini-2.5-pro"}}
    settings = load_mapping({"model_list": [entry]}, PROJECT | {"NO_GCE_CHECK": "true"})
    assert "m" not in {d.model_name for d in settings.deployments}
    assert any("vertex_credentials: is needed" in warning for warning in settings.warnings)


def test_a_service_accounts_project_is_the_last_resort():
    account = {"type": "service_account", "client_email": "g@p", "private_key": "k", "project_id": "of-the-file"}
    assert "/projects/of-the-file/" in _one({}, vertex_credentials=json.dumps(account)).api_base
    assert "/projects/p/" in _one(PROJECT, vertex_credentials=json.dumps(account)).api_base


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        (USER | {"refresh_token": ""}, "must have client_id, client_secret and refresh_token"),
        (WORKLOAD | {"token_url": "https://evil.example/token"}, "must have audience"),
        (WORKLOAD | {"service_account_impersonation_url": "https://evil.example/x"}, "must have audience"),
        (WORKLOAD | {"credential_source": {"executable": {"command": "/bin/x"}}}, "executable are not supported"),
        ({"type": "impersonated_service_account"}, "authorized_user, external_account, service_account"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(credentials, told):
    with pytest.raises(ConfigError, match=f"vertex_credentials: .*{told}") as caught:
        _one(PROJECT, vertex_credentials=json.dumps(credentials))
    assert "the-client-secret" not in str(caught.value)


def test_the_metadata_server_is_nowhere_else():
    with pytest.raises(ConfigError, match="GCE_METADATA_HOST: must be"):
        _one(PROJECT | {"GCE_METADATA_HOST": "evil.example"})
