"""Keys over HTTP."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from starlette.requests import Request

from tests.support.app import ADMIN_KEY, running_app, settings
from tests.support.asgi import http_scope
from tests.support.client import checked_error
from tests.support.gateway import KEY, MASTER_KEY
from tollhouse.gateway import admin
from tollhouse.gateway.admin import MAX_BODY, KeyAdmin
from tollhouse.gateway.keyring import KeyRing
from tollhouse.middlewares.errors import Forbidden

KEYS = "/admin/keys"
ADMIN = [(b"x-admin-api-key", ADMIN_KEY.encode())]


@pytest.fixture
async def app(tmp_path):
    async with running_app(tmp_path) as running:
        yield running


async def _create(app, body):
    return await app.post(body, path=KEYS, key=None, headers=ADMIN)


async def _list(app):
    return await app.send(KEYS, key=None, headers=ADMIN)


async def _revoke(app, name):
    return await app.send(f"{KEYS}/{name}", method="DELETE", key=None, headers=ADMIN)


async def test_a_key_is_shown_once_and_works_at_once(app):
    response = await _create(app, {"name": "app", "team": "acme", "models": ["tollhouse/*"]})
    assert response.status == 201
    made = response.json
    assert made["key"].startswith(f"sk-th-{made['id']}-")
    assert (made["name"], made["team"], made["models"]) == ("app", "acme", ["tollhouse/*"])
    assert (made["expires_at"], made["revoked_at"]) == (None, None)
    listed = await _list(app)
    assert listed.json["data"] == [{name: value for name, value in made.items() if name != "key"}]
    assert made["key"].rpartition("-")[2] not in listed.body.decode()
    answer = await app.chat("tollhouse/echo", key=made["key"])
    assert answer.status == 200
    assert (app.log[-1]["key_id"], app.log[-1]["team"]) == (made["id"], "acme")


async def test_keys_are_listed_page_by_page(app):
    made = [(await _create(app, {"name": name})).json["id"] for name in "abcde"]
    first = (await app.send(f"{KEYS}?limit=2", key=None, headers=ADMIN)).json
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (made[:2], True)
    rest = (await app.send(f"{KEYS}?limit=3&after={made[1]}", key=None, headers=ADMIN)).json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[2:], False)
    tail = (await app.send(f"{KEYS}?after={made[3]}", key=None, headers=ADMIN)).json
    assert [one["id"] for one in tail["data"]] == made[4:]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
async def test_all_keys_are_one_list_however_many_there_are(app, monkeypatch, count):
    monkeypatch.setattr(admin, "PAGE", 3)
    made = [(await _create(app, {"name": str(i)})).json["id"] for i in range(count)]
    assert [one["id"] for one in (await _list(app)).json["data"]] == made


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 400, "invalid_value"),
        ("limit=1001", 400, "invalid_value"),
        ("limit=x", 400, "invalid_value"),
        ("limit=-1", 400, "invalid_value"),
        ("after=nobody", 404, "key_not_found"),
        ("after=nobody&limit=5", 404, "key_not_found"),
        ("page=2", 400, "unknown_parameter"),
    ],
)
async def test_pages_that_cannot_be_are_refused(app, query, status, code):
    response = await app.send(f"{KEYS}?{query}", key=None, headers=ADMIN)
    assert response.status == status
    checked_error(response.body, code)


async def test_a_revoked_key_opens_nothing_from_that_moment(app):
    made = (await _create(app, {})).json
    assert made["name"] == "unnamed"
    assert (await app.send("/v1/models", key=made["key"])).status == 200
    assert (await _revoke(app, made["id"])).json == {"id": made["id"], "revoked": True}
    assert (await app.send("/v1/models", key=made["key"])).status == 401
    (record,) = (await _list(app)).json["data"]
    assert record["revoked_at"] is not None
    again = await _revoke(app, made["id"])
    assert again.status == 404
    checked_error(again.body, "key_not_found")


async def test_a_key_without_models_may_use_none(app):
    made = (await _create(app, {"models": []})).json
    assert (await app.chat("tollhouse/echo", key=made["key"])).status == 403
    assert (await app.send("/v1/models", key=made["key"])).json["data"] == []


async def test_an_ambiguous_name_revokes_nothing(app):
    for _ in range(2):
        await _create(app, {"name": "twin"})
    response = await _revoke(app, "twin")
    assert response.status == 409
    checked_error(response.body, "key_ambiguous")
    assert all(record["revoked_at"] is None for record in (await _list(app)).json["data"])


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        ({"nmae": "x"}, "unknown_parameter", "nmae"),
        ({"name": 7}, "invalid_type", "name"),
        ({"name": ""}, "invalid_type", "name"),
        ({"name": "x" * 201}, "invalid_type", "name"),
        ({"team": []}, "invalid_type", "team"),
        ({"models": "gpt-4o"}, "invalid_type", "models"),
        ({"models": [1]}, "invalid_type", "models"),
    ],
)
async def test_a_bad_wish_is_400_and_makes_nothing(app, body, code, param):
    response = await _create(app, body)
    assert response.status == 400
    checked_error(response.body, code, param=param)
    assert (await _list(app)).json["data"] == []


async def test_a_large_body_is_413(app):
    response = await _create(app, [b'{"name":"', b"x" * MAX_BODY, b'"}'])
    assert response.status == 413
    checked_error(response.body, "request_too_large")


async def test_a_store_that_fails_is_503(app, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "tollhouse.db")) as db:
        db.execute("DROP TABLE keys")
    for response in (await _list(app), await _create(app, {}), await _revoke(app, "x")):
        assert response.status == 503
        checked_error(response.body, "key_store_unavailable")


@pytest.mark.parametrize("key", [ADMIN_KEY[:-1], "", MASTER_KEY])
async def test_only_the_very_admin_key_is_the_admin_key(app, key):
    response = await app.send(KEYS, key=MASTER_KEY, headers=[(b"x-admin-api-key", key.encode())])
    assert response.status == 401
    checked_error(response.body, "invalid_admin_key")


async def test_without_an_admin_key_the_master_key_is_it(tmp_path):
    async with running_app(tmp_path, general_settings={"master_key": MASTER_KEY}) as app:
        for headers, key in (([(b"x-admin-api-key", MASTER_KEY.encode())], None), ([], MASTER_KEY)):
            assert (await app.send(KEYS, key=key, headers=headers)).status == 200


async def test_without_any_admin_key_nobody_is_admin(tmp_path):
    async with running_app(tmp_path, general_settings={}) as app:
        assert (await app.send(KEYS, key=KEY)).status == 403
        for given in (b"", b"None", ADMIN_KEY.encode()):
            assert (await app.send(KEYS, key=KEY, headers=[(b"x-admin-api-key", given)])).status == 401


async def test_the_endpoints_open_to_nobody_if_the_stage_in_front_is_missing(tmp_path):
    admin = KeyAdmin(KeyRing(settings(tmp_path)))
    for endpoint in (admin.list, admin.create, admin.revoke):
        with pytest.raises(Forbidden):
            await endpoint(Request(http_scope(KEYS)))
