from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse._native import RequestError, RequestView

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def _chat(**members: object) -> bytes:
    return json.dumps(CHAT | members).encode()


def test_a_view_tells_what_the_gateway_needs():
    body = _chat(stream=True, stream_options={"include_usage": True}, max_tokens=9, max_completion_tokens=7, n=2)
    view = RequestView.parse(body, "chat")
    assert (view.model, view.stream, view.include_usage, view.max_tokens, view.n) == ("m", True, True, 9, 2)
    assert view.body is body


@pytest.mark.parametrize(
    ("members", "thinks"),
    [
        ({}, None),
        ({"reasoning_effort": None}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, True),
        ({"reasoning": {"effort": "none", "summary": "auto"}}, False),
        ({"reasoning": {"effort": "high", "summary": "none"}}, True),
        ({"reasoning": {"max_tokens": 2000}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "low"}, True),
        ({"reasoning_effort": "low", "thinking": {"type": "disabled"}}, True),
    ],
)
def test_a_view_tells_whether_thoughts_are_asked_for(members, thinks):
    assert RequestView.parse(_chat(**members), "chat").thinks is thinks


@pytest.mark.parametrize(
    ("members", "tier"),
    [
        ({}, None),
        ({"service_tier": "flex"}, "flex"),
        ({"speed": "fast"}, "fast"),
        ({"speed": "fast", "service_tier": "auto"}, "fast"),
        ({"service_tier": "auto", "speed": "standard"}, "auto"),
        ({"speed": {"fast": 1}}, None),
    ],
)
def test_a_view_tells_how_it_is_to_be_processed(members, tier):
    assert RequestView.parse(_chat(**members), "messages").service_tier == tier


def test_segments_point_at_the_text():
    body = json.dumps({"messages": [{"role": "user", "content": 'a "quoted" word'}]}).encode()
    view = RequestView.parse(body, "chat")
    found = [(json.loads(b'"' + body[s:e] + b'"'), kind, escaped) for s, e, kind, escaped in view.segments()]
    assert found == [("user", "other", False), ('a "quoted" word', "text", True)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_utf8"),
        (b'{"messages":"\xff"}', "invalid_utf8"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"[" + b"1," * 200_000 + b"1]", "too_many_values"),
        (b'{"model":"a","model":"b","messages":[]}', "duplicate_key"),
        (b'{"model":"a","mod\\u0065l":"b","messages":[]}', "duplicate_key"),
        (b'{"x":NaN}', "invalid_json"),
        (b'{"x":-Infinity}', "invalid_json"),
        (b'{"x":"\\ud800"}', "lone_surrogate"),
        (b'{"x":"\n"}', "invalid_json"),
        (b"9" * 10_000_000, "invalid_type"),
        (b"[" * 10_000_000, "too_deep"),
        (b'{"messages":[{"role":"user"}],"max_tokens":1e400}', "invalid_value"),
        (b'{"messages":[{"role":"user"}],"max_tokens":-0}', "invalid_value"),
        (b'{"messages":[{"role":"user"}],"max_tokens":' + b"9" * 400 + b"}", "invalid_value"),
        (b'{"messages":[{"role":"user"}],"stream":"true"}', "invalid_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_hostile_body_is_one_clear_error(body, code):
    with pytest.raises(RequestError) as caught:
        RequestView.parse(body, "chat")
    assert caught.value.code == code
    assert 0 < len(caught.value.message) < 200
    assert isinstance(caught.value, ValueError)


def test_an_error_quotes_nothing_of_the_body():
    with pytest.raises(RequestError) as caught:
        RequestView.parse(b'{"model": canary-secret }', "chat")
    assert "canary" not in f"{caught.value} {caught.value.message} {caught.value!r}"


def test_unknown_kinds_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="kind"):
        RequestView.parse(b"{}", "poem")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text().filter(lambda k: k not in {"n", "max_tokens"}), json_values, max_size=6), st.booleans()
)
def test_whatever_json_writes_is_read(extra, ascii_only):
    members = {k: v for k, v in extra.items() if k not in {"model", "stream", "stream_options"}} | CHAT
    body = json.dumps(members, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(RequestError):
            RequestView.parse(body, "chat")
        return
    if ascii_only and any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(members, ensure_ascii=False)):
        return  # a lone surrogate, written as an escape
    assert RequestView.parse(body, "chat").model == "m"


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), max_size=4),
    st.sampled_from([None, {}, {"include_usage": False}, {"x": [1], "include_usage": None}, {"y": 2}, "absent"]),
    st.sampled_from(["m", 'q"\\uote\n', "\N{SNOWMAN}"]),
    st.booleans(),
)
def test_a_rewrite_is_an_edit_of_the_object_and_keeps_its_order(extra, options, model, include_usage):
    members = {k: v for k, v in extra.items() if k not in {"n", "max_tokens", "stream", "model"}} | CHAT
    if options != "absent":
        members["stream_options"] = options
    view = RequestView.parse(json.dumps(members).encode(), "chat")
    rewritten = json.loads(view.rewrite(model=model, include_usage=include_usage))
    expected = dict(members) | {"model": model}
    if include_usage:
        expected["stream_options"] = (members.get("stream_options") or {}) | {"include_usage": True}
    assert rewritten == expected
    assert [key for key in rewritten if key in members] == list(members)


def test_a_rewrite_that_changes_nothing_is_the_same_object():
    body = _chat(stream_options={"include_usage": True})
    view = RequestView.parse(body, "chat")
    assert view.rewrite(model="m", include_usage=True) is body


@given(st.binary(max_size=200))
def test_no_bytes_can_break_the_parser(data):
    for kind in ("chat", "completions", "embeddings", "responses", "messages"):
        with contextlib.suppress(RequestError):
            RequestView.parse(data, kind)
