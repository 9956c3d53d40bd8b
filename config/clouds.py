"""What deployments in the clouds of AWS, Google and Microsoft need beside a key: regions, projects, versions.

Parameters have LiteLLM's names; what they leave open comes from the environment, as the providers' own tools read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tollhouse.config.environment import first
from tollhouse.config.secret import Secret
from tollhouse.config.settings import AwsAccess, GoogleAccount

if TYPE_CHECKING:
    from collections.abc import Mapping

Given = Callable[[str], str | None]  # a parameter by its name


class Report(Protocol):
    """Says what is wrong with a parameter. warning: the model is left out, and the rest is served."""

    def __call__(self, name: str, message: str, *, warning: bool = False) -> None: ...


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}").fullmatch
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,62}").fullmatch
_DATED = re.compile(r"\d{4}-\d\d-\d\d(-preview)?").fullmatch
# The signed claim goes to Google, or in tests to this machine.
_TOKEN_URI = re.compile(r"https://[a-z0-9.-]+\.googleapis\.com/[\w/.-]*|http://127\.0\.0\.1:\d+/\w*").fullmatch
_UNDATED = frozenset({"v1", "preview", "latest"})
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+").fullmatch
_REGIONAL = re.compile(r"(?P<region>[a-z]{2}(-[a-z]+)+-\d)/(?P<model>.+)").fullmatch
# How LiteLLM names Bedrock's other operations in front of a model; Converse does for all of them.
_OPERATIONS = ("converse/", "invoke/", "converse_like/")


class Access(NamedTuple):
    """base: None takes the provider's own. api_key: None takes what the provider's table says."""

    model: str
    base: str | None = None
    api_key: str | None = None
    api_version: str | None = None
    bearer: bool = False
    aws: AwsAccess | None = None
    google: GoogleAccount | None = None


def bedrock(model: str, given: Given, report: Report, environ: Mapping[str, str]) -> Access | None:
    """A Bedrock API key or AWS keys, and a region; None if `report` was told what is missing."""
    for operation in _OPERATIONS:
        model = model.removeprefix(operation)
    secret_key = given("aws_secret_access_key")
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    # A key's halves belong together: half of one from the file and half from the environment are no key.
    values = [given(name) if secret_key else first(environ, name.upper()) for name in names]
    key_id, secret, token = values
    api_key = given("api_key") or (None if secret_key else first(environ, "AWS_BEARER_TOKEN_BEDROCK"))
    if api_key is None and (key_id is None or secret is None):
        is_half = bool(secret_key or given("aws_access_key_id"))
        message = "is needed with aws_secret_access_key, or a Bedrock API key as api_key; roles are not read"
        report("aws_access_key_id", message, warning=not is_half)
        return None
    region = given("aws_region_name") or first(environ, "AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
    regional = _REGIONAL(model)
    if regional is not None:
        region, model = regional["region"], regional["model"]
    if region is None or _NAME(region) is None:
        report("aws_region_name", "is needed: the region whose Bedrock is asked (or AWS_REGION)")
        return None
    base = given("api_base") or given("aws_bedrock_runtime_endpoint") or _runtime(region)
    if api_key is not None or key_id is None or secret is None:
        return Access(model, base, api_key)
    for name, value in zip(names, values, strict=True):
        if value is not None and _HEADER_VALUE(value) is None:
            report(name, "holds characters that no header can carry")
            return None
    aws = AwsAccess(
        access_key_id=key_id,
        secret_access_key=Secret(secret),
        region=region,
        session_token=Secret(token) if token else None,
    )
    return Access(model, base, aws=aws)


def _runtime(region: str) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{domain}"


def vertex_ai(model: str, given: Given, report: Report, environ: Mapping[str, str]) -> Access | None:
    """A project, a location, and an access token or a service account; None if `report` was told what is missing."""
    api_key = given("api_key") or first(environ, "VERTEX_ACCESS_TOKEN")
    credentials = given("vertex_credentials") or first(environ, "GOOGLE_APPLICATION_CREDENTIALS")
    account = None
    if api_key is None:
        if credentials is None:
            message = "is needed: a service account's file (or GOOGLE_APPLICATION_CREDENTIALS), or a token as api_key"
            report("vertex_credentials", message, warning=True)
            return None
        account = _account(credentials, report)
        if account is None:
            return None
    project = given("vertex_project") or first(environ, "VERTEXAI_PROJECT", "GOOGLE_CLOUD_PROJECT")
    location = given("vertex_location") or first(environ, "VERTEXAI_LOCATION", "GOOGLE_CLOUD_LOCATION") or "global"
    if project is None or _PROJECT(project) is None:
        report("vertex_project", "is needed: the project that is billed (or VERTEXAI_PROJECT)")
        return None
    if _NAME(location) is None:
        report("vertex_location", "must be a location like europe-west4, or global")
        return None
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    base = (given("api_base") or f"https://{host}").rstrip("/")
    path = f"/v1/projects/{project}/locations/{location}/publishers/google"
    return Access(model, f"{base}{path}", api_key, bearer=True, google=account)


def _account(credentials: str, report: Report) -> GoogleAccount | None:
    """The service account of a file, or of its content."""
    if find_spec("cryptography") is None:
        report("vertex_credentials", "needs the package cryptography: pip install 'tollhouse[vertex]'")
        return None
    try:
        text = credentials if credentials.lstrip().startswith("{") else Path(credentials).read_text(encoding="utf-8")
        fields = json.loads(text)
    except (OSError, ValueError):
        fields = None
    if not isinstance(fields, dict) or fields.get("type") != "service_account":
        report("vertex_credentials", "must be the JSON file of a service account's key, or its content")
        return None
    email, key = fields.get("client_email"), fields.get("private_key")
    uri = fields.get("token_uri") or "https://oauth2.googleapis.com/token"
    if not (isinstance(email, str) and isinstance(key, str) and _TOKEN_URI(str(uri))):
        report("vertex_credentials", "must have client_email, private_key and a token_uri")
        return None
    key_id = fields.get("private_key_id")
    key_id = key_id if isinstance(key_id, str) else ""
    return GoogleAccount(
        client_email=email,
        private_key=Secret(key),
        token_uri=str(uri),
        key_id=key_id if isinstance(key_id, str) else "",
    )


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
