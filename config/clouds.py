"""What deployments in the clouds of AWS, Google and Microsoft need beside a key: regions, projects, versions.

Parameters have LiteLLM's names; what they leave open comes from the environment, as the providers' own tools read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tollhouse.config import aws, google
from tollhouse.config.aws_services import domain_of
from tollhouse.config.environment import first
from tollhouse.config.identities import AwsAccess, GoogleAccess, GoogleMachine

if TYPE_CHECKING:
    from collections.abc import Mapping

Given = Callable[[str], str | None]  # a parameter by its name


class Report(Protocol):
    """Says what is wrong with a parameter. warning: the model is left out, and the rest is served."""

    def __call__(self, name: str, message: str, *, warning: bool = False) -> None: ...


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}").fullmatch
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,62}").fullmatch
_DATED = re.compile(r"\d{4}-\d\d-\d\d(-preview)?").fullmatch
_UNDATED = frozenset({"v1", "preview", "latest"})
_REGIONAL = re.compile(r"(?P<region>[a-z]{2}(-[a-z]+)+-\d)/(?P<model>.+)").fullmatch
# How LiteLLM names Bedrock's other operations in front of a model; Converse does for all of them.
_OPERATIONS = ("converse/", "invoke/", "converse_like/")
# What says that AWS credentials are meant, and no key of Bedrock's in the environment.
_AWS_NAMES = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_profile_name",
    "aws_role_name",
    "aws_web_identity_token",
)
_MULTI_REGIONS = frozenset({"us", "eu"})


class Access(NamedTuple):
    """base: None takes the provider's own. api_key: None takes what the provider's table says."""

    model: str
    base: str | None = None
    api_key: str | None = None
    api_version: str | None = None
    bearer: bool = False
    aws: AwsAccess | None = None
    google: GoogleAccess | None = None
    quota_project: str | None = None


def bedrock(model: str, given: Given, report: Report, environ: Mapping[str, str]) -> Access | None:
    """A Bedrock API key or AWS keys, and a region; None if `report` was told what is missing."""
    for operation in _OPERATIONS:
        model = model.removeprefix(operation)
    region = given("aws_region_name") or first(environ, "AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
    region = region or aws.region_of_profile(given, environ)
    regional = _REGIONAL(model)
    if regional is not None:
        region, model = regional["region"], regional["model"]
    is_named = any(given(name) for name in _AWS_NAMES)
    api_key = given("api_key") or (None if is_named else first(environ, "AWS_BEARER_TOKEN_BEDROCK"))
    signer = None
    if api_key is None:
        signer = aws.access(given, report, environ, region)
        if signer is None:
            return None
    if region is None or not aws.is_region(region):
        report("aws_region_name", aws.NO_REGION)
        return None
    base = given("api_base") or given("aws_bedrock_runtime_endpoint") or _runtime(region)
    return Access(model, base, api_key, aws=signer)


def _runtime(region: str) -> str:
    return f"https://bedrock-runtime.{region}.{domain_of(region)}"


def vertex_ai(model: str, given: Given, report: Report, environ: Mapping[str, str]) -> Access | None:
    """A project, a location, and who asks for access tokens, or one; None if `report` was told what is missing."""
    api_key = given("api_key") or first(environ, "VERTEX_ACCESS_TOKEN")
    found = None
    if api_key is None:
        found = google.access(given, report, environ)
        if found is None:
            return None
    project = given("vertex_project") or first(environ, "VERTEXAI_PROJECT", "GOOGLE_CLOUD_PROJECT")
    project = project or (found.project if found is not None else None)
    location = given("vertex_location") or first(environ, "VERTEXAI_LOCATION", "GOOGLE_CLOUD_LOCATION") or "global"
    if project is None or _PROJECT(project) is None:
        # Where nobody has said anything of Google Cloud, the rest is served.
        is_guess = project is None and found is not None and isinstance(found.access, GoogleMachine)
        message = "is needed: the project that is billed (or VERTEXAI_PROJECT)"
        report("vertex_project", message, warning=is_guess)
        return None
    if _NAME(location) is None:
        report("vertex_location", "must be a location like europe-west4, or global")
        return None
    base = (given("api_base") or f"https://{_vertex_host(location)}").rstrip("/")
    path = f"/v1/projects/{project}/locations/{location}/publishers/google"
    return Access(
        model,
        f"{base}{path}",
        api_key,
        bearer=True,
        google=found.access if found is not None else None,
        quota_project=found.quota_project if found is not None else None,
    )


def _vertex_host(location: str) -> str:
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def azure(model: str, given: Given, report: Report, environ: Mapping[str, str]) -> Access | None:
    """A dated version means the classic surface, any other the v1 surface."""
    version = given("api_version") or first(environ, "AZURE_API_VERSION")
    base = given("api_base") or first(environ, "AZURE_API_BASE")
    if version is not None and version not in _UNDATED and _DATED(version) is None:
        report("api_version", "must be a date like 2024-10-21, or v1, preview, latest")
        return None
    if base is not None and version is not None and _DATED(version):
        stem = base.rstrip("/")
        if stem.endswith("/openai/v1"):
            version = None  # that surface knows no dates
        else:
            base = f"{stem.removesuffix('/openai')}/openai"
    token = None if given("api_key") else given("azure_ad_token")
    if token is None and not given("api_key") and not first(environ, "AZURE_API_KEY"):
        token = first(environ, "AZURE_AD_TOKEN")
    return Access(model, base, token, version, bearer=token is not None)


CLOUDS = {"azure": azure, "bedrock": bedrock, "vertex_ai": vertex_ai}
