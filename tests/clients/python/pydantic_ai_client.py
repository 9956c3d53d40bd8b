"""pydantic-ai against a gateway: chat and Responses, whole and streamed, with tools. Prints a report as JSON."""

import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

order = json.load(sys.stdin)
ECHO, TEXT = "tollhouse/echo", "Say it, nicely: wörld 😀"
provider = OpenAIProvider(base_url=order["baseURL"], api_key=order["apiKey"])


async def conversation(model):
    plain = Agent(model)
    whole = await plain.run(TEXT)
    async with plain.run_stream(TEXT) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    opened = []
    # The built-in model calls a tool whose name is in the message.
    agent = Agent(model)

    @agent.tool_plain
    def open_gate(gate: str) -> str:
        opened.append(gate)
        return "opened"

    called = await agent.run("please open_gate now")
    return {
        "whole": whole.output,
        "streamed": "".join(pieces),
        "pieces": len(pieces),
        "opened": opened,
        "called": called.output,
    }


async def main():
    report = {
        "chat": await conversation(OpenAIChatModel(ECHO, provider=provider)),
        "responses": await conversation(OpenAIResponsesModel(ECHO, provider=provider)),
    }
    json.dump(report, sys.stdout)


asyncio.run(main())
