"""What a request for embeddings becomes for each family of models, and their answers for its caller.

Golden file: what is sent and told. `GOLDEN_UPDATE=1` writes it anew; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tollhouse._native import RequestError, RequestView, embedding_answer, embedding_calls, translate_request

GOLDEN = Path(__file__).parent / "golden"
REQUEST: dict[str, Any] = {
    "model": "m",
    "input": ["Die Br\u00fccke", "the gate \U0001f600"],
    "dimensions": 256,
    "encoding_format": "float",
    "user": "me",
    "input_type": "search_query",
    "task_type": "RETRIEVAL_QUERY",
    "normalize": False,
}
# As they are documented, for each call of the request.
ANSWERS: dict[str, list[tuple[dict[str, Any], int | None]]] = {
    "titan": [({"embedding": [0.1, -2e-05], "inputTextTokenCount": n, "embeddingsByType": {}}, None) for n in (3, 4)],
    "nova": [({"embeddings": [{"embeddingType": "TEXT", "embedding": [0.1, -2e-05]}]}, n) for n in (3, 4)],
    "cohere": [({"embeddings": [[0.1, -2e-05], [1, 0]], "response_type": "embeddings_floats", "texts": ["", ""]}, 7)],
    "vertex": [
        (
            {
                "predictions": [
                    {"embeddings": {"values": [0.1, -2e-05], "statistics": {"truncated": False, "token_count": n}}}
                    for n in (3, 4.0)
                ]
            },
            None,
        )
    ],
}


def _told(dialect: str) -> dict[str, Any]:
    view = RequestView.parse(json.dumps(REQUEST).encode(), "embeddings")
    calls, is_base64, warnings = embedding_calls(view, dialect)
    assert not is_base64
    told = zip(calls, ANSWERS[dialect], strict=True)
    parts = [(json.dumps(body).encode(), texts, tokens) for (_, texts), (body, tokens) in told]
    return {
        "sent": [json.loads(body) for body, _ in calls],
        "warnings": warnings,
        "answer": json.loads(embedding_answer(parts, dialect, model="the-model")),
        "base64": json.loads(embedding_answer(parts, dialect, model="the-model", base64=True))["data"],
    }


@pytest.mark.parametrize("dialect", ANSWERS)
def test_every_family_says_what_the_golden_file_says(dialect):
    path = GOLDEN / "embeddings.json"
    if os.environ.get("GOLDEN_UPDATE"):
        path.write_text(json.dumps({name: _told(name) for name in ANSWERS}, indent=1) + "\n", encoding="utf-8")
    assert _told(dialect) == json.loads(path.read_text(encoding="utf-8"))[dialect]


def test_what_is_wrong_is_said_as_such():
    view = RequestView.parse(b'{"model":"m","input":[1,2]}', "embeddings")
    with pytest.raises(RequestError) as caught:
        embedding_calls(view, "titan")
    assert (caught.value.param, caught.value.code) == ("input", "unsupported_value")
    with pytest.raises(ValueError, match="unknown dialect"):
        embedding_calls(view, "none")
    with pytest.raises(ValueError, match="unknown dialect"):
        embedding_answer([], "none", model="m")
    with pytest.raises(ValueError, match="not as documented"):
        embedding_answer([(b"{}", 1, None)], "titan", model="m")


@pytest.mark.parametrize("caller", ["chat", "responses", "completions"])
def test_vertex_is_told_messages_without_the_models_name(caller):
    body = (GOLDEN / "dialects" / "requests" / f"{caller}.json").read_bytes()
    view = RequestView.parse(body, caller)
    plain, lost = translate_request(view, "messages", model="claude-sonnet-4-5@20250929")
    vertex, also_lost = translate_request(view, "vertex-messages", model="claude-sonnet-4-5@20250929")
    expected = json.loads(plain)
    assert expected.pop("model") == "claude-sonnet-4-5@20250929"
    assert json.loads(vertex) == {"anthropic_version": "vertex-2023-10-16"} | expected
    assert lost == also_lost
