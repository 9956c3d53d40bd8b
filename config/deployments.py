"""From `provider/model` and a table of providers to deployments."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tollhouse.config.environment import first
from tollhouse.config.secret import Secret
from tollhouse.config.settings import Deployment, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import LiteLLMParams, ModelEntry

ECHO = Deployment(model_name="tollhouse/echo", provider="tollhouse", model="tollhouse/echo", api_base="")
_ALIASES = {"ollama_chat": "ollama", "text-completion-openai": "openai"}  # LiteLLM's second names
# Names in LiteLLM's files that this version does not know how to reach: such a model is left out, with a warning.
_NOT_YET = frozenset(
    """
    ai21 ai21_chat aiml aiohttp_openai aleph_alpha anyscale assemblyai azure_ai azure_text baseten bedrock
    bedrock_converse cerebras clarifai cloudflare codestral cohere cohere_chat cometapi dashscope databricks datarobot
    deepgram deepinfra elevenlabs empower fal_ai featherless_ai friendliai galadriel github github_copilot gigachat
    gradient_ai heroku huggingface hyperbolic inception infinity jina_ai lambda_ai maritalk meta_llama moonshot morph
    nebius nlp_cloud novita nscale nvidia_nim oci oobabooga ovhcloud palm petals predibase recraft replicate sagemaker
    sagemaker_chat sambanova snowflake text-completion-codestral topaz triton v0 vercel_ai_gateway vertex_ai
    vertex_ai_beta volcengine voyage wandb watsonx watsonx_text xinference zai
    """.split()  # noqa: SIM905 - a paragraph of words reads best
)

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
    base = _base(provider, params, place, document, environ)
    if base is None:
        return None
    key = params.api_key or first(environ, *providers()[provider]["keys"])
    if key and _HEADER_VALUE(key) is None:
        document.report((*place, "api_key"), "holds characters that no header can carry")
        return None
    return Deployment(
        model_name=entry.model_name,
        provider=provider,
        model=model,
        api_base=base,
        api_key=Secret(key) if key else None,
        # Azure's v1 surface knows no dated versions; those of LiteLLM's files belong to the classic one.
        api_version=params.api_version if params.api_version in {"preview", "latest", "v1"} else None,
        weight=params.weight or 1,
        rpm=params.rpm,
        tpm=params.tpm,
        timeouts=_timeouts(params, timeouts),
    )


def _base(
    provider: str, params: LiteLLMParams, place: Place, document: Document, environ: Mapping[str, str]
) -> str | None:
    row = providers()[provider]
    base = params.api_base or first(environ, row.get("base_from", "")) or row.get("base")
    where = (*place, "api_base")
    if base is None:
        document.report(where, f"the provider {provider} needs an api_base")
        return None
    return _completed(provider, base, where, document)


def _completed(provider: str, base: str, where: Place, document: Document) -> str | None:
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
    if provider == "azure" and not url.path.rstrip("/").endswith("/openai/v1"):
        return f"{base}{row['path']}"
    return f"{base}{row['path']}" if row.get("path") and not url.path.strip("/") else base


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
        key = first(environ, *row["keys"])
        variable = row.get("base_from", "")
        own = first(environ, variable)
        base = own or row.get("base")
        if base and (key or (own and not row["keys"])):
            base = _completed(name, base, (variable,), document)
        else:
            continue
        if key and _HEADER_VALUE(key) is None:
            named = next(name for name in row["keys"] if environ.get(name))
            document.report((named,), "holds characters that no header can carry")
        elif base is not None:
            made.append(
                Deployment(
                    model_name=f"{name}/*",
                    provider=name,
                    model="*",
                    api_base=base,
                    api_key=Secret(key) if key else None,
                    timeouts=timeouts,
                )
            )
    return made
