"""langchain-openai against a gateway: chat and Responses, whole and streamed, with tools. Prints a report as JSON."""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

order = json.load(sys.stdin)
ECHO, TINY, TEXT = "tollhouse/echo", "tiny", "Say it, nicely: wörld 😀"
TOOL = {
    "type": "function",
    "function": {
        "name": "open_gate",
        "description": "Opens a gate",
        "parameters": {"type": "object", "properties": {"gate": {"type": "string"}}, "required": ["gate"]},
    },
}


def model(name, **more):
    return ChatOpenAI(model=name, base_url=order["baseURL"], api_key=order["apiKey"], max_retries=0, timeout=15, **more)


def text_of(message):
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def conversation(**more):
    chat = model(ECHO, **more)
    whole = chat.invoke(TEXT)
    chunks = list(chat.stream(TEXT))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    tools = chat.bind_tools([TOOL], tool_choice="required")
    asked = tools.invoke(TEXT)
    streamed = None
    for chunk in tools.stream(TEXT):
        streamed = chunk if streamed is None else streamed + chunk
    call = asked.tool_calls[0]
    result = ToolMessage("opened", tool_call_id=call["id"])
    answered = chat.bind_tools([TOOL]).invoke([HumanMessage(TEXT), asked, result])
    return {
        "whole": text_of(whole),
        "usage": whole.usage_metadata,
        "streamed": text_of(total),
        "chunks": len(chunks),
        "streamedUsage": total.usage_metadata,
        "call": [call["name"], call["args"]],
        "streamedCall": [streamed.tool_calls[0]["name"], streamed.tool_calls[0]["args"]],
        "answered": text_of(answered),
    }


def tiny():
    chat = model(TINY, max_tokens=12, temperature=0)
    return {"whole": chat.invoke("to ll").content, "streamed": "".join(c.content for c in chat.stream("to ll"))}


def embeddings():
    made = OpenAIEmbeddings(
        model=ECHO, base_url=order["baseURL"], api_key=order["apiKey"], dimensions=16, check_embedding_ctx_length=False
    )
    return [len(vector) for vector in made.embed_documents(["a", "b"])]


report = {
    "chat": conversation(stream_usage=True),
    "responses": conversation(use_responses_api=True),
    "tiny": tiny(),
    "embeddings": embeddings(),
}
json.dump(report, sys.stdout)
