"""Where AWS credentials are found, as boto3 and LiteLLM look for them."""

from __future__ import annotations

from typing import Any

import pytest

from tollhouse.config.identities import AwsAccess, AwsContainer, AwsInstance, AwsRole, AwsTokenFile
from tollhouse.config.loader import load, load_mapping
from tollhouse.config.problems import ConfigError
from tollhouse.config.secret import Secret

ROLE = "arn:aws:iam::123456789012:role/team/gateway"
OTHER = "arn:aws:iam::123456789012:role/other"
REGION = {"AWS_REGION": "eu-west-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "env-id", "AWS_SECRET_ACCESS_KEY": "env-secret"}
CREDENTIALS = """
[default]
aws_access_key_id = default-id
aws_secret_access_key = default-s%ecret

[base]
aws_access_key_id=base-id
aws_secret_access_key=base-secret
aws_session_token=base-token

[half]
aws_access_key_id=half-id
"""
CONFIG = f"""
[default]
region = eu-central-1

[profile base]
region = ap-south-1
aws_access_key_id = of-the-other-file

[profile chained]
role_arn = {ROLE}
source_profile = base
external_id = ext
role_session_name = of-the-profile
duration_seconds = 900

[profile longer]
role_arn = {OTHER}
source_profile = chained

[profile circle]
role_arn = {ROLE}
source_profile = circle2
[profile circle2]
role_arn = {ROLE}
source_profile = circle

[profile machine]
role_arn = {ROLE}
credential_source = Ec2InstanceMetadata

[profile ambient]
role_arn = {ROLE}
credential_source = Environment

[profile pod]
role_arn = {ROLE}
web_identity_token_file = /var/token

[profile empty]
region = eu-west-3

[profile sso]
sso_session = mine

[profile asked]
role_arn = {ROLE}
source_profile = base
mfa_serial = arn:aws:iam::1:mfa/x

[services no-profile]
x = y
"""


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(CREDENTIALS)
    (folder / "config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def _access(environ: dict[str, str], **params: Any) -> AwsAccess:
    entry = {"model_name": "m", "litellm_params": {"model": "bedrock/x", **params}}
    made = [d for d in load_mapping({"model_list": [entry]}, environ).deployments if d.model_name == "m"]
    assert len(made) == 1
    assert made[0].aws is not None
    return made[0].aws


def test_the_order_is_that_of_aws_own_tools(home):
    irsa = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}
    container = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}
    everything = home | REGION | irsa | container | KEYS | {"AWS_PROFILE": "base"}
    params = {"aws_access_key_id": "own-id", "aws_secret_access_key": "own-secret", "aws_profile_name": "base"}
    assert _access(everything, **params).access_key_id == "own-id"
    assert _access(everything, aws_profile_name="default").access_key_id == "default-id"
    assert _access(everything).access_key_id == "env-id"
    without_keys = home | REGION | irsa | container
    assert _access(without_keys | {"AWS_PROFILE": "base"}).access_key_id == "base-id"
    assert isinstance(_access(without_keys).lender, AwsTokenFile)
    assert _access(home | REGION | container).access_key_id == "default-id"
    assert _access(REGION | container).lender == AwsContainer("http://169.254.170.2/v2/x")
    assert _access(REGION).lender == AwsInstance("http://169.254.169.254")


def test_the_credentials_file_wins_over_the_config_file_and_nothing_is_interpolated(home):
    found = _access(home, aws_profile_name="base")
    assert found == AwsAccess("base-id", Secret("base-secret"), "ap-south-1", Secret("base-token"))
    assert _access(home).secret_access_key == Secret("default-s%ecret")
    assert _access(home).region == "eu-central-1"
    assert "secret" not in repr(found).replace("secret_access_key", "")


def test_the_files_may_be_elsewhere(home, tmp_path):
    other = tmp_path / "other"
    other.write_text("[mine]\naws_access_key_id = a\naws_secret_access_key = b\n")
    environ = home | REGION | {"AWS_SHARED_CREDENTIALS_FILE": str(other), "AWS_PROFILE": "mine"}
    assert _access(environ).access_key_id == "a"
    assert _access(REGION | {"AWS_CONFIG_FILE": str(tmp_path / ".aws/config"), "AWS_PROFILE": "pod"}).lender


def test_roles_are_assumed_in_the_order_in_which_profiles_lead_to_one_another(home):
    first = AwsRole(ROLE, "of-the-profile", "ext", 900)
    assert _access(home | REGION, aws_profile_name="chained").roles == (first,)
    found = _access(home | REGION, aws_profile_name="longer", aws_role_name=OTHER, aws_session_name="mine")
    assert found.roles == (first, AwsRole(OTHER, "tollhouse"), AwsRole(OTHER, "mine"))
    assert (found.access_key_id, found.sts) == ("base-id", "https://sts.eu-west-1.amazonaws.com")


