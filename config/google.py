"""Where Google Cloud's access tokens come from: the order of Application Default Credentials.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse.config.environment import first
from tollhouse.config.identities import GoogleAccess, GoogleAccount, GoogleMachine, GoogleUser, GoogleWorkload
from tollhouse.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.clouds import Given, Report

# Claims and tokens go to Google, or in tests to this machine.
_GOOGLE_URL = re.compile(
    r"https://[a-z0-9.-]+\.googleapis\.com/[\w/.:@-]*|http://127\.0\.0\.1:\d+/[\w/.:@-]*"
).fullmatch
_METADATA = re.compile(r"metadata\.google\.internal|169\.254\.169\.254|127\.0\.0\.1:\d+|localhost:\d+").fullmatch
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,62}").fullmatch
_TOKENS = "https://oauth2.googleapis.com/token"
_WHERE = "vertex_credentials"
_NEEDED = "is needed: a file with credentials (or GOOGLE_APPLICATION_CREDENTIALS), or a token as api_key"


class Found(NamedTuple):
    access: GoogleAccess
    project: str | None = None
    quota_project: str | None = None


class _Wrong(Exception):
    """What is wrong with the credentials; shows nothing of them."""


def access(given: Given, report: Report, environ: Mapping[str, str]) -> Found | None:
    """Who asks for tokens; None if `report` was told why nobody can."""
    credentials = given(_WHERE) or first(environ, "GOOGLE_APPLICATION_CREDENTIALS") or _left_by_gcloud(environ)
    try:
        return _machine(environ, report) if credentials is None else _of_file(credentials)
    except _Wrong as error:
        report(_WHERE, str(error))
        return None


def _left_by_gcloud(environ: Mapping[str, str]) -> str | None:
    home = environ.get("HOME")
    folder = environ.get("CLOUDSDK_CONFIG") or (f"{home}/.config/gcloud" if home else None)
    if folder is None:
        return None
    path = Path(folder) / "application_default_credentials.json"
    return str(path) if path.is_file() else None


def _machine(environ: Mapping[str, str], report: Report) -> Found | None:
    if environ.get("NO_GCE_CHECK", "").lower() == "true":
        report(_WHERE, _NEEDED, warning=True)
        return None
    host = first(environ, "GCE_METADATA_HOST", "GCE_METADATA_ROOT") or "metadata.google.internal"
    if _METADATA(host) is None:
        message = "must be metadata.google.internal or a port of this machine"
        report("GCE_METADATA_HOST", message)
        return None
    return Found(GoogleMachine(f"http://{host}"))


def _of_file(credentials: str) -> Found:
    """By a file, or by its content."""
    try:
        text = credentials if credentials.lstrip().startswith("{") else Path(credentials).read_text(encoding="utf-8")
        fields = json.loads(text)
    except (OSError, ValueError):
        fields = None
    if not isinstance(fields, dict):
        msg = "must be a JSON file of Google credentials, or its content"
        raise _Wrong(msg)
    kind = fields.get("type")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        known = ", ".join(sorted(_KINDS))
        msg = f"must be of one of these types, and others are not supported by this version: {known}"
        raise _Wrong(msg)
    return Found(make(fields), _project(fields, "project_id"), _project(fields, "quota_project_id"))


def _project(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and _PROJECT(value) else None


def _account(fields: dict[str, Any]) -> GoogleAccount:
    if find_spec("cryptography") is None:
        msg = "needs the package cryptography: pip install 'tollhouse[vertex]'"
        raise _Wrong(msg)
    email, key = fields.get("client_email"), fields.get("private_key")
    uri = str(fields.get("token_uri") or _TOKENS)
    if not (isinstance(email, str) and isinstance(key, str) and _GOOGLE_URL(uri)):
        msg = "must have client_email, private_key and a token_uri"
        raise _Wrong(msg)
    key_id = fields.get("private_key_id")
    return GoogleAccount(email, Secret(key), uri, key_id if isinstance(key_id, str) else "")


def _user(fields: dict[str, Any]) -> GoogleUser:
    values = [fields.get(name) for name in ("client_id", "client_secret", "refresh_token")]
    uri = str(fields.get("token_uri") or _TOKENS)
    if not all(isinstance(value, str) and value for value in values) or not _GOOGLE_URL(uri):
        msg = "must have client_id, client_secret and refresh_token"
        raise _Wrong(msg)
    client, secret, refresh = map(str, values)
    return GoogleUser(client, Secret(secret), Secret(refresh), uri)


def _workload(fields: dict[str, Any]) -> GoogleWorkload:
    source = fields.get("credential_source")
    path = source.get("file") if isinstance(source, dict) else None
    if not isinstance(source, dict) or not isinstance(path, str):
        msg = "must have a credential_source with a file; url, aws and executable are not supported by this version"
        raise _Wrong(msg)
    form = source.get("format")
    member = form.get("subject_token_field_name") if isinstance(form, dict) and form.get("type") == "json" else None
    audience, token_type = fields.get("audience"), fields.get("subject_token_type")
    uri, acted = str(fields.get("token_url")), fields.get("service_account_impersonation_url")
    is_complete = isinstance(audience, str) and isinstance(token_type, str) and _GOOGLE_URL(uri)
    if not is_complete or (acted is not None and not _GOOGLE_URL(str(acted))):
        msg = "must have audience, subject_token_type, token_url and, if any, a service_account_impersonation_url"
        raise _Wrong(msg)
    return GoogleWorkload(
        audience=str(audience),
        token_type=str(token_type),
        token_file=path,
        token_uri=uri,
        member=member if isinstance(member, str) else None,
        impersonation_url=None if acted is None else str(acted),
    )


_KINDS: dict[str, Callable[[dict[str, Any]], GoogleAccess]] = {
    "service_account": _account,
    "authorized_user": _user,
    "external_account": _workload,
}
