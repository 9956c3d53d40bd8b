"""The official `openai` client: the Responses API to upstreams of several kinds, and what is passed through."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent

from tests.gateway.passthrough.provider import ALICE, BATCH_OUTPUT, BOB, SOUND, Provider
from tests.support.gateway import KEYS, echo_only, model, running_gateway
from tests.support.model_server import MODEL
from tests.support.sdk import witnessed_openai

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.responses import FunctionToolParam, ResponseInputParam

    from tests.support.gateway import Gateway
    from tests.support.model_server import ModelServer

ECHO = "tollhouse/echo"
TEXT = "Say it, nicely: wörld 😀"
TOOL: FunctionToolParam = {
    "type": "function",
    "name": "open_gate",
    "parameters": {"type": "object", "properties": {"gate": {"type": "string"}}, "required": ["gate"]},
    "strict": False,
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def endpoints_gateway(provider: Provider, model_server: ModelServer) -> Iterator[Gateway]:
    """The model server is spoken to as OpenAI is, and ("tiny-chat") in chat only. Files go to a provider's first."""
    base, key = model_server.base_url, model_server.api_key
    listed = [
        *provider.models,
        model(MODEL, base, upstream=f"openai/{MODEL}", api_key=key),
        model("tiny-chat", base, upstream=f"hosted_vllm/{MODEL}", api_key=key),
    ]
    keys = [*KEYS, {"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]
    with running_gateway(echo_only(model_list=listed, keys=keys, default_provider="openai")) as running:
        yield running


@pytest.fixture
def client(endpoints_gateway: Gateway) -> Iterator[OpenAI]:
    with witnessed_openai(endpoints_gateway) as made:
        yield made


class TestResponses:
    @pytest.mark.parametrize("name", ["tiny-chat", ECHO])
    def test_streamed_and_whole_answers_say_the_same(self, client: OpenAI, name: str) -> None:
        whole = client.responses.create(model=name, input=TEXT, max_output_tokens=12, temperature=0)
        stream = client.responses.create(model=name, input=TEXT, max_output_tokens=12, temperature=0, stream=True)
        *events, last = list(stream)
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        # A model that is cut short ends with the other of the two.
        assert last.type in {"response.completed", "response.incomplete"}
        assert isinstance(last, ResponseCompletedEvent | ResponseIncompleteEvent)
        assert "".join(pieces) == last.response.output_text == whole.output_text
        assert len(pieces) > 1
        assert whole.usage is not None
        assert whole.usage.output_tokens > 0

    def test_both_ways_to_one_model_server_agree(self, client: OpenAI) -> None:
        told = [
            client.responses.create(model=name, input="to ll", max_output_tokens=8, temperature=0).output_text
            for name in (MODEL, "tiny-chat")
        ]
        assert told[0] == told[1]

    def test_an_answer_that_was_cut_short_says_so(self, client: OpenAI) -> None:
        response = client.responses.create(model="tiny-chat", input=TEXT, max_output_tokens=3)
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"

    def test_tools_are_called_and_their_results_go_back(self, client: OpenAI) -> None:
        with client.responses.stream(model=ECHO, input=TEXT, tools=[TOOL], tool_choice="required") as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        [call] = final.output
        assert call.type == "function_call"
        assert call.arguments == '{"gate":"' + TEXT + '"}'
        assert kinds.count("response.function_call_arguments.delta") > 2
        items: ResponseInputParam = [
            {"role": "user", "content": TEXT},
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "opened"},
        ]
        assert client.responses.create(model=ECHO, input=items, tools=[TOOL]).output_text == "opened"

    def test_what_is_lost_is_named(self, client: OpenAI) -> None:
        told = client.responses.with_raw_response.create(
            model=ECHO, input=TEXT, tools=[{"type": "web_search"}], truncation="auto"
        )
        assert set(told.headers["x-gateway-warnings"].split(", ")) >= {"tools.web_search", "truncation"}

    def test_what_was_kept_elsewhere_is_refused(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=ECHO, input=TEXT, previous_response_id="resp_1")
        assert caught.value.param == "previous_response_id"


class TestPassedThrough:
    @pytest.fixture
    def client(self, endpoints_gateway: Gateway) -> Iterator[OpenAI]:
        with OpenAI(base_url=endpoints_gateway.base_url, api_key=ALICE, max_retries=0, timeout=10) as made:
            yield made

    def test_sound_is_made_whole_and_as_it_comes(self, client: OpenAI) -> None:
        ask: Any = {"model": "openai/tts-1", "voice": "alloy", "input": "hi"}
        assert client.audio.speech.create(**ask).read() == SOUND
        with client.audio.speech.with_streaming_response.create(**ask) as response:
            assert b"".join(response.iter_bytes()) == SOUND

    def test_sound_is_transcribed(self, client: OpenAI, provider: Provider) -> None:
        heard = client.audio.transcriptions.create(model="openai/whisper-1", file=("a.mp3", SOUND))
        assert heard.text.startswith("call ")
        assert SOUND in provider.last.body
        assert b"openai/whisper-1" not in provider.last.body

    def test_images_are_drawn_and_edited(self, client: OpenAI) -> None:
        events = client.images.generate(model="draws", prompt="a cat", stream=True)
        assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
        edited = client.images.edit(model="draws", prompt="a hat", image=("a.png", io.BytesIO(SOUND)))
        assert edited.data is not None
        assert edited.data[0].b64_json == "QUJD"

    def test_files_and_batches_are_their_makers_alone(self, client: OpenAI) -> None:
        file = client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        output = client.batches.retrieve(batch.id).output_file_id
        assert output is not None
        assert client.files.content(output).read() == BATCH_OUTPUT
        assert file.id in {one.id for one in client.files.list()}
        other = client.with_options(api_key=BOB)
        for ask in (
            lambda: other.files.retrieve(file.id),
            lambda: other.files.content(output),
            lambda: other.files.delete(file.id),
            lambda: other.batches.cancel(batch.id),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        assert client.files.delete(file.id).deleted

    def test_texts_are_moderated(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.moderations.create(input="x")
        assert "omni-moderation-latest" in caught.value.message
