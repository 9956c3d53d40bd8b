"""The built-in model `tollhouse/echo`: deterministic, without a network, for first steps and for tests.

It says back the last user message. It calls a tool when `tool_choice` demands one, or when the message names one of
the offered tools; the arguments are made from the tool's schema. Its answers are ordinary HTTP bytes and go through
the same reader as everybody else's.
"""

from __future__ import annotations

import base64
import re
import struct
from hashlib import sha256
from itertools import islice
from math import sqrt
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.providers.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.timeouts import Timeouts

CREATED = 1_700_000_000  # a fixed time: the same request has the same answer
DIMENSIONS = 64
MAX_DIMENSIONS = 4096
MAX_CHUNKS = 512
# It works in the event loop, where nobody may take long: every key opens it.
MAX_REQUEST = 1024 * 1024  # bytes
MAX_ANSWER = 8 * 1024 * 1024  # bytes; it says back up to `n` times what it was told
MAX_TOOLS = 128
MAX_SEARCHED = 10_000  # characters of the message in which tools may be named
MAX_ARGUMENT = 200  # characters of the message in a string of a tool's arguments
MAX_NUMBERS = 1_000_000  # in all vectors of an answer
_NONE: tuple[str, ...] = ()
_OWN = frozenset({"chat", "completions", "embeddings"})
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")


class EchoUpstream:
    """Answers chat, completions and embeddings by itself; what else there is is translated to chat."""

    kinds = frozenset({"chat", "completions", "embeddings", "messages", "responses"})

    def __init__(self, *, timeouts: Timeouts) -> None:
        self._timeouts = timeouts

    def check(self, path: str | None, timeout_s: float, model: str | None = None) -> None:
        """It is always well."""

    def start(self, ask: Ask) -> Call:
        kind, warnings = ask.kind, _NONE
        if kind in _OWN:
            body = ask.body("max_completion_tokens" if kind == "chat" else None)
            reader = ask.reader(kind)
        else:
            kind = "chat"
            body, warnings = ask.translated(kind)
            reader = ask.reader(kind)
        call = Call(reader, self._timeouts)
        call.warnings = warnings
        status, content_type, payload = _answer(kind, body, stream=ask.stream)
        head = b"HTTP/1.1 %d \r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, content_type, len(payload))
        call.raise_flags(call.reader.feed(head + payload))
        return call

    def __repr__(self) -> str:
        return "EchoUpstream()"


class _Invalid(Exception):
    """A request that a model server would refuse; args: message, param."""


def _answer(kind: str, body: bytes, *, stream: bool) -> tuple[int, bytes, bytes]:
    identity = sha256(body).hexdigest()[:24]
    try:
        request = _request(body)
        if kind == "embeddings":
            return 200, b"application/json", orjson.dumps(_embeddings(request))
        reply = _chat(request, identity) if kind == "chat" else _completion(request, identity)
    except _Invalid as error:
        message, param = error.args
        fault = {"message": message, "type": "invalid_request_error", "param": param, "code": "invalid_value"}
        return 400, b"application/json", orjson.dumps({"error": fault})
    if not stream:
        return 200, b"application/json", orjson.dumps(reply)
    include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    events = (_chat_events if kind == "chat" else _completion_events)(reply, include_usage=include_usage)
    return 200, b"text/event-stream", b"".join(b"data: %b\n\n" % orjson.dumps(e) for e in events) + b"data: [DONE]\n\n"


