"""Multipart forms: what is read, and what is refused because two parsers could read it differently."""

from __future__ import annotations

import re

import pytest

from tests.gateway.passthrough.provider import BOUNDARY, FORM, form
from tollhouse.config.settings import BodyLimits
from tollhouse.gateway.passthrough.payload import FormPayload, JsonPayload, Payload, payload_of
from tollhouse.middlewares.errors import BadRequest

TYPE = FORM[b"content-type"]
GOOD = form(("model", b"m"), ("prompt", "käse".encode()), ("image", b"\x89PNG\r\n--\0", "a.png"))


def read(body: bytes, content_type: bytes = TYPE) -> Payload:
    return payload_of(body, content_type, BodyLimits())


def test_a_form_is_read_and_goes_on_byte_for_byte() -> None:
    payload = read(GOOD)
    assert payload.model == "m"
    assert payload.with_model("m") is GOOD
    assert payload.with_model("") is GOOD
    assert payload.content_type == TYPE


def test_the_model_is_replaced_and_nothing_else() -> None:
    assert read(GOOD).with_model("longer-name") == GOOD.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nlonger-name\r\n")


def test_texts_are_scanned_and_images_are_not() -> None:
    seen = []

    def check(given: bytes) -> bytes:
        seen.append(given)
        return given.replace("käse".encode(), b"<CHEESE>")

    payload = read(GOOD)
    payload.scan(check)
    assert seen == ['["m","käse"]'.encode()]
    assert payload.with_model("m") == GOOD.replace("käse".encode(), b"<CHEESE>")


def test_a_file_that_is_text_is_scanned() -> None:
    body = form(("purpose", b"batch"), ("file", b'{"a":"secret"}\n{}\n', "a.jsonl"))
    payload = read(body)
    payload.scan(lambda given: given.replace(b"secret", b"<S>"))
    assert payload.with_model("") == body.replace(b"secret", b"<S>")


def test_what_a_scan_puts_in_cannot_end_the_field() -> None:
    payload = read(GOOD)
    with pytest.raises(BadRequest, match="boundary"):
        payload.scan(lambda given: given.replace(b'"m"', f'"x\\r\\n--{BOUNDARY}--"'.encode()))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(GOOD[:-4] + b"-\r\n", "boundary", id="end is cut"),
        pytest.param(GOOD[:-2] + b"\r\n\r\nmore", "follows", id="something behind the end"),
        pytest.param(b"preamble\r\n" + GOOD, "begin", id="something before the beginning"),
        pytest.param(GOOD.replace(b"form-data; ", b"form-data;  ", 1), "description", id="two spaces"),
        pytest.param(GOOD.replace(b'name="model"', b"name=model"), "description", id="no quotes"),
        pytest.param(GOOD.replace(b'name="model"', b'name="x"; name="model"'), "description", id="two names"),
        pytest.param(GOOD.replace(b'name="model"', b'name="x\\"; name="model"'), "description", id="escaped quote"),
        pytest.param(
            GOOD.replace(b"Content-Disposition", b"Content-Disposition ", 1), "header", id="space before colon"
        ),
        pytest.param(
            GOOD.replace(b"\r\n\r\nm", b'\r\nContent-Disposition: form-data; name="x"\r\n\r\nm'), "two", id="two heads"
        ),
        pytest.param(
            GOOD.replace(b"\r\n\r\nm", b"\r\nContent-Transfer-Encoding: base64\r\n\r\nm"), "encoded", id="base64"
        ),
        # Go ends lines with a bare LF, too: it would read the first of these descriptions.
        pytest.param(
            GOOD.replace(
                b"Content-Disposition", b'X: y\nContent-Disposition: form-data; name="z"\r\nContent-Disposition'
            ),
            "line end",
            id="bare LF in a head",
        ),
        pytest.param(GOOD.replace(b'"a.png"', b'"a.png"\r\nX: y\rz'), "line end", id="bare CR in a head"),
        # Go ends an empty field there, others see content.
        pytest.param(
            form(("x", b"--%b\r\n" % BOUNDARY.encode()), ("model", b"m")), "boundary", id="boundary at once in a field"
        ),
        pytest.param(
            form(("x", b'y\n--%b\nContent-Disposition: form-data; name="model"\n\nz' % BOUNDARY.encode())),
            "boundary",
            id="boundary after a bare LF",
        ),
        pytest.param(b"", "begin", id="nothing"),
        pytest.param(form(*[("a", b"")] * 201), "more than", id="too many fields"),
    ],
)
def test_an_unusual_form_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read(body)


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/mixed; boundary=x",
        b"multipart/form-data; boundary=x; boundary=y",
        b"multipart/form-data; charset=utf-8; boundary=x",
    ],
)
def test_an_unusual_media_type_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadRequest, match="one boundary"):
        read(GOOD, content_type)


def test_the_model_is_one_text() -> None:
    for body in (form(("model", b"a"), ("model", b"b")), form(("model", b"a", "a.txt"))):
        with pytest.raises(BadRequest, match="model must be one field"):
            read(body)
    with pytest.raises(BadRequest, match="not UTF-8"):
        read(form(("model", b"\xff")))


def test_forms_of_real_clients_are_read() -> None:
    quoted = TYPE.replace(BOUNDARY.encode(), f'"{BOUNDARY}"'.encode())
    assert read(GOOD, quoted).model == "m"
    # Node writes lower-case names and a star for what is no ASCII.
    node = GOOD.replace(b"Content-Disposition", b"content-disposition")
    node = node.replace(b'filename="a.png"', b"filename=\"a.png\"; filename*=utf-8''a.png")
    assert read(node).model == "m"


def test_json_is_read_as_strictly_as_a_conversation() -> None:
    payload = read(b'{"model":"m","input":"x"}', b"application/json; charset=utf-8")
    assert isinstance(payload, JsonPayload)
    assert payload.with_model("n") == b'{"model":"n","input":"x"}'
    for bad in (b'{"model":"a","model":"b"}', b'{"model":NaN}', b"[]", b'{"model":1}', b"{"):
        with pytest.raises(BadRequest):
            read(bad, b"application/json")


def test_other_media_types_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        read(b"a=b", b"application/x-www-form-urlencoded")
    assert caught.value.status == 415
    assert re.search("multipart", caught.value.message)


def test_a_form_without_a_model_has_none() -> None:
    payload = read(form(("purpose", b"batch"), ("file", b"\0", "a")))
    assert isinstance(payload, FormPayload)
    assert payload.model is None
    assert payload.text_bytes == len(b"batch")
