"""Bodies that are passed through: their model and texts are known, every other byte stays as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import orjson

from tollhouse._native import RequestError, RequestView
from tollhouse.gateway.passthrough.form import boundary_of, fields_of
from tollhouse.middlewares.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.config.settings import BodyLimits

    # JSON that came -> JSON that may go on. Raises Refusal.
    Check = Callable[[bytes], bytes]


class Payload(Protocol):
    """A body that was read."""

    content_type: bytes

    @property
    def model(self) -> str | None: ...

    @property
    def text_bytes(self) -> int:
        """Of what a model reads as text; no more than that."""

    def scan(self, check: Check) -> None:
        """Replace what must not go on. Raises Refusal."""

    def with_model(self, model: str) -> bytes:
        """What goes upstream."""


class Nothing:
    """No body."""

    content_type = b""
    model = None
    text_bytes = 0

    def scan(self, check: Check) -> None: ...

    def with_model(self, model: str) -> bytes:
        del model
        return b""


class JsonPayload:
    """A JSON object, parsed as strictly as a conversation."""

    content_type = b"application/json"

    def __init__(self, body: bytes, limits: BodyLimits) -> None:
        try:
            self._view = RequestView.parse(body, "other", max_depth=limits.max_depth, max_nodes=limits.max_nodes)
        except RequestError as error:
            raise BadRequest(error.message, param=error.param, code=error.code) from None

    @property
    def model(self) -> str | None:
        return self._view.model

    @property
    def text_bytes(self) -> int:
        return len(self._view.body)

    def scan(self, check: Check) -> None:
        passed = check(self._view.body)
        if passed is not self._view.body:
            self._view = self._view.replaced(passed)

    def with_model(self, model: str) -> bytes:
        return self._view.rewrite(model=None if model in {"", self._view.model} else model)


class FormPayload:
    """A multipart form. Its texts are scanned, and those of its files that are text."""

    def __init__(self, body: bytes, content_type: bytes, boundary: bytes) -> None:
        self.content_type = content_type
        self._body = body
        self._boundary = boundary
        self._fields = fields_of(body, boundary)
        named = [field for field in self._fields if field.name == "model"]
        if len(named) > 1 or any(field.is_file for field in named):
            msg = "model must be one field that is a text"
            raise BadRequest(msg, param="model", code="invalid_type")
        self._model = named[0] if named else None
        self._texts: dict[int, str] = {}  # by the place in `_fields`
        for index, field in enumerate(self._fields):
            text = _text(body[field.start : field.end])
            if text is not None:
                self._texts[index] = text
            elif not field.is_file:
                msg = "a field is not UTF-8"
                raise BadRequest(msg, param=field.name, code="invalid_encoding")
        self._given = dict(self._texts)

    @property
    def model(self) -> str | None:
        if self._model is None:
            return None
        return self._texts[self._fields.index(self._model)] or None

    @property
    def text_bytes(self) -> int:
        return sum(field.end - field.start for field in self._fields if not field.is_file)

    def scan(self, check: Check) -> None:
        given = orjson.dumps(list(self._texts.values()))
        passed = check(given)
        if passed is not given:
            self._texts = dict(zip(self._texts, orjson.loads(passed), strict=True))
        if any(b"--" + self._boundary in text.encode() for text in self._texts.values()):
            msg = "the form cannot be read: a field holds its boundary"
            raise BadRequest(msg, code="invalid_form")

    def with_model(self, model: str) -> bytes:
        texts = dict(self._texts)
        if self._model is not None and model:
            texts[self._fields.index(self._model)] = model
        pieces, at = [], 0
        for index, text in texts.items():
            if text != self._given[index]:
                field = self._fields[index]
                pieces += [self._body[at : field.start], text.encode()]
                at = field.end
        return b"".join([*pieces, self._body[at:]]) if pieces else self._body


def payload_of(body: bytes, content_type: bytes, limits: BodyLimits) -> Payload:
    """By the media type. Raises BadRequest for what is neither JSON nor a multipart form."""
    boundary = boundary_of(content_type)
    if boundary is not None:
        return FormPayload(body, content_type.strip(), boundary)
    media = content_type.partition(b";")[0].strip().lower()
    # Without a type it is taken for JSON, as everywhere; what is none is refused as that.
    if media in {b"", b"application/json"}:
        return JsonPayload(body, limits)
    msg = "the body must be application/json or multipart/form-data"
    raise BadRequest(msg, status=415, code="unsupported_media_type", retry=False)


def _text(value: bytes) -> str | None:
    """A value as text; None for what is none (images, sound, PDF)."""
    if b"\0" in value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
