"""The services around the gateway, of the environment and the sections `neighbours` and `auth.jwt`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tollhouse.config import environment
from tollhouse.config.neighbour_schema import BudgetSection, NeighboursSection, ServiceSection
from tollhouse.config.neighbour_settings import JwtSettings, NeighbourSettings, ServiceSettings
from tollhouse.config.problems import Problem
from tollhouse.config.secret import Secret
from tollhouse.config.settings import PolicyTrust
from tollhouse.config.signing import BadKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.document import Document
    from tollhouse.config.neighbour_schema import JwtSection
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import ErisSection, PolicySection

# By name: the beginning of its variables, and what differs from the defaults of ServiceSettings.
_SERVICES: dict[str, tuple[str, dict[str, Any]]] = {
    # Together these are how long a revoked token may go on: 1 s, and 5 s while IAM is away.
    "iam": ("IAM", {"ttl_s": 1.0, "stale_s": 5.0}),
    "policy": ("POLICY", {"timeout_s": 2.0, "ttl_s": 30.0, "stale_s": 3600.0}),
    "data_governance": ("DATA_GOVERNANCE", {"ttl_s": 60.0, "stale_s": 600.0}),
    "budget": ("BUDGET", {}),
    "eris": ("ERIS", {"timeout_s": 5.0, "is_closed": False}),
    "alerting": ("ALERTING", {"timeout_s": 2.0, "is_closed": False}),
}
# The only thing that makes sense for them; why stands in the message.
_FIXED = {
    "iam": (True, "must be closed: a token that nobody has vouched for opens nothing"),
    "alerting": (False, "must be open: no request waits for an alert"),
}
_TIMES = ("timeout_s", "ttl_s", "negative_ttl_s", "stale_s", "failures", "cooldown_s", "health_interval_s")
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
_CLAIMS = {"user": "sub", "team": "team", "tenant": "tenant", "models": "models"}


def resolve(
    section: NeighboursSection | None,
    environ: Mapping[str, str],
    source: Document,
    *,
    has_issuer: bool,
    eris: ErisSection | None = None,
) -> NeighbourSettings:
    """What is configured, and with USE_REAL_SERVICES=true all of them. Errors are reported to `source`.

    has_issuer: an OpenID provider says who callers are, so that IAM may be missing. eris: that of `receipts`.
    """
    if eris is not None:
        if section is not None and section.eris is not None:
            source.report(("receipts", "eris"), "is the same setting as neighbours.eris: say it once")
        given = ServiceSection(url=eris.url, token=eris.token, timeout_s=eris.timeout_s)
        section = (section or NeighboursSection()).model_copy(update={"eris": given})
    environ = _with_eris(environ)
    is_required = _is_true(environ, source)
    made = [
        _service(
            name,
            getattr(section, name, None),
            environ,
            source,
            is_required=is_required and not (name == "iam" and has_issuer),
        )
        for name in _SERVICES
    ]
    services = tuple(service for service in made if service is not None)
    return NeighbourSettings(
        services=services,
        spending=_spending(services, section.budget if section is not None else None),
        is_required=is_required,
        default_tenant=section.default_tenant if section is not None else "default",
    )


def _spending(services: tuple[ServiceSettings, ...], section: BudgetSection | None) -> ServiceSettings | None:
    """Of its own name, and so of its own breaker: reports that fail must not keep anybody from asking."""
    section = section or BudgetSection()
    budget = next((service for service in services if service.name == "budget"), None)
    if budget is None or budget.url is None or not section.report:
        return None
    return replace(budget, name="spending", timeout_s=section.report_timeout_s)


def _with_eris(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The gateway's own prefix comes first."""
    names = ("ERIS_SERVICE_URL", "ERIS_SERVICE_TOKEN")
    return {**environ, **{name: own for name in names if (own := environ.get(f"{environment.PREFIX}{name}"))}}


def policy_trust(
    section: PolicySection | None, services: NeighbourSettings, environ: Mapping[str, str], source: Document
) -> PolicyTrust:
    """Whose documents of the policy service count. Errors are reported to `source`."""
    service = services.find("policy")
    if service is None:
        return PolicyTrust()
    text = environ.get("POLICY_SERVICE_KEYS", "")
    keys = tuple(text.replace(",", " ").split()) or tuple((section.keys if section is not None else None) or ())
    for i, key in enumerate(keys):
        try:
            PublicKey(key)
        except BadKey as error:
            _report(source, "POLICY_SERVICE_KEYS", ("policy", "keys", i), str(error), environ)
    needs_signature = section is None or section.require_signature
    if needs_signature and not keys and service.url is not None:
        said = "are missing: no document of the policy service takes effect (or POLICY_SERVICE_KEYS)"
        source.report(("policy", "keys"), said, warning=True)
    return PolicyTrust(keys, needs_signature, section is not None and section.allow_older)


