"""Makes upstreams from plain values. Deployments at one origin share its connections and its places."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tollhouse.providers.anthropic import AnthropicUpstream
from tollhouse.providers.azure import AzureUpstream
from tollhouse.providers.bedrock import BedrockUpstream
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.gemini import GeminiUpstream
from tollhouse.providers.identities import Identities
from tollhouse.providers.ollama import OllamaUpstream
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.transport import Origin
from tollhouse.providers.vertex import VertexUpstream

if TYPE_CHECKING:
    from tollhouse.providers.google import GoogleAccess
    from tollhouse.providers.identities import AwsAccess
    from tollhouse.providers.router import Upstream
    from tollhouse.providers.timeouts import Timeouts

_DEFAULT_PORT = {"http": 80, "https": 443}


@cache
def tls_context() -> ssl.SSLContext:
    """System certificates (or SSL_CERT_FILE), names checked, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class UpstreamFactory:
    """One per event loop."""

    def __init__(self, *, max_in_flight: int = 256, queue_wait_s: float = 1.0) -> None:
        self._deadlines = Deadlines()
        self._origins: dict[tuple[str, str, int, tuple[str, ...]], Origin] = {}
        self._max_in_flight = max_in_flight
        self._queue_wait_s = queue_wait_s
        self._identities = Identities(self._origin)

    def make(
        self,
        provider: str,
        *,
        api_base: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        api_version: str | None = None,
        bearer: bool = False,
        aws: AwsAccess | None = None,
        google: GoogleAccess | None = None,
        quota_project: str | None = None,
    ) -> Upstream:
        """An upstream of this provider; "tollhouse" is the built-in model. Raises ValueError for an unusable base.

        bearer: the key is an access token (of Entra, of Google Cloud) where the provider has keys of another kind. aws,
        google: instead of a key. quota_project: of Google's, where it is not that of the credentials.
        """
        if provider == "tollhouse":
            return EchoUpstream(timeouts=timeouts)
        url = urlsplit(api_base)
        if url.scheme not in _DEFAULT_PORT or not url.hostname:
            msg = f"the base URL of {provider} is not an http or https URL"
            raise ValueError(msg)
        origin = self._origin(provider, url.scheme, url.hostname, url.port or _DEFAULT_PORT[url.scheme])
        path = url.path.rstrip("/")
        if provider == "anthropic":
            return AnthropicUpstream(origin=origin, base_path=path, timeouts=timeouts, api_key=api_key)
        if provider == "bedrock":
            signer = self._identities.of_aws(aws) if aws is not None and api_key is None else None
            return BedrockUpstream(origin=origin, base_path=path, timeouts=timeouts, api_key=api_key, identity=signer)
        if provider == "vertex_ai":
            holder = self._identities.of_google(google, quota_project) if google is not None else None
            return VertexUpstream(
                origin=origin,
                base_path=path.removesuffix("/publishers/google"),
                timeouts=timeouts,
                api_key=api_key,
                identity=holder,
            )
        if provider == "gemini" and not path.endswith("/openai"):
            return GeminiUpstream(origin=origin, base_path=path, timeouts=timeouts, api_key=api_key)
        if provider == "ollama" and not path.endswith("/v1"):
            return OllamaUpstream(origin=origin, base_path=path, timeouts=timeouts, api_key=api_key)
        key_header = "api-key" if provider == "azure" and not bearer else "authorization"
        if provider == "azure" and api_version and not path.endswith("/v1"):
            return AzureUpstream(
                origin=origin,
                base_path=path,
                timeouts=timeouts,
                api_key=api_key,
                api_version=api_version,
                key_header=key_header,
            )
        return OpenAIUpstream(
            origin=origin,
            base_path=path,
            timeouts=timeouts,
            api_key=api_key,
            key_header=key_header,
            provider=provider,
            query=f"?api-version={api_version}" if provider == "azure" and api_version else "",
        )

    def origins(self) -> list[Origin]:
        """All that upstreams were made for."""
        return list(self._origins.values())

    def close(self) -> None:
        """Close idle connections."""
        for origin in self._origins.values():
            origin.close()

    def _origin(self, provider: str, scheme: str, host: str, port: int, *, addresses: tuple[str, ...] = ()) -> Origin:
        # What may be dialled for credentials is not to be had by naming the same host as an upstream.
        key = (scheme, host, port, addresses)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(
                name=provider,
                host=host,
                port=port,
                tls=tls_context if scheme == "https" else None,
                deadlines=self._deadlines,
                max_in_flight=self._max_in_flight,
                queue_wait_s=self._queue_wait_s,
                addresses=addresses,
            )
        return origin
