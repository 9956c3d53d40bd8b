"""The Gemini API: https://ai.google.dev/api/generate-content."""

from __future__ import annotations

import re
from typing import Any

import orjson

from tests.support.providers.server import THOUGHT, WORDS, Answer, Asked, Provider, Say, as_json

KEY = "AIza-key-of-the-tests"
SIGNATURE = "CpQBAXLI2nw+/signed=="
USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "totalTokenCount": 32,
}
_PATH = re.compile(r"/v1beta/models/(?P<model>[^/:?]+):(?P<method>generateContent|streamGenerateContent\?alt=sse)")


def _fault(code: int, status: str, message: str, http: int | None = None, **more: Any) -> Answer:
    return as_json({"error": {"code": code, "message": message, "status": status, **more}}, http or code)


class Gemini(Provider):
    def answer(self, asked: Asked) -> Answer:
        place = _PATH.fullmatch(asked.path)
        if place is None:
            return _fault(404, "NOT_FOUND", "no such path")
        if asked.headers.get("x-goog-api-key") != KEY:
            reason = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
            return _fault(400, "INVALID_ARGUMENT", f"API key not valid: {asked.headers}", details=reason)
        body = asked.json
        text = _last_text(body)
        if text.startswith(Say.THROTTLE):
            return _fault(429, "RESOURCE_EXHAUSTED", "quota is used up", http=500)
        chunks = [self._chunk(model=place["model"], **chunk) for chunk in _said(body, text)]
        if place["method"] == "generateContent":
            return as_json(_merged(chunks))
        if text.startswith(Say.FAIL):
            fault = {"error": {"code": 503, "message": "the model is overloaded", "status": "UNAVAILABLE"}}
            chunks = [chunks[0], fault]
        cut = text.startswith(Say.BREAK)
        pieces = [b"data: %b\r\n\r\n" % orjson.dumps(chunk) for chunk in (chunks[:1] if cut else chunks)]
        return Answer(pieces, kind="text/event-stream", is_cut=cut)

    @staticmethod
    def _chunk(*, model: str, parts: list[Any] | None, finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": 0}
        if parts is not None:
            candidate["content"] = {"role": "model", "parts": parts}
        if finish is not None:
            candidate["finishReason"] = finish
        return {
            "candidates": [candidate],
            "usageMetadata": USAGE if finish else {"promptTokenCount": 20, "totalTokenCount": 20},
            "modelVersion": model,
            "responseId": "resp-1_x",
        }


def _last_text(body: dict[str, Any]) -> str:
    texts = [part["text"] for content in body["contents"] for part in content["parts"] if "text" in part]
    return texts[-1] if texts else ""


def _said(body: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """Chunks of the answer, by what was asked."""
    last = body["contents"][-1]["parts"]
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if text.startswith(Say.REFUSE):
        return [{"parts": [{"text": "I"}]}, {"parts": None, "finish": "SAFETY"}]
    if text.startswith(Say.EMPTY):
        return [{"parts": None, "finish": "STOP"}]
    if text.startswith(Say.BAD_CALL):
        return [{"parts": None, "finish": "MALFORMED_FUNCTION_CALL"}]
    if body.get("tools") and config.get("mode") != "NONE" and "functionResponse" not in last[0]:
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        calls = [{"name": name, "args": {"gate": gate, "minutes": 5}} for gate in ("N\u00f6rd", "S")]
        first = {"functionCall": calls[0], "thoughtSignature": SIGNATURE}
        second = {"functionCall": calls[1]}
        return [{"parts": [first, second]}, {"parts": [{"text": ""}], "finish": "STOP"}]
    said: list[dict[str, Any]] = []
    if text.startswith(Say.THINK):
        said.append({"parts": [{"text": THOUGHT, "thought": True}]})
    said.extend({"parts": [{"text": word}]} for word in WORDS[:-1])
    return [*said, {"parts": [{"text": WORDS[-1]}], "finish": "STOP"}]


def _merged(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    whole = chunks[-1]
    parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", [])]
    if parts:
        whole["candidates"][0]["content"] = {"role": "model", "parts": parts}
    return whole