def _request(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_REQUEST:
        msg = f"the built-in model takes at most {MAX_REQUEST} bytes"
        raise _Invalid(msg, None)
    try:
        request: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError:
        # The gateway has parsed the body before: only a number that no double can hold is left to object to.
        msg = "a number is out of range"
        raise _Invalid(msg, None) from None
    count = request.get("n")
    if isinstance(count, int) and len(body) * count > MAX_ANSWER:
        msg = "n answers of this length are too long"
        raise _Invalid(msg, "n")
    return request


def tokens(text: str) -> list[str]:
    """Words and marks with the white space before them; joined they are the text again."""
    return _TOKEN.findall(text)


def _text_of(content: Any, param: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    msg = "content must be a string or an array of parts"
    raise _Invalid(msg, param)


def _limit(request: dict[str, Any]) -> int | None:
    given = [request[k] for k in ("max_completion_tokens", "max_tokens") if request.get(k) is not None]
    return min(given) if given else None


def _cut(text: str, limit: int | None) -> tuple[str, int, str]:
    """The text within the limit, its tokens, and the finish reason."""
    found = tokens(text)
    if limit is not None and len(found) > limit:
        return "".join(found[:limit]), limit, "length"
    return text, len(found), "stop"


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _chat(request: dict[str, Any], identity: str) -> dict[str, Any]:
    messages = enumerate(request["messages"])
    texts = [(m.get("role"), _text_of(m.get("content"), f"messages[{i}].content")) for i, m in messages]
    said = next((text for role, text in reversed(texts) if role == "user"), "")
    calls = _tool_calls(request, said, identity) if texts[-1][0] != "tool" else []
    if texts[-1][0] == "tool":
        said = texts[-1][1]
    content, spent, finish = _cut(said, _limit(request))
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        finish = "tool_calls"
        spent = sum(len(tokens(call["function"]["arguments"])) for call in calls)
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}
    count = request.get("n") or 1
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request.get("model", "tollhouse/echo"),
        "choices": [{"index": i, "message": message, "logprobs": None, "finish_reason": finish} for i in range(count)],
        "usage": _usage(sum(len(tokens(text)) for _, text in texts), spent * count),
        "system_fingerprint": "tollhouse-echo",
    }


def _tool_calls(request: dict[str, Any], said: str, identity: str) -> list[dict[str, Any]]:
    tools = request.get("tools") or []
    if not isinstance(tools, list):
        msg = "tools must be an array"
        raise _Invalid(msg, "tools")
    if len(tools) > MAX_TOOLS:
        msg = f"tools has at most {MAX_TOOLS} entries"
        raise _Invalid(msg, "tools")
    offered = {}
    for i, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            msg = "a tool needs function.name"
            raise _Invalid(msg, f"tools[{i}].function.name")
        offered[function["name"]] = function
    choice = request.get("tool_choice")
    if not offered or choice == "none":
        return []
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or name not in offered:
            msg = "tool_choice names a tool that is not offered"
            raise _Invalid(msg, "tool_choice")
        names = [name]
    elif choice == "required":
        names = [next(iter(offered))]
    else:
        searched = said[:MAX_SEARCHED]
        names = [name for name in offered if re.search(rf"\b{re.escape(name)}\b", searched)]
    return [
        {
            "id": f"call_{identity}{i}",
            "type": "function",
            "function": {"name": name, "arguments": _arguments(offered[name], said[:MAX_ARGUMENT])},
        }
        for i, name in enumerate(names)
    ]


def _arguments(function: dict[str, Any], said: str) -> str:
    value = _example(function.get("parameters") or {}, said, depth=0)
    return orjson.dumps(value if isinstance(value, dict) else {}).decode()


def _example(schema: Any, said: str, *, depth: int) -> Any:
    """A value of the schema's type; strings are how the message begins."""
    if not isinstance(schema, dict) or depth > 8:
        return None
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), None)
    if kind == "object" or (kind is None and isinstance(schema.get("properties"), dict)):
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        wanted = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        # Each once: a name that is repeated on every level would be worked out exponentially often.
        return {
            name: _example(properties.get(name), said, depth=depth + 1) for name in dict.fromkeys(wanted or properties)
        }
    simple = {"string": said, "integer": 1, "number": 1.0, "boolean": True, "array": []}
    return simple.get(kind) if isinstance(kind, str) else None


