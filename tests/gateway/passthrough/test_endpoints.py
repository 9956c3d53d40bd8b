"""Endpoints that are passed through, over real sockets to a provider that plays its part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateway.passthrough.provider import (
    ADMIN,
    ALICE,
    BATCH_OUTPUT,
    BOB,
    FORM,
    NARROW,
    SOUND,
    USAGE,
    Provider,
    form,
)
from tests.support.app import App, running_app
from tests.support.client import events_of
from tests.support.gateway import model
from tollhouse.gateway.passthrough import Owners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.asgi import Response

PRICES = {"openai/*": {"input": 1, "output": 2}}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
async def app(provider: Provider, tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path, **provider.config(prices=PRICES)) as running:
        yield running


async def upload(app: App, key: str = ALICE, content: bytes = b"{}\n", **more: Any) -> Response:
    body = form(("purpose", b"batch"), ("file", content, "in.jsonl"))
    return await app.post(body, path=more.pop("path", "/v1/files"), key=key, headers=list(FORM.items()), **more)


async def test_json_goes_to_the_models_provider_with_its_name_there(app: App, provider: Provider) -> None:
    body = b'{"prompt": "a cat",  "model" : "draws"}'
    response = await app.post(body, path="/v1/images/generations", key=ALICE)
    assert response.status == 200
    assert response.json["path"] == "/images/generations"
    assert provider.last.body == body.replace(b"draws", b"gpt-image-1")
    assert provider.last.headers["authorization"] == "Bearer sk-up"
    assert response.header("x-gateway-provider") == "openai"
    # 3 tokens at 1 and 4 at 2 dollars per million.
    assert response.header("x-gateway-cost-usd") == "0.000011"


async def test_a_form_passes_byte_for_byte_with_its_media_type(app: App, provider: Provider) -> None:
    body = form(("model", b"openai/whisper-1"), ("file", SOUND, "a.mp3"))
    response = await app.post(body, path="/v1/audio/transcriptions", key=ALICE, headers=list(FORM.items()))
    assert response.status == 200
    assert provider.last.body == body.replace(b"openai/whisper-1", b"whisper-1")
    assert provider.last.headers["content-type"] == FORM[b"content-type"].decode()


async def test_sound_passes_as_it_comes(app: App) -> None:
    response = await app.post({"model": "draws", "input": "hi", "voice": "x"}, path="/v1/audio/speech", key=ALICE)
    assert (response.status, response.header("content-type")) == (200, "audio/mpeg")
    assert response.body == SOUND


async def test_sound_that_breaks_off_has_no_clean_end(app: App) -> None:
    client = app.client("/v1/audio/speech", key=ALICE, body={"model": "draws", "input": "cut-off"})
    response = await client.run()
    assert not response.complete
    assert app.log[-1]["error"] == "upstream_truncated"


async def test_events_of_images_pass_and_their_usage_is_charged(app: App) -> None:
    body = b'{"model":"draws","prompt":"a cat","stream":true}'
    response = await app.post(body, path="/v1/images/generations", key=ALICE)
    events = [orjson.loads(event) for event in events_of(response.body)]
    assert [event["type"] for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert response.header("content-type") == "text/event-stream"
    assert app.log[-1]["completion_tokens"] == USAGE["output_tokens"]


async def test_an_error_of_the_provider_has_our_shape(app: App) -> None:
    response = await app.post({"model": "draws", "prompt": "fail-please"}, path="/v1/images/generations", key=ALICE)
    assert response.status == 418
    assert response.json["error"] == {"message": "no luck", "type": "x", "param": None, "code": "77"}


async def test_models_are_routed_and_refused_as_everywhere(app: App) -> None:
    for body, status, code in (
        ({"prompt": "x"}, 400, "missing_required_parameter"),
        ({"model": "no-such", "prompt": "x"}, 404, "model_not_found"),
        ({"model": "tollhouse/echo", "prompt": "x"}, 400, "unsupported_endpoint"),
    ):
        response = await app.post(body, path="/v1/images/generations", key=ALICE)
        assert (response.status, response.json["error"]["code"]) == (status, code)
    response = await app.post({"model": "openai/x", "prompt": "x"}, path="/v1/images/generations", key=NARROW)
    assert (response.status, response.json["error"]["code"]) == (403, "model_not_allowed")


async def test_a_moderation_without_a_model_asks_for_the_usual_one(provider: Provider, tmp_path: Path) -> None:
    name = "omni-moderation-latest"
    listed = [model(name, provider.base_url, upstream=f"openai/{name}")]
    async with running_app(tmp_path, **provider.config(model_list=listed)) as app:
        response = await app.post({"input": "x"}, path="/v1/moderations", key=ALICE)
        assert response.status == 200
        assert response.header("x-gateway-cost-usd") == "0.00"


async def test_a_body_over_the_cap_is_refused(provider: Provider, tmp_path: Path) -> None:
    async with running_app(tmp_path, **provider.config(body={"max_bytes": 2048, "max_upload_bytes": 4096})) as app:
        assert (await upload(app, content=b"x" * 3000)).status == 200
        assert (await upload(app, content=b"x" * 5000)).status == 413


class TestFiles:
    async def test_a_file_is_its_makers_alone(self, app: App, provider: Provider) -> None:
        name = (await upload(app)).json["id"]
        for path in (f"/v1/files/{name}", f"/v1/files/{name}/content"):
            assert (await app.send(path, key=ALICE)).status == 200
            asked = len(provider.log.requests)
            refused = await app.send(path, key=BOB)
            assert (refused.status, refused.json["error"]["code"]) == (404, "not_found")
            assert len(provider.log.requests) == asked, "nobody asked the provider"
            assert (await app.send(path, key=ADMIN)).status == 200
        assert (await app.send(f"/v1/files/{name}", method="DELETE", key=BOB)).status == 404
        assert (await app.send(f"/v1/files/{name}", method="DELETE", key=ALICE)).status == 200
        assert (await app.send(f"/v1/files/{name}", key=ALICE)).status == 404

    async def test_content_passes_as_it_is(self, app: App) -> None:
        name = (await upload(app)).json["id"]
        response = await app.send(f"/v1/files/{name}/content", key=ALICE)
        assert response.body == BATCH_OUTPUT
        assert response.header("content-type") == "application/octet-stream"

    async def test_a_list_holds_ones_own(self, app: App, provider: Provider) -> None:
        mine, theirs = [(await upload(app, key)).json["id"] for key in (ALICE, BOB)]
        listed = (await app.send("/v1/files?limit=2&provider=openai", key=ALICE)).json["data"]
        assert [entry["id"] for entry in listed] == [mine]
        assert provider.last.path == "/v1/files?limit=2"
        everything = (await app.send("/v1/files", key=ADMIN)).json["data"]
        assert [entry["id"] for entry in everything] == [mine, theirs]

    async def test_files_survive_a_restart(self, provider: Provider, tmp_path: Path) -> None:
        async with running_app(tmp_path, **provider.config()) as app:
            name = (await upload(app)).json["id"]
        async with running_app(tmp_path, **provider.config()) as app:
            assert (await app.send(f"/v1/files/{name}", key=ALICE)).status == 200
            assert (await app.send(f"/v1/files/{name}", key=BOB)).status == 404

    async def test_ids_that_are_none_reach_nobody(self, app: App, provider: Provider) -> None:
        for name in ("..", "a%2Fb", ".hidden", "a b", "x" * 300):
            assert (await app.send(f"/v1/files/{name}", key=ADMIN)).status == 404
        assert not provider.log.requests

    async def test_a_provider_has_to_be_told_if_there_are_several(self, provider: Provider, tmp_path: Path) -> None:
        listed = [*provider.models, provider.models[0] | {"model_name": "other"}]
        listed[-1] = {"model_name": "other", "litellm_params": listed[-1]["litellm_params"] | {"model": "groq/x"}}
        async with running_app(tmp_path, **provider.config(model_list=listed)) as app:
            refused = await upload(app)
            assert (refused.status, refused.json["error"]["code"]) == (400, "unknown_provider")
            assert "groq, openai" in refused.json["error"]["message"]
            assert (await upload(app, path="/v1/files?provider=groq")).header("x-gateway-provider") == "groq"
            headers = [*FORM.items(), (b"custom-llm-provider", b"openai")]
            body = form(("purpose", b"batch"), ("file", b"{}", "a"))
            told = await app.post(body, path="/v1/files", key=ALICE, headers=headers)
            assert told.header("x-gateway-provider") == "openai"
            # What is kept is asked for where it is kept, without being told.
            read = await app.send(f"/v1/files/{provider.files[0]}", key=ALICE)
            assert read.header("x-gateway-provider") == "groq"
        async with running_app(tmp_path, **provider.config(model_list=listed, default_provider="groq")) as app:
            assert (await upload(app)).header("x-gateway-provider") == "groq"


class TestBatches:
    async def test_a_batch_and_what_it_makes_are_its_makers_alone(self, app: App) -> None:
        file = (await upload(app)).json["id"]
        batch = (await app.post({"input_file_id": file}, path="/v1/batches", key=ALICE)).json["id"]
        assert (await app.send(f"/v1/batches/{batch}", key=BOB)).status == 404
        output = (await app.send(f"/v1/batches/{batch}", key=ALICE)).json["output_file_id"]
        assert (await app.send(f"/v1/files/{output}/content", key=ALICE)).status == 200
        assert (await app.send(f"/v1/files/{output}/content", key=BOB)).status == 404
        assert (await app.send(f"/v1/batches/{batch}/cancel", method="POST", key=BOB)).status == 404
        assert (await app.send(f"/v1/batches/{batch}/cancel", method="POST", key=ALICE)).status == 200

    async def test_the_file_of_a_batch_must_be_ones_own(self, app: App) -> None:
        file = (await upload(app)).json["id"]
        assert (await app.post({"input_file_id": file}, path="/v1/batches", key=BOB)).status == 404
        assert (await app.post({"input_file_id": 7}, path="/v1/batches", key=BOB)).status == 400

    async def test_a_key_for_some_models_starts_no_batch(self, app: App) -> None:
        file = (await upload(app, NARROW)).json["id"]
        response = await app.post({"input_file_id": file}, path="/v1/batches", key=NARROW)
        assert (response.status, response.json["error"]["code"]) == (403, "model_not_allowed")


class TestScan:
    @pytest.fixture
    async def app(self, provider: Provider, tmp_path: Path) -> AsyncIterator[App]:
        policy = {"request": {"pii": "redact", "secrets": "block"}, "response": {"pii": "redact"}}
        async with running_app(tmp_path, **provider.config(scan=policy)) as running:
            yield running

    async def test_json_and_forms_are_redacted(self, app: App, provider: Provider) -> None:
        await app.post({"model": "draws", "prompt": "kim.doe@example.com"}, path="/v1/images/generations", key=ALICE)
        assert provider.last.json["prompt"] == "<EMAIL_ADDRESS>"
        body = form(("model", b"draws"), ("prompt", b"kim.doe@example.com"), ("image", SOUND, "a.png"))
        response = await app.post(body, path="/v1/images/edits", key=ALICE, headers=list(FORM.items()))
        assert b"kim.doe" not in provider.last.body
        assert SOUND in provider.last.body
        assert response.header("x-gateway-decision") == "TRANSFORMED"

    async def test_documents_to_rank_are_redacted_and_the_query_too(self, app: App, provider: Provider) -> None:
        body = {"model": "draws", "query": "kim.doe@example.com", "documents": ["is kim.doe@example.com"]}
        await app.post(body, path="/v1/rerank", key=ALICE)
        assert provider.last.json["documents"] == ["is <EMAIL_ADDRESS>"]
        assert provider.last.json["query"] == "<EMAIL_ADDRESS>"

    async def test_lines_of_a_batch_are_redacted(self, app: App, provider: Provider) -> None:
        line = {"body": {"messages": [{"role": "user", "content": "I am kim.doe@example.com"}]}}
        await upload(app, content=orjson.dumps(line) + b"\n")
        assert b"I am <EMAIL_ADDRESS>" in provider.last.body

    async def test_transcripts_are_redacted_in_json_and_text(self, app: App) -> None:
        for more in ((), (("response_format", b"srt"),)):
            body = form(("model", b"draws"), ("file", SOUND, "a.mp3"), *more)
            response = await app.post(body, path="/v1/audio/transcriptions", key=ALICE, headers=list(FORM.items()))
            assert response.status == 200
            assert b"call <EMAIL_ADDRESS>" in response.body


async def test_requests_at_once_to_files_of_two_keys_stay_apart(app: App) -> None:
    async def mine(key: str) -> bool:
        name = (await upload(app, key)).json["id"]
        other = BOB if key == ALICE else ALICE
        seen, hidden = await asyncio.gather(
            app.send(f"/v1/files/{name}", key=key), app.send(f"/v1/files/{name}", key=other)
        )
        return (seen.status, hidden.status) == (200, 404)

    assert all(await asyncio.gather(*(mine(key) for key in (ALICE, BOB) * 8)))


async def test_a_list_of_any_length_holds_ones_own(tmp_path: Path) -> None:
    owners = Owners(tmp_path / "owners.db")
    names = [f"file-{number}" for number in range(1201)]
    await owners.add(names, "openai", "alice")
    assert await owners.owned([*names, "file-of-nobody"], "alice") == set(names)
    await owners.close()


async def test_many_at_once_can_use_the_owners(tmp_path: Path) -> None:
    owners = Owners(tmp_path / "owners.db")

    async def keep(name: str) -> bool:
        await owners.add([name], "openai", "alice")
        found = await owners.find(name)
        await owners.forget(name)
        return found is not None and await owners.find(name) is None

    assert all(await asyncio.gather(*(keep(f"file-{number}") for number in range(100))))
    await owners.close()


def two(provider: Provider, first: str, **sections: Any) -> dict[str, Any]:
    """Two deployments of one name, of which the first is to fail."""
    entries = [model("pair", provider.base_url, upstream=f"{name}") for name in (f"openai/{first}", "vllm/fine")]
    return provider.config(model_list=entries, **sections)


@pytest.mark.parametrize("first", ["down-please", "down-slowly"])
async def test_another_deployment_is_asked_however_its_error_arrives(
    provider: Provider, tmp_path: Path, first: str
) -> None:
    async with running_app(tmp_path, **two(provider, first)) as app:
        response = await app.post({"model": "pair", "prompt": "x"}, path="/v1/images/generations", key=ALICE)
        assert (response.status, response.header("x-gateway-provider")) == (200, "vllm")


async def test_a_model_that_is_cooling_is_not_said_to_be_missing(provider: Provider, tmp_path: Path) -> None:
    section = {"allowed_fails": 0, "cooldown_time": 60, "num_retries": 0}
    async with running_app(tmp_path, **two(provider, "fine", router_settings=section)) as app:
        for _ in range(2):
            assert (await app.chat("pair", key=ALICE)).status in {500, 503}
        response = await app.post({"model": "pair", "prompt": "x"}, path="/v1/images/generations", key=ALICE)
        assert (response.status, response.json["error"]["code"]) == (503, "upstream_cooling")
        assert response.header("retry-after") is not None
