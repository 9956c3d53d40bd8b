"""Configuration from a YAML file and the environment. Everything that is wrong is found at once.

Precedence: command line, environment, file, default.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from tollhouse.config import (
    allowances,
    deployments,
    document,
    environment,
    neighbours,
    pricing,
    reloading,
    routing,
    shares,
    telemetry,
)
from tollhouse.config.defects import has, placed, said
from tollhouse.config.document import Document
from tollhouse.config.problems import ConfigError, Place, Problem
from tollhouse.config.schema import (
    File,
    KeyEntry,
    LiteLLMParams,
    ReceiptsSection,
    UpstreamSection,
)
from tollhouse.config.secret import Secret
from tollhouse.config.settings import (
    BodyLimits,
    ConfiguredKey,
    PolicySettings,
    ReceiptSettings,
    RedisSettings,
    ScanSettings,
    Settings,
    Timeouts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.files import Files
    from tollhouse.config.neighbour_settings import NeighbourSettings

__all__ = ["ConfigError", "Problem", "check", "load", "load_mapping"]

_OPTIONAL = frozenset({"api_key"})  # a model without its key fails alone, it need not stop the others


def load(
    path: str | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, object] | None = None,
    files: Files | None = None,
) -> Settings:
    """Settings of the file at `path` (None: LLM_GATEWAY_CONFIG, or none). Raises ConfigError with every error.

    files: remembers what was read, or has what is to be read instead.
    """
    path = path or environ.get(f"{environment.PREFIX}CONFIG") or None
    source = document.read(path, files) if path else Document({}, files=files)
    return _usable(*_resolve(source, environ, path, overrides or {}))


def state_dir(path: str | None, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the state of the gateway with this file is, and the file, even if that cannot be used."""
    path = path or environ.get(f"{environment.PREFIX}CONFIG") or None
    settings, _ = _resolve(document.read(path) if path else Document({}), environ, path, {})
    return settings.state_dir, path