def _pieces(text: str) -> Iterator[str]:
    found = tokens(text)
    size = -(-len(found) // MAX_CHUNKS) or 1
    rest = iter(found)
    while piece := "".join(islice(rest, size)):
        yield piece


def _chat_events(reply: dict[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    usage = reply.pop("usage")
    choices = reply.pop("choices")
    base = reply | {"object": "chat.completion.chunk"} | ({"usage": None} if include_usage else {})

    def event(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return base | {"choices": [choice]}

    for choice in choices:
        index, message = choice["index"], choice["message"]
        yield event(index, {"role": "assistant", "content": None if "tool_calls" in message else ""})
        for i, call in enumerate(message.get("tool_calls", ())):
            function = call["function"]
            yield event(index, {"tool_calls": [call | {"index": i, "function": function | {"arguments": ""}}]})
            for piece in _pieces(function["arguments"]):
                yield event(index, {"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
        for piece in _pieces(message["content"] or ""):
            yield event(index, {"content": piece})
        yield event(index, {}, choice["finish_reason"])
    if include_usage:
        yield base | {"choices": [], "usage": usage}


def _completion(request: dict[str, Any], identity: str) -> dict[str, Any]:
    prompt = request.get("prompt")
    if prompt is None:
        msg = "prompt is required"
        raise _Invalid(msg, "prompt")
    prompts = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)) else [prompt]
    _check_members(prompts, "prompt")
    limit = _limit(request)
    count = request.get("n") or 1
    choices: list[dict[str, Any]] = []
    asked = spent = 0
    for one in prompts:
        text = one if isinstance(one, str) else " ".join(str(token) for token in one)
        asked += len(tokens(text))
        said, used, finish = _cut(text, limit)
        spent += used * count
        first = len(choices)
        choices += [{"index": first + i, "text": said, "logprobs": None, "finish_reason": finish} for i in range(count)]
    return {
        "id": f"cmpl-{identity}",
        "object": "text_completion",
        "created": CREATED,
        "model": request.get("model", "tollhouse/echo"),
        "choices": choices,
        "usage": _usage(asked, spent),
    }


def _completion_events(reply: dict[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    usage = reply.pop("usage")
    choices = reply.pop("choices")
    base = reply | ({"usage": None} if include_usage else {})
    for choice in choices:
        for piece in _pieces(choice["text"]):
            yield base | {"choices": [choice | {"text": piece, "finish_reason": None}]}
        yield base | {"choices": [choice | {"text": ""}]}
    if include_usage:
        yield base | {"choices": [], "usage": usage}


def _embeddings(request: dict[str, Any]) -> dict[str, Any]:
    given = request["input"]
    # A string, an array of strings, an array of tokens, or an array of such arrays.
    inputs = given if isinstance(given, list) and isinstance(given[0], (str, list)) else [given]
    size = request.get("dimensions") or DIMENSIONS
    if not isinstance(size, int) or not 1 <= size <= MAX_DIMENSIONS:
        msg = f"dimensions must be an integer from 1 to {MAX_DIMENSIONS}"
        raise _Invalid(msg, "dimensions")
    _check_members(inputs, "input")
    if len(inputs) * size > MAX_NUMBERS:
        msg = f"the answer would hold more than {MAX_NUMBERS} numbers"
        raise _Invalid(msg, "input")
    packed = request.get("encoding_format") == "base64"
    data = []
    spent = 0
    for index, one in enumerate(inputs):
        text = one if isinstance(one, str) else orjson.dumps(one).decode()
        spent += len(tokens(text)) if isinstance(one, str) else len(one)
        vector = _vector(text, size)
        encoded = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": encoded})
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "data": data, "model": request.get("model", "tollhouse/echo"), "usage": usage}


def _check_members(members: list[Any], param: str) -> None:
    if not all(isinstance(member, (str, list)) for member in members):
        msg = f"{param} must be a string, an array of strings, an array of tokens or an array of such arrays"
        raise _Invalid(msg, param)


def _vector(text: str, size: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = text.encode("utf-8", "surrogatepass")
    noise = b"".join(sha256(b"%d:" % i + seed).digest() for i in range(-(-size // 8)))
    raw = [value / 2**31 - 1.0 for value in struct.unpack(f"<{len(noise) // 4}I", noise)][:size]
    norm = sqrt(sum(value * value for value in raw)) or 1.0
    return [value / norm for value in raw]
