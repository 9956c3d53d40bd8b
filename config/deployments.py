"""From `provider/model` and a table of providers to deployments."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tollhouse.config.clouds import CLOUDS, Access
from tollhouse.config.environment import first
from tollhouse.config.identities import GoogleMachine, GoogleUser
from tollhouse.config.secret import Secret
from tollhouse.config.settings import Deployment, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import LiteLLMParams, ModelEntry

ECHO = Deployment(model_name="tollhouse/echo", provider="tollhouse", model="tollhouse/echo", api_base="")
# LiteLLM's second names.
_ALIASES = {
    "bedrock_converse": "bedrock",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
    "vertex_ai_beta": "vertex_ai",
}
# Names in LiteLLM's files that this version does not know how to reach: such a model is left out, with a warning.
_NOT_YET = frozenset(
    """
    ai21 ai21_chat aiml aiohttp_openai aleph_alpha anyscale assemblyai azure_ai azure_text baseten
    cerebras clarifai cloudflare codestral cohere cohere_chat cometapi dashscope databricks datarobot
    deepgram deepinfra elevenlabs empower fal_ai featherless_ai friendliai galadriel github github_copilot gigachat
    gradient_ai heroku huggingface hyperbolic inception infinity jina_ai lambda_ai maritalk meta_llama moonshot morph
    nebius nlp_cloud novita nscale nvidia_nim oci oobabooga ovhcloud palm petals predibase recraft replicate sagemaker
    sagemaker_chat sambanova snowflake text-completion-codestral topaz triton v0 vercel_ai_gateway
    volcengine voyage wandb watsonx watsonx_text xinference zai
    """.split()  # noqa: SIM905 - a paragraph of words reads best
)

UNSENDABLE = "holds characters that no header can carry"
# Of Vertex AI: Google's own, Anthropic's, those that are named with a publisher who speaks OpenAI's dialect.
_ON_VERTEX = (
    "gemini-",
    "gemma-",
    "text-embedding-",
    "text-multilingual-embedding-",
    "models/",
    "tunedModels/",
    "claude-",
    "*",
)
_NOT_ON_VERTEX = ("mistralai/", "ai21/")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch
_OPENAI_NAMES = ("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-")


@cache
def providers() -> dict[str, dict[str, Any]]:
    """The table in providers.yaml."""
    table: dict[str, dict[str, Any]] = yaml.safe_load(
        (files("tollhouse.config") / "providers.yaml").read_text(encoding="utf-8")
    )
    return table


def identity(params: LiteLLMParams) -> tuple[str, str]:
    """The provider, and what it calls the model."""
    provider, _, model = params.model.partition("/")
    provider = _ALIASES.get(provider, provider)
    if not model or (provider not in providers() and provider != "tollhouse" and provider not in _NOT_YET):
        # LiteLLM's shorthand: a bare name is OpenAI's, or belongs to whoever speaks like it at api_base.
        return "openai", params.model
    return provider, model


def from_entries(
    entries: list[ModelEntry], document: Document, environ: Mapping[str, str], timeouts: Timeouts
) -> list[Deployment]:
    """Deployments of a model list; what cannot be one is reported."""
    made = []
    for index, entry in enumerate(entries):
        place: Place = ("model_list", index, "litellm_params")
        deployment = _from_entry(entry, place, document, environ, timeouts)
        if deployment is not None:
            made.append(deployment)
    return made


def _from_entry(
    entry: ModelEntry, place: Place, document: Document, environ: Mapping[str, str], timeouts: Timeouts
) -> Deployment | None:
    params = entry.litellm_params
    provider, model = identity(params)
    if "*" in entry.model_name[:-1]:
        document.report((*place[:-1], "model_name"), "a pattern has its only * at the end")
        return None
    if model == params.model and params.api_base is None and not model.startswith(_OPENAI_NAMES):
        known = ", ".join(sorted(providers()))
        document.report((*place, "model"), f"must be provider/model with one of these providers: {known}")
        return None
    if provider in _NOT_YET:
        message = f"the provider {provider} is not supported by this version: {entry.model_name} is left out"
        document.report((*place, "model"), message, warning=True)
        return None
    if provider == "tollhouse":
        return Deployment(model_name=entry.model_name, provider=provider, model=params.model, api_base="")
    if provider == "vertex_ai" and not _is_on_vertex(model):
        message = (
            "of Vertex AI this version reaches Google's own models, Anthropic's, and those named with a publisher"
            f" (meta/...): {entry.model_name} is left out"
        )
        document.report((*place, "model"), message, warning=True)
        return None
    access = _access(provider, model, params, place, document, environ)
    if access is None or access.base is None:
        return None
    if not _is_sendable(access.api_key):
        document.report((*place, "api_key"), UNSENDABLE)
        return None
    usual = _deployment(entry.model_name, provider, access, _timeouts(params, timeouts))
    return replace(usual, weight=params.weight or 1, rpm=params.rpm, tpm=params.tpm)


def _is_sendable(key: str | None) -> bool:
    return not key or _HEADER_VALUE(key) is not None


def _deployment(name: str, provider: str, access: Access, timeouts: Timeouts) -> Deployment:
    return Deployment(
        model_name=name,
        provider=provider,
        model=access.model,
        api_base=access.base or "",
        api_key=Secret(access.api_key) if access.api_key else None,
        api_version=access.api_version,
        bearer=access.bearer,
        aws=access.aws,
        google=access.google,
        quota_project=access.quota_project,
        timeouts=timeouts,
    )


def _is_on_vertex(model: str) -> bool:
    if model.startswith(_NOT_ON_VERTEX):
        return False
    publisher, _, name = model.partition("/")
    # openai/123 is an endpoint of somebody's own.
    return model.startswith(_ON_VERTEX) or bool(publisher and name and not name.isdigit())


def _access(
    provider: str,
    model: str,
    params: LiteLLMParams,
    place: Place,
    document: Document,
    environ: Mapping[str, str],
) -> Access | None:
    """Where the deployment is and who the gateway is there; None if it was reported as unusable."""
    row = providers()[provider]
    cloud = CLOUDS.get(provider)
    access: Access | None = Access(model, params.api_base)
    if cloud is not None:

        def report(name: str, message: str, *, warning: bool = False) -> None:
            document.report((*place, name), message, warning=warning)

        access = cloud(model, lambda name: getattr(params, name), report, environ)
    if access is None:
        return None
    base = access.base or first(environ, row.get("base_from", "")) or row.get("base")
    where = (*place, "api_base")
    if base is None:
        document.report(where, f"the provider {provider} needs an api_base")
        return None
    key = access.api_key or params.api_key
    if key is None and access.aws is None and access.google is None:
        key = first(environ, *row["keys"])
    return access._replace(base=_completed(provider, base, where, document, access), api_key=key)


def _completed(provider: str, base: str, where: Place, document: Document, access: Access | None = None) -> str | None:
    """The base with what the provider's paths begin with, or None if it was reported as unusable."""
    row = providers()[provider]
    if "://" not in base and provider == "ollama":
        base = f"http://{base}"
    try:
        url = urlsplit(base)
        _ = url.port
    except ValueError:
        document.report(where, "is not a URL")
        return None
    if url.scheme not in {"http", "https"} or not url.hostname:
        document.report(where, "must be an http or https URL with a host")
        return None
    if url.username is not None or url.query or url.fragment:
        document.report(where, "must hold no credentials, query or fragment")
        return None
    base = base.rstrip("/")
    if provider == "azure":
        is_complete = url.path.rstrip("/").endswith("/openai/v1") or (access is not None and _is_classic(access))
        return base if is_complete else f"{base}{row['path']}"
    return f"{base}{row['path']}" if row.get("path") and not url.path.strip("/") else base


