"""Bodies of providers' refusals, and whose fault they are."""

from __future__ import annotations

import orjson
import pytest

from tollhouse.providers import causes
from tollhouse.providers.refusals import DEPLOYMENT, REQUEST, UNCLEAR, whose

MODEL = "gpt-5"


def _openai(message, code=None, param=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _anthropic(kind, message):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _google(status, word, message, *reasons):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason} for reason in reasons]
    return {"error": {"code": status, "message": message, "status": word, "details": details}}


def _whose(status, body, model: str | None = MODEL):
    return whose(status, body if isinstance(body, bytes) else orjson.dumps(body), model=model)


MISSING_MODELS = [
    _openai("The model `gpt-5` does not exist or you do not have access to it.", "model_not_found"),
    _openai("The model 'gpt-5' does not exist"),
    {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
    _anthropic("not_found_error", "model: gpt-5"),
    _google(404, "NOT_FOUND", "models/gpt-5 is not found for API version v1beta, or is not supported."),
    _google(404, "NOT_FOUND", "Publisher Model `projects/p/publishers/google/models/gpt-5` was not found."),
    {"error": "model 'gpt-5' not found"},
    {"error": 'model "gpt-5:latest" not found, try pulling it first'},
    {"object": "error", "message": "The model `gpt-5` does not exist.", "type": "NotFoundError", "code": 404},
    _openai("No endpoints found for gpt-5."),
]
MISSING_OBJECTS = [
    _openai("Item with id 'rs_x' not found. Items are not persisted when `store` is set to false.", None, "input"),
    _openai("Previous response with id 'resp_x' not found.", "previous_response_not_found", "previous_response_id"),
    _openai("Conversation with id 'conv_x' not found."),
    _openai("Vector store with id ['vs_x'] not found."),
    _openai("No such File object: file-x"),
    _openai("This is a chat model and not supported in the v1/completions endpoint.", None, "model"),
    _openai("This model is only supported in v1/responses and not in v1/chat/completions.", None, "model"),
    _anthropic("not_found_error", "File not found: file_x"),
    _anthropic("not_found_error", "Container container_x not found."),
    _google(404, "NOT_FOUND", "CachedContent cachedContents/x not found."),
    _openai("No endpoints found that support tool use."),
    {"message": "The requested file was not found."},
    # Names that a caller has thought of
    _openai("Item with id 'model: gpt-5' not found."),
    _openai("Item with id 'model_not_found: The model `gpt-5` does not exist' not found."),
    _openai("Conversation with id '404 page not found' not found."),
]
MISSING_PATHS = [
    b"",
    b"404 page not found",
    b"<html><body>Not Found</body></html>",
    b"{}",
    {"detail": "Not Found"},
    _openai("Invalid URL (POST /v1/v1/chat/completions)"),
    {"error": {"code": "404", "message": "Resource not found"}},
    _anthropic("not_found_error", "Not Found"),
]


@pytest.mark.parametrize("body", MISSING_MODELS)
def test_a_model_that_is_missing_is_the_deployments_fault(body):
    assert _whose(404, body) == DEPLOYMENT


@pytest.mark.parametrize("body", MISSING_OBJECTS)
def test_what_only_the_request_names_is_its_own_fault(body):
    assert _whose(404, body) == REQUEST


@pytest.mark.parametrize("body", MISSING_PATHS)
def test_a_path_that_is_missing_may_be_one_that_others_do_not_ask_for(body):
    assert _whose(404, body) == UNCLEAR


@pytest.mark.parametrize("body", MISSING_MODELS + MISSING_PATHS)
def test_a_model_that_the_caller_named_is_the_requests_fault(body):
    assert _whose(404, body, model=None) == REQUEST


@pytest.mark.parametrize("name", ["gpt-image-9", "gpt-5-nope", "not-gpt-5", "gpt-5.1"])
def test_another_model_may_be_that_of_a_tool(name):
    assert _whose(404, _openai(f"The model `{name}` does not exist.", "model_not_found")) == UNCLEAR


@pytest.mark.parametrize(
    "body",
    [
        _openai("Project `proj_x` does not have access to model `gpt-5`", "model_not_found"),
        _openai("Country, region, or territory not supported", "unsupported_country_region_territory"),
        {"message": "The security token included in the request is invalid."},
        {"Message": "The security token included in the request is expired"},
        {"message": "You don't have access to the model with the specified model ID."},
        _google(403, "PERMISSION_DENIED", "Gemini API has not been used in project 1 before.", "SERVICE_DISABLED"),
        _google(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        {"error": {"code": "AccessDenied", "message": "Access denied due to Virtual Network/Firewall rules."}},
    ],
)
def test_credentials_that_may_not_use_the_model_are_the_deployments_fault(body):
    assert _whose(403, body) == DEPLOYMENT
    assert _whose(403, body, model=None) == UNCLEAR, "they may use another one that a caller names"


@pytest.mark.parametrize(
    "body",
    [
        _google(403, "PERMISSION_DENIED", "You do not have permission to access the File x or it may not exist."),
        _google(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)"),
        _openai("You do not have access to the vector store vs_x."),
        _openai("You do not have access to this conversation."),
        _openai("You are not allowed to generate embeddings from this model"),
    ],
)
def test_what_only_the_request_names_may_be_forbidden(body):
    assert _whose(403, body) == REQUEST


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>blocked by a firewall that has read the prompt</html>",
        _openai("no"),
        _openai("Your organization must be verified to use the model `gpt-image-1`."),
        _anthropic("permission_error", "Your API key does not have permission to use the specified resource."),
        {"message": "User: arn:aws:iam::1:user/file is not authorized to perform: bedrock:ApplyGuardrail"},
        {"error": {"message": "no", "code": {}}},
    ],
)
def test_what_is_forbidden_for_a_reason_that_nobody_knows_is_unclear(body):
    assert _whose(403, body) == UNCLEAR


def test_credentials_that_are_wrong_are_so_for_everybody():
    for body in (b"", _openai("Incorrect API key provided: sk-x", "invalid_api_key"), _openai("no file")):
        assert _whose(401, body) == DEPLOYMENT
    scopes = "You have insufficient permissions for this operation. Missing scopes: api.responses.write."
    assert _whose(401, _openai(scopes)) == UNCLEAR


@pytest.mark.parametrize(
    ("status", "body", "cause", "is_doubtful"),
    [
        (404, MISSING_MODELS[0], "auth", False),
        (404, MISSING_OBJECTS[0], "request", False),
        (404, MISSING_PATHS[-1], "auth", True),
        (403, _openai("no"), "auth", True),
        (403, _openai("Content violates usage guidelines."), "content_policy", False),
        (403, _openai("gpt-5 requires moderation, and your input was flagged"), "content_policy", False),
        (400, MISSING_MODELS[0], "request", False),
    ],
)
def test_whose_fault_it_is_says_why(status, body, cause, is_doubtful):
    failure = causes.of_status(status, orjson.dumps(body), model=MODEL)
    assert (failure.cause, failure.is_doubtful) == (cause, is_doubtful)
