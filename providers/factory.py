"""Makes upstreams from plain values. Deployments at one origin share its connections and its places."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tollhouse.providers.anthropic import AnthropicUpstream
from tollhouse.providers.azure import AzureUpstream
from tollhouse.providers.bedrock import AwsKeys, BedrockUpstream
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.gemini import GeminiUpstream
from tollhouse.providers.google import AccessTokens, ServiceAccount
from tollhouse.providers.ollama import OllamaUpstream
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.transport import Origin

if TYPE_CHECKING:
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
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._accounts: dict[ServiceAccount, AccessTokens] = {}
        self._max_in_flight = max_in_flight
        self._queue_wait_s = queue_wait_s

    def make(
        self,
        provider: str,
        *,
        api_base: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        api_version: str | None = None,
        bearer: bool = False,
        aws: AwsKeys | None = None,
        google: ServiceAccount | None = None,
    ) -> Upstream:
        """An upstream of this provider; "tollhouse" is the built-in model. Raises ValueError for an unusable base.

        bearer: the key is an access token (of Entra, of Google Cloud) where the provider has keys of another kind.
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
            return BedrockUpstream(origin=origin, base_path=path, timeouts=timeouts, api_key=api_key, keys=aws)
        if provider == "vertex_ai" or (provider == "gemini" and not path.endswith("/openai")):
            token = bearer or provider == "vertex_ai"
            tokens = self._tokens(google, timeouts) if google is not None else None
            return GeminiUpstream(
                origin=origin, base_path=path, timeouts=timeouts, api_key=api_key, bearer=token, tokens=tokens
            )
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

    def _tokens(self, account: ServiceAccount, timeouts: Timeouts) -> AccessTokens:
        """One for all deployments of an account."""
        found = self._accounts.get(account)
        if found is None:
            url = urlsplit(account.token_uri)
            host = url.hostname or ""
            found = self._accounts[account] = AccessTokens(
                account,
                origin=self._origin("google", url.scheme, host, url.port or _DEFAULT_PORT[url.scheme]),
                path=url.path or "/",
                timeouts=timeouts,
            )
        return found

    def close(self) -> None:
        """Close idle connections."""
        for origin in self._origins.values():
            origin.close()

    def _origin(self, provider: str, scheme: str, host: str, port: int) -> Origin:
        key = (scheme, host, port)
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
            )
        return origin
