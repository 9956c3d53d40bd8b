"""Checks what passes between the gateway and a service against the service's OpenAPI document, both ways."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "contracts"


@cache
def documents() -> dict[str, Any]:
    """All contracts, by service."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}


class Contract:
    def __init__(self, name: str, document: Any) -> None:
        self._name = name
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(f"urn:{name}", resource)

    def operation(self, method: str, path: str) -> tuple[Any, list[str]]:
        """What the document says of a request, and where that stands."""
        for template, operations in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) and method.lower() in operations:
                return operations[method.lower()], ["paths", template, method.lower()]
        msg = f"{self._name}: {method} {path} is in no contract"
        raise AssertionError(msg)

    def check_request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        """The operation's id."""
        operation, place = self.operation(method, path)
        for i, parameter in enumerate(operation.get("parameters", [])):
            if parameter["in"] == "header":
                given = headers.get(parameter["name"])
                assert given is not None or not parameter.get("required"), f"{path}: {parameter['name']} is missing"
                if given is not None:
                    self._check(given, [*place, "parameters", str(i), "schema"])
        if "requestBody" in operation:
            media = headers["content-type"]
            assert media in operation["requestBody"]["content"], f"{path}: {media}"
            value = orjson.loads(body) if media == "application/json" else dict(parse_qsl(body.decode()))
            self._check(value, [*place, "requestBody", "content", media, "schema"])
        else:
            assert not body, f"{path} has a body"
        return str(operation["operationId"])

    def check_response(self, method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
        operation, place = self.operation(method, path)
        assert str(status) in operation["responses"], f"{self._name}: {method} {path} answers {status}"
        response, place = operation["responses"][str(status)], [*place, "responses", str(status)]
        if "$ref" in response:
            place = response["$ref"].removeprefix("#/").split("/")
            response = self.document["components"]["responses"][place[-1]]
        for media in response.get("content", {}):
            assert headers["content-type"].partition(";")[0] == media
            value = orjson.loads(body) if media == "application/json" else body.decode()
            self._check(value, [*place, "content", media, "schema"])

    def _check(self, value: Any, place: list[str]) -> None:
        pointer = "/".join(step.replace("~", "~0").replace("/", "~1") for step in place)
        schema = {"$ref": f"urn:{self._name}#/{pointer}"}
        Draft202012Validator(schema, registry=self._registry, format_checker=FormatChecker()).validate(value)


class Checked:
    """ASGI middleware around the reference services. What breaks a contract is in `broken`, what was seen in `seen`."""

    def __init__(self, app: Any, is_honest: Any) -> None:
        self._app = app
        self._is_honest = is_honest  # service -> whether it is to answer as the contract says
        self._contracts = {name: Contract(name, document) for name, document in documents().items()}
        self.broken: list[str] = []
        self.seen: set[tuple[str, str, int]] = set()  # service, operation, status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        service = scope["path"].split("/")[1] if scope["type"] == "http" else ""
        contract = self._contracts.get(service)
        path = scope.get("path", "").removeprefix(f"/{service}")
        if contract is None or path == "/token":
            await self._app(scope, receive, send)
            return
        # As it was sent, so that a name with a slash is one segment.
        path = scope["raw_path"].decode().partition("?")[0].removeprefix(f"/{service}")
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        told, status, answer, out = False, 0, b"", {}

        async def replayed() -> Any:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def heard(message: Any) -> None:
            nonlocal status, answer, out
            if message["type"] == "http.response.start":
                status, out = message["status"], _texts(message["headers"])
            else:
                answer += message.get("body", b"")
            await send(message)

        is_honest = self._is_honest(service)
        await self._app(scope, replayed, heard)
        try:
            operation = contract.check_request(scope["method"], path, _texts(scope["headers"]), body)
            if is_honest and self._is_honest(service):
                contract.check_response(scope["method"], path, status, out, answer)
                self.seen.add((service, operation, status))
        except Exception as error:
            self.broken.append(f"{service} {scope['method']} {path}: {error}")


def _texts(headers: Any) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in headers}
