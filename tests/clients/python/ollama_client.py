"""Ollama's own client against a server that is to speak like Ollama. Prints what it saw as JSON."""

import json
import sys

from ollama import Client, ResponseError

order = json.load(sys.stdin)
client = Client(host=order["baseURL"], timeout=15)
TOOL = {
    "type": "function",
    "function": {
        "name": "open_gate",
        "description": "Opens a gate",
        "parameters": {"type": "object", "properties": {"gate": {"type": "string"}}},
    },
}


def ask(text, **more):
    return client.chat("llama3.2", [{"role": "user", "content": text}], **more)


def failure(text, **more):
    try:
        for _ in ask(text, **more):
            pass
    except ResponseError as error:
        return [error.status_code, error.error]
    return None


whole = ask("hello", think=True)
parts = list(ask("hello", stream=True, think=True))
called = ask("open it", tools=[TOOL])
print(
    json.dumps(
        {
            "whole": [whole.message.thinking, whole.message.content, whole.done_reason],
            "streamed": [
                "".join(getattr(part.message, name) or "" for part in parts) for name in ("thinking", "content")
            ],
            "counts": [whole.prompt_eval_count, whole.eval_count, parts[-1].prompt_eval_count, parts[-1].eval_count],
            "calls": [[call.function.name, dict(call.function.arguments)] for call in called.message.tool_calls],
            "refused": failure(order["throttle"]),
            "broken": failure(order["fail"], stream=True),
        }
    )
)
