"""What an AWS profile comes to: keys, or who lends them, and roles on top of those."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tollhouse.config import aws_files
from tollhouse.config.aws_services import Wrong, container, instance
from tollhouse.config.environment import first
from tollhouse.config.identities import AwsContainer, AwsInstance, AwsRole, AwsTokenFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.aws_files import Profile

KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
SESSION = "tollhouse"
_WHERE = "aws_profile_name"
_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}").fullmatch
_SESSION = re.compile(r"[\w+=,.@-]{2,64}").fullmatch
_UNKNOWN = ("credential_process", "sso_session", "sso_start_url", "login_session", "mfa_serial")
_DEEPEST = 5  # profiles that lead to one another

Keys = tuple[str, str, str | None]


class Found(NamedTuple):
    """Keys, or who lends them; and the roles to assume with those."""

    keys: Keys | None = None
    lender: AwsTokenFile | AwsContainer | AwsInstance | None = None
    roles: tuple[AwsRole, ...] = ()


def known(environ: Mapping[str, str]) -> dict[str, Profile]:
    """All profiles. Raises Wrong for a file that is none."""
    try:
        return aws_files.profiles(environ)
    except ValueError as error:
        raise Wrong(_WHERE, str(error)) from None


def is_complete(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a profile says who signs; many have a region only."""
    profile = known(environ).get(name, {})
    return any(member in profile for member in (KEYS[0], "role_arn", *_UNKNOWN))


def of_profile(name: str, environ: Mapping[str, str], depth: int = 0) -> Found:
    """Raises Wrong, which names the profile."""
    profile = known(environ).get(name)
    if profile is None:
        raise _wrong(name, "which AWS' files do not have")
    for member in _UNKNOWN:
        if member in profile:
            raise _wrong(name, f"whose {member} is not supported by this version")
    if depth >= _DEEPEST:
        raise _wrong(name, "to which source_profile leads in a circle, or by too many steps")
    keys = keys_of(profile)
    # A role's source that has keys is asked for nothing else.
    if "role_arn" not in profile or (depth and keys is not None):
        if keys is None:
            raise _wrong(name, "which has neither keys nor a role_arn")
        return Found(keys)
    made = role(
        profile["role_arn"],
        profile.get("role_session_name") or SESSION,
        _WHERE,
        external_id=profile.get("external_id"),
    )
    seconds = profile.get("duration_seconds", "")
    if seconds.isdigit():
        made = replace(made, seconds=int(seconds))
    if "web_identity_token_file" in profile:
        return Found(lender=AwsTokenFile(made, profile["web_identity_token_file"]))
    found = _source(name, profile, environ, depth)
    return found._replace(roles=(*found.roles, made))


def _source(name: str, profile: Profile, environ: Mapping[str, str], depth: int) -> Found:
    """Who assumes the role of a profile."""
    source = profile.get("source_profile")
    if source is not None:
        return of_profile(source, environ, depth + 1)
    kind = profile.get("credential_source")
    if kind == "Ec2InstanceMetadata":
        return Found(lender=instance(environ))
    keys = keys_of_environment(environ) if kind == "Environment" else None
    lender = container(environ) if kind == "EcsContainer" else None
    if keys is None and lender is None:
        raise _wrong(name, "whose role has no source_profile or credential_source that could be used")
    return Found(keys, lender)


def keys_of(profile: Profile) -> Keys | None:
    key_id, secret, token = (profile.get(name) or None for name in KEYS)
    return (key_id, secret, token) if key_id and secret else None


def keys_of_environment(environ: Mapping[str, str]) -> Keys | None:
    key_id, secret, token = (first(environ, name.upper()) for name in KEYS)
    return (key_id, secret, token) if key_id and secret else None


def role(arn: str, session: str, where: str, *, external_id: str | None = None) -> AwsRole:
    """Raises Wrong for what is no role."""
    if _ARN(arn) is None:
        raise Wrong(where, "must be a role like arn:aws:iam::123456789012:role/name")
    if _SESSION(session) is None:
        raise Wrong("aws_session_name", "must have 2 to 64 letters, digits or any of _+=,.@-")
    return AwsRole(arn, session, external_id)


def _wrong(name: str, what: str) -> Wrong:
    return Wrong(_WHERE, f"names the profile {name}, {what}")