def load_mapping(data: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Settings of what a file would hold. Raises ConfigError."""
    return _usable(*_resolve(Document(dict(data)), environ, None, {}))


def check(path: str, environ: Mapping[str, str]) -> list[Problem]:
    """Everything that is wrong with a file, errors and warnings, in the order of its lines."""
    _, problems = _resolve(document.read(path), environ, path, {})
    return sorted(problems, key=lambda problem: (problem.file, problem.line))


def _usable(settings: Settings, problems: list[Problem]) -> Settings:
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return replace(settings, warnings=tuple(f"{p.path}: {p.message}" for p in problems))


def _resolve(
    source: Document, environ: Mapping[str, str], path: str | None, overrides: Mapping[str, object]
) -> tuple[Settings, list[Problem]]:
    variables = source.data.get("environment_variables")
    if isinstance(variables, dict):
        environ = {**environ, **{str(k): str(v) for k, v in variables.items() if v is not None}}
    source.fill_in(environ, _OPTIONAL)
    file = _validated(source)
    _warn_of_unknown(file, (), source)
    values: dict[str, Any] = {"state_dir": environment.default_state_dir(environ), "source": path}
    values |= _server(file)
    values |= environment.overlay(environ, source.problems)
    values |= overrides
    shared = environment.first(environ, f"{environment.PREFIX}REDIS_URL", "REDIS_URL")
    # The environment is asked only where the file says nothing: `store: embedded` means it.
    if shared and file.store is None:
        values["store"] = shared
    timeouts = _timeouts(file)
    scan = _scan(file, source, path)
    served = _deployments(file, source, environ, timeouts, values.get("default_provider"), path)
    entries = _key_entries(file, source)
    jwt = file.auth.jwt if file.auth else None
    services = neighbours.resolve(
        file.neighbours,
        environ,
        source,
        has_issuer=jwt is not None,
        eris=file.receipts.eris if file.receipts is not None else None,
    )
    receipts = _receipts(file, services, source)
    values |= {
        "timeouts": timeouts,
        "deployments": served,
        "routing": routing.resolve(file, served, source),
        "health_checks": routing.health_checks(file.health_checks),
        "keys": _keys(entries, source),
        "allowances": allowances.resolve(file, entries, source),
        "key_default": allowances.key_default(file, environ, source),
        "scan": scan,
        "receipts": receipts,
        "policy": _policy(file, source, path, scan, receipts, has_service=services.find("policy") is not None),
        "policy_trust": neighbours.policy_trust(file.policy, services, environ, source),
        "neighbours": services,
        "jwt": neighbours.jwt(jwt, source),
        "telemetry": telemetry.resolve(file.telemetry, source),
        "reload": reloading.resolve(file.reload, source, path),
        "prices": pricing.overrides(file.model_list or [], file.prices, source),
    }
    general = file.general_settings
    master = environment.first(environ, f"{environment.PREFIX}MASTER_KEY", "LITELLM_MASTER_KEY")
    admin = environment.first(environ, f"{environment.PREFIX}ADMIN_KEY")
    values["master_key"] = _secret(master or (general.master_key if general else None))
    values["admin_key"] = _secret(admin or (general.admin_key if general else None))
    values["fingerprint"] = source.files.fingerprint
    return Settings(**values), source.problems


def _validated(source: Document) -> File:
    """The file as a model; parts that are wrong are reported and left out, so that the rest is checked as well."""
    data = source.data
    told: set[Place] = set()
    for _ in range(100):
        try:
            return File.model_validate(data)
        except ValidationError as error:
            places = [(placed(data, defect["loc"]), said(defect)) for defect in error.errors()]
            for place, message in places:
                # What was wrong and is left out is not missing as well.
                if place not in told:
                    source.report(place, message)
            told.update(place for place, _ in places)
            # Each once, and from the end, so that no index moves before its turn.
            for place in sorted({_removable(data, place) for place, _ in places} - {()}, reverse=True):
                data = _without(data, place)
                if isinstance(place[-1], int):
                    source.drop(place)
    return File()


def _removable(data: Any, place: Place) -> Place:
    """The value at `place`, or the nearest thing around it that can be missing: a member, or an item of a list."""
    for depth, step in enumerate(place):
        if not has(data, step):
            return place[:depth]
        data = data[step]
        if isinstance(step, int):
            return place[: depth + 1]
    return place


def _without(data: Any, place: Place) -> Any:
    """A copy that lacks the value at `place`."""
    step, *rest = place
    if isinstance(data, list):
        return [item for i, item in enumerate(data) if i != step]
    if not rest:
        return {key: value for key, value in data.items() if key != step}
    return data | {step: _without(data[step], tuple(rest))}


def _warn_of_unknown(part: BaseModel, place: Place, source: Document) -> None:
    for name in part.model_extra or {}:
        if isinstance(part, LiteLLMParams) and pricing.is_price(name):
            continue
        source.report((*place, name), "is not known and has no effect", warning=True)
    for name in type(part).model_fields:
        value = getattr(part, name)
        for step, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(item, BaseModel):
                _warn_of_unknown(item, (*place, name) if step is None else (*place, name, step), source)


def _server(file: File) -> dict[str, Any]:
    """Fields that the file sets and that have the same name in Settings."""
    names = (
        "host",
        "port",
        "workers",
        "server",
        "state_dir",
        "drain_s",
        "linger_s",
        "hold_margin_s",
        "max_connections",
        "max_lag_s",
        "default_model",
        "default_provider",
    )
    found: dict[str, Any] = {name: getattr(file, name) for name in names if getattr(file, name) is not None}
    if file.cors_origins is not None:
        found["cors_origins"] = tuple(file.cors_origins)
    if file.store is not None:
        found["store"] = file.store
    if file.redis is not None:
        found["redis"] = RedisSettings(**file.redis.model_dump(include=set(type(file.redis).model_fields)))
    if file.logging is not None:
        if file.logging.level is not None:
            found["log_level"] = file.logging.level
        if file.logging.format is not None:
            found["log_format"] = file.logging.format
        metrics = file.logging.prometheus
        if metrics is not None and metrics.enabled and metrics.port is not None:
            found["metrics_address"] = metrics.host, metrics.port
    if file.body is not None:
        found["body"] = BodyLimits(**file.body.model_dump(include=set(type(file.body).model_fields)))
    if file.upstream is not None:
        found["max_in_flight"] = file.upstream.max_in_flight
        found["queue_wait_s"] = file.upstream.queue_wait_s
    return found


def _timeouts(file: File) -> Timeouts:
    """Of `upstream`; what that does not say, LiteLLM's sections do."""
    given = file.upstream or UpstreamSection()
    router, litellm = file.router_settings, file.litellm_settings
    total = (router.timeout if router else None) or (litellm.request_timeout if litellm else None)
    first_event = router.stream_timeout if router else None
    said = given.model_fields_set
    total_s = given.total_s if total is None or "total_s" in said else total
    return Timeouts(
        connect_s=min(given.connect_s, total_s),
        first_event_s=min(total_s, first_event if first_event and "first_event_s" not in said else given.first_event_s),
        idle_s=min(given.idle_s, total_s),
        total_s=total_s,
        keepalive_s=given.keepalive_s,
    )


def _deployments(
    file: File,
    source: Document,
    environ: Mapping[str, str],
    timeouts: Timeouts,
    default_provider: str | None,
    path: str | None,
) -> tuple[Any, ...]:
    entries = file.model_list or []
    listed = shares.weighed(deployments.from_entries(entries, source, environ, timeouts), entries)
    ambient = deployments.from_environment(environ, source, timeouts)
    names = {deployment.model_name for deployment in listed}
    made = [*listed, *(deployment for deployment in ambient if deployment.model_name not in names)]
    if default_provider is None and path is None and ambient:
        default_provider = ambient[0].provider
    if default_provider is not None and "*" not in names:
        fallback = next((d for d in ambient if d.provider == default_provider), None)
        if fallback is not None:
            made.append(replace(fallback, model_name="*"))
        elif default_provider != "tollhouse":
            message = f"no key for the provider {default_provider} is in the environment"
            source.report(("default_provider",), message, warning=True)
    if deployments.ECHO.model_name not in names:
        made.append(replace(deployments.ECHO, timeouts=timeouts))
    return tuple(made)


def _key_entries(file: File, source: Document) -> list[tuple[Place, KeyEntry]]:
    return [*((("keys", i), entry) for i, entry in enumerate(file.keys or [])), *_tokens(file, source)]


def _keys(entries: list[tuple[Place, KeyEntry]], source: Document) -> tuple[ConfiguredKey, ...]:
    made: dict[bytes, ConfiguredKey] = {}
    names: set[str] = set()
    for place, entry in entries:
        if (entry.key is None) == (entry.key_hash is None):
            source.report(place, "needs either key or key_hash")
            continue
        if entry.key is not None:
            digest = sha256(entry.key.encode()).digest()
        else:
            digest = bytes.fromhex((entry.key_hash or "").removeprefix("sha256:"))
        if entry.name in names:
            source.report((*place, "name"), f"the name {entry.name} is used twice")
        elif digest in made:
            source.report(place, f"is the same key as {made[digest].name}")
        names.add(entry.name)
        models = None if entry.models is None else tuple(entry.models)
        made[digest] = ConfiguredKey(name=entry.name, digest=digest, team=entry.team, user=entry.user, models=models)
    return tuple(made.values())


def _tokens(file: File, source: Document) -> list[tuple[Place, KeyEntry]]:
    """`auth.tokens` of the deployment checklist's template: strings, or mappings with `token` and more."""
    found: list[tuple[Place, KeyEntry]] = []
    for i, token in enumerate((file.auth.tokens if file.auth else None) or []):
        place: Place = ("auth", "tokens", i)
        if isinstance(token, str):
            found.append((place, KeyEntry(name=f"token-{i + 1}", key=token)))
            continue
        known = {"name": f"token-{i + 1}"} | {("key" if k in {"token", "value"} else k): v for k, v in token.items()}
        try:
            found.append((place, KeyEntry.model_validate(known)))
        except ValidationError as error:
            for defect in error.errors():
                source.report((*place, *defect["loc"]), said(defect))
    return found


def _scan(file: File, source: Document, path: str | None) -> ScanSettings | None:
    if file.scan is None:
        return None
    from tollhouse.config import scanning  # noqa: PLC0415 - compiles rules

    return scanning.resolve(file.scan, source, path)


def _receipts(file: File, services: NeighbourSettings, source: Document) -> ReceiptSettings | None:
    """On where the section is there, or a service for them is configured."""
    service = services.find("eris")
    is_delivered = service is not None and service.url is not None
    if file.receipts is None and not is_delivered:
        return None
    section = file.receipts or ReceiptsSection()
    if section.keep_bytes is not None and not is_delivered:
        source.report(("receipts", "keep_bytes"), "has no effect without a service that gets receipts", warning=True)
    names = ("on_failure", "buffer_bytes", "max_lag_s", "head_s", "head_file", "keep_bytes")
    return ReceiptSettings(**{name: getattr(section, name) for name in names})


def _policy(
    file: File,
    source: Document,
    path: str | None,
    scan: ScanSettings | None,
    receipts: ReceiptSettings | None,
    *,
    has_service: bool,
) -> PolicySettings | None:
    if file.policy is None:
        return None
    from tollhouse.config import policy  # noqa: PLC0415 - checks signatures

    return policy.resolve(
        file.policy,
        source,
        path,
        rules=scan.rules if scan is not None else (),
        has_receipts=receipts is not None,
        has_service=has_service,
    )


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None
