"""Bedrock's Converse: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.

Signatures are checked by computing them again, from the manual and not with the gateway's own code.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import zlib
from typing import Any
from urllib.parse import quote, unquote

import orjson

from tests.support.providers.server import THOUGHT, WORDS, Answer, Asked, Provider, Say, as_json

ACCESS_KEY = "AKIATESTSTESTSTESTS1"
SECRET_KEY = "secret/of+the/tests+0123456789abcdefghijk"
SESSION_TOKEN = "session//token+of==the-tests"
API_KEY = "bedrock-api-key-of-the-tests"
REGION = "eu-west-1"
SIGNATURE = "EqQBCkgIBRABGAIiQ+/signed=="
SEALED = "c2VhbGVk"
USAGE = {
    "inputTokens": 20,
    "outputTokens": 5,
    "totalTokens": 1025,
    "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 0,
}
_PATH = re.compile(r"/model/(?P<model>[^/]+)/(?P<operation>converse|converse-stream|invoke)")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<scope>\S+), SignedHeaders=(?P<names>\S+), Signature=(?P<signature>[0-9a-f]{64})"
)


def is_signed(
    asked: Asked,
    *,
    token: str | None = None,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    service: str = "bedrock",
) -> bool:
    """Whether the request is signed with these keys, `token` included."""
    match = _AUTHORIZATION.fullmatch(asked.headers.get("authorization", ""))
    if match is None or asked.headers.get("x-amz-security-token") != token:
        return False
    names = match["names"].split(";")
    date = asked.headers["x-amz-date"]
    scope = f"{date[:8]}/{REGION}/{service}/aws4_request"
    needed = {"host", "x-amz-date"} | ({"x-amz-security-token"} if token else set())
    if match["scope"] != f"{access_key}/{scope}" or not needed <= set(names) or names != sorted(names):
        return False
    headers = "".join(f"{name}:{asked.headers[name].strip()}\n" for name in names)
    payload = hashlib.sha256(asked.body).hexdigest()
    canonical = f"POST\n{quote(asked.path, safe='/-_.~')}\n\n{headers}\n{match['names']}\n{payload}"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in (date[:8], REGION, service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(key.hex(), match["signature"])


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream."""
    block = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", len(block) + len(payload) + 16, len(block))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack("!I", zlib.crc32(body))


def event(name: str, **members: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, orjson.dumps(members))


def exception(name: str, text: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, orjson.dumps({"message": text}))


def _fault(status: int, name: str, text: str) -> Answer:
    return as_json({"message": text}, status, x_amzn_errortype=f"{name}:http://internal.amazon.com/coral/")