def test_other_sources_of_a_profiles_role(home):
    role = (AwsRole(ROLE, "tollhouse"),)
    machine = _access(home | REGION, aws_profile_name="machine")
    assert (machine.lender, machine.roles) == (AwsInstance("http://169.254.169.254"), role)
    ambient = _access(home | REGION | KEYS, aws_profile_name="ambient")
    assert (ambient.access_key_id, ambient.roles) == ("env-id", role)
    pod = _access(home | REGION, aws_profile_name="pod")
    assert (pod.lender, pod.roles) == (AwsTokenFile(role[0], "/var/token"), ())


def test_parameters_say_which_role_and_by_which_endpoint():
    environ = REGION | KEYS | {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}
    found = _access(environ, aws_role_name=ROLE, aws_session_name="s-1", aws_external_id="e")
    assert (found.roles, found.sts) == ((AwsRole(ROLE, "s-1", "e"),), "http://127.0.0.1:9")
    own = _access(environ, aws_role_name=ROLE, aws_sts_endpoint="https://sts.amazonaws.com")
    assert own.sts == "https://sts.amazonaws.com"
    assert _access(environ).sts == ""
    web = _access(environ, aws_role_name=ROLE, aws_web_identity_token="/run/token")
    assert (web.lender, web.roles) == (AwsTokenFile(AwsRole(ROLE, "tollhouse"), "/run/token"), ())
    china = _access(KEYS, aws_region_name="cn-north-1", aws_role_name=ROLE.replace("aws:", "aws-cn:"))
    assert china.sts == "https://sts.cn-north-1.amazonaws.com.cn"


def test_a_container_may_have_a_token():
    url = "http://169.254.170.23/v1/credentials"
    environ = REGION | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t"}
    assert _access(environ).lender == AwsContainer(url, Secret("t"))
    environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = "/var/run/token"
    assert _access(environ).lender == AwsContainer(url, None, "/var/run/token")


@pytest.mark.parametrize(
    ("params", "environ", "told"),
    [
        ({"aws_profile_name": "none"}, {}, "aws_profile_name: names the profile none, which AWS' files do not have"),
        ({"aws_profile_name": "half"}, {}, "half, which has neither keys"),
        ({"aws_profile_name": "empty"}, {}, "empty, which has neither keys"),
        ({"aws_profile_name": "circle"}, {}, "in a circle"),
        ({"aws_profile_name": "sso"}, {}, "whose sso_session is not supported"),
        ({"aws_profile_name": "asked"}, {}, "whose mfa_serial is not supported"),
        ({"aws_profile_name": "ambient"}, {}, "credential_source that could be used"),
        ({"aws_role_name": "gateway"}, KEYS, "aws_role_name: must be a role like"),
        ({"aws_role_name": ROLE, "aws_session_name": "a b"}, KEYS, "aws_session_name: must have"),
        ({"aws_web_identity_token": "/t"}, {}, "aws_role_name: is needed"),
        ({"aws_web_identity_token": "oidc/x", "aws_role_name": ROLE}, {}, "aws_web_identity_token: must be the path"),
        ({"aws_role_name": ROLE, "aws_sts_endpoint": "http://sts.example"}, KEYS, "aws_sts_endpoint: must be an https"),
        ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/x"}, "CREDENTIALS_FULL_URI: must be an https"),
        (
            {},
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://example.com"},
            "METADATA_SERVICE_ENDPOINT: must be an https",
        ),
        ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[x"}, "CREDENTIALS_FULL_URI: is not a URL"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(home, params, environ, told):
    if not params:
        home = {}
    with pytest.raises(ConfigError, match=told) as caught:
        _access(home | REGION | environ, **params)
    assert "secret" not in str(caught.value).replace("aws_secret_access_key", "")


def test_a_file_that_is_none_is_named_without_its_lines(tmp_path):
    path = tmp_path / "credentials"
    path.write_text("aws_secret_access_key = the-secret\n")
    with pytest.raises(ConfigError, match="is no file of AWS profiles") as caught:
        _access(REGION | {"AWS_SHARED_CREDENTIALS_FILE": str(path)}, aws_profile_name="x")
    assert "the-secret" not in str(caught.value)


def test_roles_of_an_environment_do_not_turn_bedrock_on_by_themselves(home):
    irsa = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}
    for environ in (REGION, REGION | irsa, REGION | home | {"AWS_PROFILE": "chained"}):
        assert "bedrock/*" not in {d.model_name for d in load(None, environ).deployments}