def _is_true(environ: Mapping[str, str], source: Document) -> bool:
    text = environ.get("USE_REAL_SERVICES", "").strip().lower()
    if text not in {"", "true", "false", "1", "0"}:
        source.problems.append(Problem("USE_REAL_SERVICES", "must be true or false"))
    return text in {"true", "1"}


def _service(
    name: str, section: Any, environ: Mapping[str, str], source: Document, *, is_required: bool
) -> ServiceSettings | None:
    prefix, defaults = _SERVICES[name]
    variable = f"{prefix}_SERVICE_URL"
    place: Place = ("neighbours", name)
    in_file = section.url if section is not None else None
    url = environ.get(variable) or in_file
    if url is None and not is_required:
        if section is not None:
            source.report(place, f"has no effect: neither {variable} nor url says where it is", warning=True)
        return None
    values = dict(defaults)
    if section is not None:
        values |= {time: found for time in _TIMES if (found := getattr(section, time)) is not None}
    mode = _mode(name, prefix, section.fail if section is not None else None, environ, source)
    if mode is not None:
        values["is_closed"] = mode == "closed"
    seconds = environ.get(f"{prefix}_SERVICE_TIMEOUT_S")
    if seconds:
        values["timeout_s"] = _seconds(seconds, f"{prefix}_SERVICE_TIMEOUT_S", source)
    if url is not None and (wrong := unusable(url)):
        _report(source, variable, (*place, "url"), wrong, environ)
    token = environ.get(f"{prefix}_SERVICE_TOKEN") or (section.token if section is not None else None)
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        _report(
            source,
            f"{prefix}_SERVICE_TOKEN",
            (*place, "token"),
            "holds characters that no header can carry",
            environ,
        )
    return ServiceSettings(name=name, variable=variable, url=url, token=Secret(token) if token else None, **values)


def _mode(name: str, prefix: str, in_file: str | None, environ: Mapping[str, str], source: Document) -> str | None:
    """Closed or open, if anybody says so."""
    variable = f"{prefix}_SERVICE_FAIL"
    mode = environ.get(variable, "").lower() or in_file
    if mode is None:
        return None
    wrong = None if mode in {"closed", "open"} else "must be closed or open"
    if wrong is None and name in _FIXED and _FIXED[name][0] != (mode == "closed"):
        wrong = _FIXED[name][1]
    if wrong is not None:
        _report(source, variable, ("neighbours", name, "fail"), wrong, environ)
    return mode


def _report(source: Document, variable: str, place: Place, said: str, environ: Mapping[str, str]) -> None:
    """Where it was said: the environment wins over the file."""
    if environ.get(variable):
        source.problems.append(Problem(variable, said))
    else:
        source.report(place, said)


def _seconds(text: str, variable: str, source: Document) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value <= 86400:
        return value
    source.problems.append(Problem(variable, "must be a number of seconds"))
    return 1.0


def unusable(url: str) -> str | None:
    """Why a URL cannot be that of a service, without quoting it: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return "must be an http or https URL"
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "holds characters that no URL has"
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials: give them as the token of the service"
    if parts.query or parts.fragment:
        return "must have neither query nor fragment"
    try:
        if ip_address(parts.hostname.partition("%")[0]).is_link_local:
            return "is a link-local address, which is never dialled"
    except ValueError:
        pass
    return None


def jwt(section: JwtSection | None, source: Document) -> JwtSettings | None:
    """How tokens of an OpenID provider are checked. Errors are reported to `source`."""
    if section is None:
        return None
    place: Place = ("auth", "jwt")
    if importlib.util.find_spec("jwt") is None or importlib.util.find_spec("cryptography") is None:
        source.report(place, "needs PyJWT and cryptography: install tollhouse[jwt]")
    for name, url in (("issuer", section.issuer), ("jwks_url", section.jwks_url)):
        if url is None or (name == "issuer" and section.jwks_url is not None):
            continue  # an issuer that is not asked may be any string
        if wrong := unusable(url):
            source.report((*place, name), wrong)
        elif urlsplit(url).scheme == "http" and not _is_local(urlsplit(url).hostname or ""):
            source.report((*place, name), "must be https: who can change what it answers can sign for anybody")
    algorithms = tuple(section.algorithms or ("RS256", "ES256", "EdDSA"))
    for wrong in sorted(set(algorithms) - ALGORITHMS):
        source.report((*place, "algorithms"), f"{wrong} is none of {', '.join(sorted(ALGORITHMS))}")
    given = {} if section.claims is None else section.claims.model_dump(include=set(_CLAIMS), exclude_none=True)
    return JwtSettings(
        issuer=section.issuer,
        audience=tuple(section.audience),
        jwks_url=section.jwks_url,
        algorithms=algorithms,
        leeway_s=section.leeway_s,
        timeout_s=section.timeout_s,
        refresh_s=section.refresh_s,
        min_refresh_s=section.min_refresh_s,
        stale_s=section.stale_s,
        claims=_CLAIMS | given,
    )


def _is_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".svc", ".local", ".internal")) or "." not in host
    return address.is_loopback or address.is_private