class Bedrock(Provider):
    """token: the session token that signatures must cover. access_key, secret_key: with which they are made."""

    def __init__(self, *, token: str | None = None, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> None:
        super().__init__()
        self.token = token
        self.access_key = access_key
        self._secret_key = secret_key

    def answer(self, asked: Asked) -> Answer:
        place = _PATH.fullmatch(asked.path)
        if place is None or ":" in place["model"]:
            return _fault(404, "UnknownOperationException", "no such path")
        bearer = asked.headers.get("authorization") == f"Bearer {API_KEY}"
        keys = {"access_key": self.access_key, "secret_key": self._secret_key}
        if not bearer and not is_signed(asked, token=self.token, **keys):
            text = f"The request signature we calculated does not match: {asked.headers}"
            return _fault(403, "InvalidSignatureException", text)
        body = asked.json
        if place["operation"] == "invoke":
            return _embedding(unquote(place["model"]), body)
        text = _last_text(body)
        if text.startswith(Say.THROTTLE):
            return _fault(429, "ThrottlingException", "Too many requests, please wait.")
        if _has_calls(body) and "toolConfig" not in body:
            return _fault(400, "ValidationException", "The toolConfig field must be defined.")
        blocks, reason = _said(body, text)
        if place["operation"] == "converse":
            return as_json(
                {
                    "output": {"message": {"role": "assistant", "content": blocks}},
                    "stopReason": reason,
                    "usage": USAGE,
                    "metrics": {"latencyMs": 9},
                }
            )
        frames = _frames(blocks, reason)
        if text.startswith(Say.FAIL):
            frames = [*frames[:2], exception("modelStreamErrorException", "the model broke")]
        if text.startswith(Say.BREAK):
            damaged = bytearray(frames[2])
            damaged[-1] ^= 1
            frames = [*frames[:2], bytes(damaged), *frames[3:]]
        return Answer(frames, kind="application/vnd.amazon.eventstream")

    @staticmethod
    def model(asked: Asked) -> str:
        place = _PATH.fullmatch(asked.path)
        assert place is not None
        return unquote(place["model"])


def _embedding(model: str, body: dict[str, Any]) -> Answer:
    """Of a text: its length, and how many of them this call has had before it. A token for each of its letters."""
    texts = body.get("texts") or [body.get("inputText") or body.get("singleEmbeddingParams", {}).get("text", {})]
    if not texts[0]:
        return _fault(400, "ValidationException", "Malformed input request, please reformat your input and try again.")
    told = [text["value"] if isinstance(text, dict) else text for text in texts]
    if any(text.startswith(Say.THROTTLE) for text in told):
        return _fault(429, "ThrottlingException", "Too many requests, please wait.")
    vectors = [[float(len(text)), float(index)] for index, text in enumerate(told)]
    count = sum(map(len, told))
    if "titan" in model:
        return as_json({"embedding": vectors[0], "inputTextTokenCount": count})
    head: dict[str, Any] = {"x_amzn_bedrock_input_token_count": str(count)}
    if "nova" in model:
        return as_json({"embeddings": [{"embeddingType": "TEXT", "embedding": vectors[0]}]}, **head)
    assert "cohere" in model
    return as_json({"embeddings": vectors, "id": "x", "response_type": "embeddings_floats", "texts": told}, **head)


def _last_text(body: dict[str, Any]) -> str:
    texts = [block["text"] for turn in body["messages"] for block in turn["content"] if "text" in block]
    return texts[-1] if texts else ""


def _has_calls(body: dict[str, Any]) -> bool:
    return any("toolUse" in block for turn in body["messages"] for block in turn["content"])


def _said(body: dict[str, Any], text: str) -> tuple[list[dict[str, Any]], str]:
    """Blocks of the answer and why it ended, by what was asked."""
    if text.startswith(Say.REFUSE):
        return [{"text": "I"}], "guardrail_intervened"
    if text.startswith(Say.EMPTY):
        return [], "end_turn"
    if text.startswith(Say.BAD_CALL):
        return [], "malformed_tool_use"
    tools = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", []) if "toolSpec" in tool]
    if tools and "toolResult" not in body["messages"][-1]["content"][0]:
        name = tools[0]["name"]
        return [
            {"text": "One moment."},
            {"toolUse": {"toolUseId": "tooluse_a", "name": name, "input": {"gate": "N\u00f6rd", "minutes": 5}}},
            {"toolUse": {"toolUseId": "tooluse_b", "name": name, "input": {"gate": "S", "minutes": 1}}},
        ], "tool_use"
    blocks: list[dict[str, Any]] = []
    if text.startswith(Say.THINK):
        blocks.append({"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SIGNATURE}}})
        blocks.append({"reasoningContent": {"redactedContent": SEALED}})
    return [*blocks, {"text": "".join(WORDS)}], "end_turn"


def _frames(blocks: list[dict[str, Any]], reason: str) -> list[bytes]:
    frames = [event("messageStart", role="assistant", p="abcdefgh")]
    for index, block in enumerate(blocks):
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            frames.append(event("contentBlockStart", contentBlockIndex=index, start=start))
        frames.extend(
            event("contentBlockDelta", contentBlockIndex=index, delta=delta, p="xyz") for delta in _deltas(block)
        )
        frames.append(event("contentBlockStop", contentBlockIndex=index))
    return [*frames, event("messageStop", stopReason=reason), event("metadata", usage=USAGE, metrics={"latencyMs": 9})]


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if "text" in block:
        words = WORDS if block["text"] == "".join(WORDS) else (block["text"],)
        return [{"text": word} for word in words]
    if "toolUse" in block:
        json = orjson.dumps(block["toolUse"]["input"]).decode()
        return [{"toolUse": {"input": part}} for part in ("", json[:9], json[9:])]
    thought = block["reasoningContent"]
    if "redactedContent" in thought:
        return [{"reasoningContent": {"redactedContent": thought["redactedContent"]}}]
    text = thought["reasoningText"]
    return [{"reasoningContent": {"text": text["text"]}}, {"reasoningContent": {"signature": text["signature"]}}]
