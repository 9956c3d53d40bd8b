from __future__ import annotations

import ssl

import pytest

from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.factory import UpstreamFactory, tls_context
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.timeouts import Timeouts


def _make(factory: UpstreamFactory, base: str, provider: str = "openai", **options) -> OpenAIUpstream:
    made = factory.make(provider, api_base=base, timeouts=Timeouts(), **options)
    assert isinstance(made, OpenAIUpstream)
    return made


def test_the_built_in_model_needs_no_address():
    made = UpstreamFactory().make("tollhouse", api_base="", timeouts=Timeouts())
    assert isinstance(made, EchoUpstream)
    assert repr(made) == "EchoUpstream()"


@pytest.mark.parametrize("base", ["", "api.openai.com/v1", "ftp://host/v1", "http://", "https:///v1", "unix:/tmp/s"])
def test_a_base_that_is_no_http_url_is_refused(base):
    with pytest.raises(ValueError, match="not an http or https URL"):
        UpstreamFactory().make("openai", api_base=base, timeouts=Timeouts())


@pytest.mark.parametrize(
    ("base", "host", "port"),
    [
        ("https://api.example/v1", "api.example", 443),
        ("http://api.example/v1", "api.example", 80),
        ("http://127.0.0.1:8000", "127.0.0.1", 8000),
        ("http://[::1]:8000/v1", "::1", 8000),
        ("https://API.Example:8443/v1/", "api.example", 8443),
    ],
)
def test_an_origin_is_scheme_host_and_port(base, host, port):
    origin = _make(UpstreamFactory(), base).origin
    assert (origin.host, origin.port) == (host, port)


def test_deployments_at_one_origin_share_its_connections():
    factory = UpstreamFactory()
    first = _make(factory, "https://api.example/v1", api_key="a")
    assert _make(factory, "https://api.example/other", "vllm", api_key="b").origin is first.origin
    assert _make(factory, "http://api.example/v1").origin is not first.origin
    assert _make(factory, "https://api.example:444/v1").origin is not first.origin
    assert _make(UpstreamFactory(), "https://api.example/v1").origin is not first.origin
    factory.close()


@pytest.mark.parametrize("base", ["https://api.example/v1", "https://api.example/v1/"])
def test_the_path_of_the_base_is_in_front(base):
    head = _make(UpstreamFactory(), base)._heads["chat"]
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


def test_azure_takes_its_key_and_version_in_its_own_way():
    head = _make(UpstreamFactory(), "https://x.example/openai/v1", "azure", api_key="k", api_version="v1")._heads[
        "chat"
    ]
    assert head.startswith(b"POST /openai/v1/chat/completions?api-version=v1 HTTP/1.1\r\n")
    assert b"\r\napi-key: k\r\n" in head
    plain = _make(UpstreamFactory(), "https://x.example/openai/v1", "azure", api_key="k")._heads["chat"]
    assert b"api-version" not in plain
    other = _make(UpstreamFactory(), "https://x.example/v1", "openai", api_key="k", api_version="v1")._heads["chat"]
    assert b"api-version" not in other
    assert b"\r\nauthorization: Bearer k\r\n" in other


def test_certificates_and_names_are_checked():
    context = tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context() is context
