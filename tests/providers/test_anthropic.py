"""What Anthropic's own upstream is: its credential, its paths, what it can be asked."""

from __future__ import annotations

import pytest

from tollhouse.providers.anthropic import AnthropicUpstream
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import Origin

KEY = "sk-ant-secret-of-the-deployment"


def _upstream(**options) -> AnthropicUpstream:
    origin = Origin(name="anthropic", host="api.example", port=443, tls=None, deadlines=Deadlines())
    return AnthropicUpstream(origin=origin, base_path="/v1", timeouts=Timeouts(), **options)


def test_the_key_is_in_its_own_header_and_nowhere_else():
    upstream = _upstream(api_key=KEY)
    for head in upstream._heads.values():
        assert head.count(KEY.encode()) == 1
        assert f"\r\nx-api-key: {KEY}\r\n".encode() in head
        assert b"authorization" not in head
    assert KEY not in repr(upstream)


def test_counting_has_a_path_of_its_own():
    heads = _upstream(api_key=KEY)._heads
    assert heads["messages"].startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert heads["count_tokens"].startswith(b"POST /v1/messages/count_tokens HTTP/1.1\r\n")


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown():
    with pytest.raises(ValueError, match="the API key of anthropic") as caught:
        _upstream(api_key="sk-\r\nx: y")
    assert "sk-" not in str(caught.value)


def test_the_factory_makes_it_for_the_provider_of_that_name():
    upstream = UpstreamFactory().make("anthropic", api_base="https://api.example/v1", timeouts=Timeouts(), api_key=KEY)
    assert isinstance(upstream, AnthropicUpstream)
    assert {"messages", "count_tokens", "chat"} <= upstream.kinds
    assert "embeddings" not in upstream.kinds
