"""Ollama: https://github.com/ollama/ollama/blob/main/docs/api.md."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.providers.server import THOUGHT, WORDS, Answer, Asked, Provider, Say, as_json

AT = "2026-11-21T20:33:28.123648Z"
COUNTS = {
    "total_duration": 4883583458,
    "load_duration": 1334875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342546000,
    "eval_count": 282,
    "eval_duration": 4535599000,
}


class Ollama(Provider):
    def answer(self, asked: Asked) -> Answer:
        body = asked.json
        if asked.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.5]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            return as_json({"object": "list", "data": data, "model": body["model"], "usage": usage})
        if asked.path != "/api/chat":
            return Answer([b"404 page not found"], status=404, kind="text/plain")
        texts = [message["content"] for message in body["messages"] if message["role"] == "user"]
        text = texts[-1] if texts else ""
        if text.startswith(Say.THROTTLE):
            return as_json({"error": "server busy, please try again.  maximum pending requests exceeded"}, 503)
        lines = [{"model": body["model"], "created_at": AT, **line} for line in _said(body, text)]
        if not body.get("stream", True):
            return as_json(_merged(lines))
        if text.startswith(Say.FAIL):
            lines = [lines[0], {"error": "an error was encountered while running the model"}]
        whole = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        if text.startswith(Say.BREAK):
            return Answer([whole[:150]], kind="application/x-ndjson", is_cut=True)
        # In pieces that know nothing of lines or letters.
        return Answer([whole[at : at + 37] for at in range(0, len(whole), 37)], kind="application/x-ndjson")


def _line(**message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **message}, "done": False}


def _said(body: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """Lines of the answer, by what was asked."""
    end = {"message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": True, **COUNTS}
    if text.startswith(Say.EMPTY):
        return [end]
    if body.get("tools") and body["messages"][-1]["role"] != "tool":
        name = body["tools"][0]["function"]["name"]
        calls = [
            {"function": {"name": name, "arguments": {"gate": "N\u00f6rd", "minutes": 5}}},
            {"function": {"name": name, "arguments": {"gate": "S", "minutes": 1}}},
        ]
        return [_line(tool_calls=calls), end]
    said = [_line(thinking=THOUGHT)] if body.get("think") else []
    return [*said, *(_line(content=word) for word in WORDS), end]


def _merged(lines: list[dict[str, Any]]) -> dict[str, Any]:
    whole = lines[-1]
    for member in ("content", "thinking"):
        text = "".join(line["message"].get(member, "") for line in lines)
        if text:
            whole["message"][member] = text
    calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
    if calls:
        whole["message"]["tool_calls"] = calls
    return whole
