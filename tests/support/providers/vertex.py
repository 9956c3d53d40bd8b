"""Vertex AI: Gemini's dialect, Anthropic's, OpenAI's and embeddings below one location; and who gives out tokens.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api,
https://docs.anthropic.com/en/api/claude-on-vertex-ai, and for tokens https://google.aip.dev/auth/4110.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from tests.support.providers.gemini import Gemini
from tests.support.providers.server import WORDS, Answer, Asked, Say, as_json

LOCATION = "/v1/projects/p/locations/l"
CLIENT = {"client_id": "c.apps.googleusercontent.com", "client_secret": "s3cret", "refresh_token": "1//refresh"}
CLAUDE_USAGE = {"input_tokens": 20, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 5}
CHAT_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
_PATH = re.compile(rf"{LOCATION}/publishers/(?P<publisher>\w+)/models/(?P<model>[^/:]+):(?P<method>\w+)(\?alt=sse)?")


class Vertex(Gemini):
    """Every token is another one, and only the last of them is taken. subject: the token of the other provider."""

    def __init__(self, *, subject: str = "eyJ.subject") -> None:
        super().__init__()
        self.subject = subject
        self.given = 0

    @property
    def token(self) -> str:
        return f"ya29.{self.given}"

    def answer(self, asked: Asked) -> Answer:
        token = self._token_for(asked)
        if token is not None:
            return token
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return _fault(401, "UNAUTHENTICATED", f"invalid credentials: {asked.headers}")
        if asked.path == f"{LOCATION}/endpoints/openapi/chat/completions":
            return _chat(asked.json)
        place = _PATH.fullmatch(asked.path)
        if place is None:
            return _fault(404, "NOT_FOUND", "no such path")
        if place["publisher"] == "anthropic":
            return _claude(unquote(place["model"]), place["method"], asked.json)
        if place["method"] == "predict":
            return _predicted(place["model"], asked.json)
        if not asked.json.get("contents"):
            return _fault(400, "INVALID_ARGUMENT", "at least one contents field is required")
        below = f"/v1beta/models/{place['model']}:{place['method']}{place[4] or ''}"
        return super().answer(Asked(below, {"x-goog-api-key": "AIza-key-of-the-tests"}, asked.body))

    def _token_for(self, asked: Asked) -> Answer | None:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode("latin-1")).items()}
        if asked.path == "/token":
            is_known = form == CLIENT | {"grant_type": "refresh_token"}
        elif asked.path == "/sts":
            assert form["audience"] == "//iam.googleapis.com/x"
            assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
            assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
            is_known = form["subject_token"] == self.subject
        elif asked.path == "/computeMetadata/v1/instance/service-accounts/default/token":
            is_known = (asked.method, asked.headers.get("metadata-flavor")) == ("GET", "Google")
        elif asked.path == "/v1/accounts/g:generateAccessToken":
            if asked.headers["authorization"] != f"Bearer {self.token}":
                return as_json({"error": {"code": 403}}, 403)
            self.given += 1
            end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            return as_json({"accessToken": self.token, "expireTime": end})
        else:
            return None
        if not is_known:
            return as_json({"error": "invalid_grant", "error_description": f"no: {form}"}, 400)
        self.given += 1
        return as_json({"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"})


def _fault(code: int, status: str, message: str) -> Answer:
    return as_json({"error": {"code": code, "message": message, "status": status}}, code)


def _predicted(model: str, body: dict[str, Any]) -> Answer:
    """Of a text: its length, and its place in the call. A token for each of its letters."""
    texts = [instance["content"] for instance in body.get("instances", [])]
    if not texts or (len(texts) > 1 and model.startswith("gemini-")):
        return _fault(400, "INVALID_ARGUMENT", f"{len(texts)} instances")
    if texts[0].startswith(Say.THROTTLE):
        return _fault(429, "RESOURCE_EXHAUSTED", "quota is used up")
    predictions = [
        {
            "embeddings": {
                "values": [float(len(text)), float(index)],
                "statistics": {"truncated": False, "token_count": len(text)},
            }
        }
        for index, text in enumerate(texts)
    ]
    return as_json({"predictions": predictions, "metadata": {"billableCharacterCount": sum(map(len, texts))}})


def _claude(model: str, method: str, body: dict[str, Any]) -> Answer:
    is_count = model == "count-tokens"
    if body.get("anthropic_version") != "vertex-2023-10-16" or ("model" in body) != is_count:
        return as_json({"type": "error", "error": {"type": "invalid_request_error", "message": "no version"}}, 400)
    if is_count:
        return as_json({"input_tokens": 42})
    said = {"id": "msg_vrtx_1", "type": "message", "role": "assistant", "model": model}
    if method == "rawPredict":
        text = [{"type": "text", "text": "".join(WORDS)}]
        return as_json(said | {"content": text, "stop_reason": "end_turn", "usage": CLAUDE_USAGE})
    assert (method, body["stream"]) == ("streamRawPredict", True)
    block = {"index": 0}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": said | {"content": [], "usage": CLAUDE_USAGE | {"output_tokens": 1}}},
        {"type": "content_block_start", **block, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", **block, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", **block},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    pieces = [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events]
    return Answer(pieces, kind="text/event-stream; charset=utf-8")


def _chat(body: dict[str, Any]) -> Answer:
    if not body.get("messages"):
        return _fault(400, "INVALID_ARGUMENT", "messages are required")
    said = {"id": "c1", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return as_json(said | {"object": "chat.completion", "choices": choices, "usage": CHAT_USAGE})
    deltas: list[tuple[dict[str, Any], str | None]] = [({"content": word}, None) for word in WORDS] + [({}, "stop")]
    chunks: list[dict[str, Any]] = [
        said | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in deltas
    ]
    chunks.append(said | {"object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE})
    pieces = [b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks]
    return Answer([*pieces, b"data: [DONE]\n\n"], kind="text/event-stream")
