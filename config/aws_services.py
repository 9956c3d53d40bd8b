"""AWS' services that lend keys: where they are, as the environment says it to containers and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tollhouse.config.hosts import is_loopback
from tollhouse.config.identities import AwsContainer, AwsInstance
from tollhouse.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.clouds import Given

_LENDERS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})  # of containers
_METADATA = frozenset({"169.254.169.254", "fd00:ec2::254"})
_NOTHING = (
    "is needed with aws_secret_access_key (or a profile, a role, or a Bedrock API key as api_key):"
    " neither the environment nor AWS' files have any, and the instance's metadata is turned off"
)


class Wrong(Exception):
    """A parameter, and what is wrong with it."""

    def __init__(self, name: str, message: str, *, warning: bool = False) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.warning = warning


def container(environ: Mapping[str, str]) -> AwsContainer | None:
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = f"http://169.254.170.2{relative}" if relative else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        return None
    _check(url, "AWS_CONTAINER_CREDENTIALS_FULL_URI", _LENDERS)
    token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    token_file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") or None
    return AwsContainer(url, Secret(token) if token and token_file is None else None, token_file)


def instance(environ: Mapping[str, str]) -> AwsInstance:
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise Wrong("aws_access_key_id", _NOTHING, warning=True)
    url = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    _check(url, "AWS_EC2_METADATA_SERVICE_ENDPOINT", _METADATA)
    return AwsInstance(url.rstrip("/"))


def sts_url(given: Given, environ: Mapping[str, str], region: str) -> str:
    name = "aws_sts_endpoint" if given("aws_sts_endpoint") else "AWS_ENDPOINT_URL_STS"
    url = given("aws_sts_endpoint") or environ.get("AWS_ENDPOINT_URL_STS")
    if url is None:
        return f"https://sts.{region}.{domain_of(region)}"
    _check(url, name, frozenset())
    return url


def domain_of(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _check(url: str, name: str, hosts: frozenset[str]) -> None:
    """Keys are asked for by TLS, on this machine, or at addresses that AWS keeps for that."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Wrong(name, "is not a URL") from None
    host = parts.hostname or ""
    is_near = parts.scheme == "http" and (host in hosts or is_loopback(host))
    if not host or not (is_near or parts.scheme == "https") or parts.username is not None or parts.fragment:
        raise Wrong(name, "must be an https URL, or one of this machine or of AWS' own services on it")
    if not parts.path.isascii() or not url.isprintable() or " " in url:
        raise Wrong(name, "is not a URL")
