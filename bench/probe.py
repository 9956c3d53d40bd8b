"""What a started gateway does with single requests: whether it serves, asks for a key and looks into texts."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

from bench.environments import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.processes import Running

PATH = "/v1/chat/completions"
# Made up, and in the form that scanners know.
SECRET = "ghp_" + "q3Wn7ZpL0rT8vYx2KdMc5HsJf9BgUa4EoRiN"


def check(target: Running, headers: Sequence[str], model: str) -> dict[str, int]:
    """Statuses of a request without a key and of one with a secret in it.

    Raises `Unavailable` where a plain request is not answered.
    """
    own = dict(header.split(": ", 1) for header in headers)
    status, text = _ask(target, own, model, "Hello.")
    if status != 200:
        raise Unavailable(f"answers {status}: {text[:300]}")
    nameless = {name: value for name, value in own.items() if name == "x-portkey-config"}
    return {
        "without_key": _ask(target, nameless, model, "Hello.")[0],
        "with_secret": _ask(target, own, model, f"My token is {SECRET} and nobody knows.")[0],
    }


def _ask(target: Running, headers: dict[str, str], model: str, text: str) -> tuple[int, str]:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 16})
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    try:
        connection.request("POST", PATH, body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"does not answer: {error!r}") from error
    finally:
        connection.close()