def _is_classic(access: Access) -> bool:
    return access.api_version is not None and access.api_version[0].isdigit()


def _timeouts(params: LiteLLMParams, timeouts: Timeouts) -> Timeouts:
    """LiteLLM's `timeout` bounds all of a request, `stream_timeout` the wait for a stream's first event."""
    total = params.timeout or timeouts.total_s
    return Timeouts(
        connect_s=min(timeouts.connect_s, total),
        first_event_s=params.stream_timeout or min(timeouts.first_event_s, total),
        idle_s=min(timeouts.idle_s, total),
        total_s=total,
        keepalive_s=timeouts.keepalive_s,
    )


def from_environment(environ: Mapping[str, str], document: Document, timeouts: Timeouts) -> list[Deployment]:
    """A deployment `provider/*` for each provider whose key, or address if it needs no key, is in the environment."""
    made = []
    for name, row in providers().items():
        access = _ambient(name, row, environ, document)
        if access is None or access.base is None:
            continue
        if not _is_sendable(access.api_key):
            named = next(name for name in row["keys"] if environ.get(name))
            document.report((named,), UNSENDABLE)
            continue
        made.append(_deployment(f"{name}/*", name, access, timeouts))
    return made


def _is_meant(access: Access) -> bool:
    """Roles and machines' accounts are in many an environment for reasons of their own; keys are less so."""
    is_static = access.aws is None or access.aws.is_static
    return is_static and not isinstance(access.google, (GoogleMachine, GoogleUser))


def _ignore(name: str, message: str, *, warning: bool = False) -> None:
    """Nobody has asked for it."""


def _ambient(provider: str, row: dict[str, Any], environ: Mapping[str, str], document: Document) -> Access | None:
    variable = row.get("base_from", "")
    own = first(environ, variable)
    key = first(environ, *row["keys"])
    access = Access("*", own or row.get("base"), key)
    cloud = CLOUDS.get(provider)
    if cloud is not None:
        found = cloud("*", lambda _: None, _ignore, environ)
        # Half of what a cloud needs is in many an environment, for reasons of its own.
        if found is None or not _is_meant(found):
            return None
        access = found._replace(api_key=found.api_key or key)
    has_access = access.api_key or access.aws or access.google or (own and not row["keys"])
    if access.base is None or not has_access:
        return None
    return access._replace(base=_completed(provider, access.base, (variable,), document, access))
