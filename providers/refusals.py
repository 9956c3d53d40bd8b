"""Whose fault a 401, 403 or 404 is, by what providers write in it.

What a caller sent may come back in a message, so only codes, details, and how a message begins speak against a
deployment; for the request anything may speak.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

DEPLOYMENT, REQUEST, UNCLEAR = "deployment", "request", "unclear"

_MISSING = "model_not_found"  # OpenAI, and those that speak like it
_UNDEPLOYED = "DeploymentNotFound"  # Azure
_MODEL: Final = re.compile(
    r"model: "  # Anthropic
    r"|The model [`'\"]"  # OpenAI, vLLM
    r"|model ['\"]"  # Ollama, Cohere
    r"|models/"  # Gemini
    r"|Publisher Model "  # Vertex AI
    r"|No endpoints found for "  # OpenRouter
).match
_ROUTE: Final = re.compile(
    r"Invalid URL \("  # OpenAI
    r"|Resource not found\.?$"  # Azure
    r"|(?:404 )?(?:page )?not found\.?$",  # Anthropic, and servers of all kinds
    re.IGNORECASE,
).match
_CREDENTIALS: Final = re.compile(
    r"The security token included in the request is "  # AWS, this one and the next two
    r"|The request signature we calculated "
    r"|Authentication failed"
    r"|You don't have access to the model with the specified model ID"
    r"|Your API key was "  # Gemini
    r"|Access denied due to Virtual Network|Public access is disabled"  # Azure
    r"|Country, region, or territory not supported",  # OpenAI: that of the gateway
    re.IGNORECASE,
).match
# Google's, among the details: https://cloud.google.com/apis/design/errors#error_info
_REASONS: Final = re.compile(
    r"SERVICE_DISABLED|BILLING_DISABLED|API_KEY_|CONSUMER_|ACCESS_TOKEN_|ACCOUNT_STATE_INVALID"
).search
_OBJECT: Final = re.compile(
    r"(?:^|\s)(?:files?|items?|conversations?|vector stores?|containers?|cached ?content)\b"
    r"|generate embeddings",  # a path that the model is not for
    re.IGNORECASE,
).search


def whose(status: int, body: bytes, *, model: str | None) -> str:
    """DEPLOYMENT, REQUEST, or UNCLEAR where it may be either.

    model: what the operator calls it upstream; None: the caller named it, so that it is not there says nothing.
    """
    fault = fault_of(body)
    message = None if fault is None else fault.get("message")
    if status == 401:
        # A restricted key may do for some paths and not for others, and the caller chooses the path.
        return UNCLEAR if isinstance(message, str) and "Missing scopes" in message else DEPLOYMENT
    if status == 404 and model is None:
        return REQUEST
    if fault is None or not isinstance(message, str):
        return UNCLEAR  # no such path on this server, or what stands in front of it did not like the words
    code = str(fault.get("code"))
    if code in {_MISSING, _UNDEPLOYED} or _MODEL(message):
        # A request may name another model as well, for one of its tools.
        return DEPLOYMENT if model and (code == _UNDEPLOYED or _names(message, model)) else UNCLEAR
    if status == 404:
        return UNCLEAR if _ROUTE(message) else REQUEST
    if model and (_CREDENTIALS(message) or _REASONS(str(fault.get("details")))):
        return DEPLOYMENT
    return REQUEST if _OBJECT(message) else UNCLEAR


def fault_of(body: bytes) -> dict[str, Any] | None:
    """The error object: by itself, under `error`, or in a list, which is how Gemini ends a stream that never began."""
    try:
        fault: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(fault, list) and fault:
        fault = fault[0]
    if isinstance(fault, dict):
        fault = fault.get("error", fault)
    if isinstance(fault, str):
        fault = {"message": fault}
    if not isinstance(fault, dict):
        return None
    if "message" not in fault and isinstance(fault.get("Message"), str):  # AWS' front door
        fault["message"] = fault.pop("Message")
    return fault


def _names(message: str, model: str) -> bool:
    return re.search(rf"(?<![\w.:-]){re.escape(model)}(?![\w/-]|\.\w)", message) is not None
