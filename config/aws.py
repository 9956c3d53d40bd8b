"""Where AWS credentials come from, in the order in which AWS' own tools look, with LiteLLM's parameters in front."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tollhouse.config import aws_files, aws_profiles
from tollhouse.config.aws_profiles import KEYS, SESSION, Found
from tollhouse.config.aws_services import Wrong, container, instance, sts_url
from tollhouse.config.environment import first
from tollhouse.config.identities import AwsAccess, AwsInstance, AwsRole, AwsTokenFile
from tollhouse.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.clouds import Given, Report

_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}").fullmatch
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+").fullmatch
NO_REGION = "is needed: the region whose Bedrock is asked (or AWS_REGION)"


def access(given: Given, report: Report, environ: Mapping[str, str], region: str | None) -> AwsAccess | None:
    """Who signs; None if `report` was told why nobody can. region: None if neither file nor environment says."""
    try:
        return _access(given, environ, region)
    except Wrong as error:
        report(error.name, error.message, warning=error.warning)
        return None


def region_of_profile(given: Given, environ: Mapping[str, str]) -> str | None:
    """What the profile that is named, or the default one, says."""
    try:
        known = aws_files.profiles(environ)
    except ValueError:
        return None
    return known.get(given("aws_profile_name") or _named(environ) or "default", {}).get("region")


def is_region(text: str | None) -> bool:
    return text is not None and _REGION(text) is not None


def _access(given: Given, environ: Mapping[str, str], region: str | None) -> AwsAccess:
    found = _found(given, environ)
    if region is None or not is_region(region):
        # Where nobody has said anything of AWS, the rest is served.
        raise Wrong("aws_region_name", NO_REGION, warning=region is None and isinstance(found.lender, AwsInstance))
    role = _role(given)
    if role is not None and not given("aws_web_identity_token"):
        found = found._replace(roles=(*found.roles, role))
    key_id, secret, token = found.keys or ("", "", None)
    for name, value in zip(KEYS, (key_id, secret, token), strict=True):
        if value and _HEADER_VALUE(value) is None:
            raise Wrong(name, "holds characters that no header can carry")
    wants_sts = bool(found.roles) or isinstance(found.lender, AwsTokenFile)
    return AwsAccess(
        access_key_id=key_id,
        secret_access_key=Secret(secret),
        region=region,
        session_token=Secret(token) if token else None,
        lender=found.lender,
        roles=found.roles,
        sts=sts_url(given, environ, region) if wants_sts else "",
    )


def _found(given: Given, environ: Mapping[str, str]) -> Found:
    """The first of those who can be asked, roles of the parameters left out."""
    key_id, secret, token = map(given, KEYS)
    if key_id or secret:
        # A key's halves belong together: half of one from the file and half from the environment are no key.
        if not (key_id and secret):
            raise Wrong(KEYS[0], "is needed with aws_secret_access_key: one is nothing without the other")
        return Found((key_id, secret, token))
    if given("aws_web_identity_token"):
        return Found(lender=_web_identity(given))
    profile = given("aws_profile_name")
    if profile:
        return aws_profiles.of_profile(profile, environ)
    keys = aws_profiles.keys_of_environment(environ)
    if keys is not None:
        return Found(keys)
    profile = _named(environ)
    if profile is not None:
        return aws_profiles.of_profile(profile, environ)
    arn, path = environ.get("AWS_ROLE_ARN"), environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if arn and path:
        session = environ.get("AWS_ROLE_SESSION_NAME") or SESSION
        return Found(lender=AwsTokenFile(aws_profiles.role(arn, session, "AWS_ROLE_ARN"), path))
    if aws_profiles.is_complete("default", environ):
        return aws_profiles.of_profile("default", environ)
    return Found(lender=container(environ) or instance(environ))


def _named(environ: Mapping[str, str]) -> str | None:
    return first(environ, "AWS_PROFILE", "AWS_DEFAULT_PROFILE")


def _role(given: Given) -> AwsRole | None:
    arn = given("aws_role_name")
    if arn is None:
        return None
    session = given("aws_session_name") or SESSION
    return aws_profiles.role(arn, session, "aws_role_name", external_id=given("aws_external_id"))


def _web_identity(given: Given) -> AwsTokenFile:
    role = _role(given)
    if role is None:
        raise Wrong("aws_role_name", "is needed with aws_web_identity_token")
    path = given("aws_web_identity_token") or ""
    if not path.startswith("/"):
        raise Wrong("aws_web_identity_token", "must be the path of a file with the token")
    return AwsTokenFile(role, path)
