"""Access tokens from what is no service account: a person's, the machine's, another identity provider's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.net import free_port
from tests.support.providers.vertex import CLIENT, LOCATION, Vertex
from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers.ask import Ask
from tollhouse.providers.errors import UpstreamError
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.google import AuthorizedUser, GoogleAccess, Machine, WorkloadIdentity
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.call import Call

VIEW = RequestView.parse(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}', "chat")


@pytest.fixture
def vertex() -> Iterator[Vertex]:
    with Vertex() as server:
        yield server


async def _ask(vertex: Vertex, access: GoogleAccess, *, quota_project: str | None = None) -> Call:
    factory = UpstreamFactory()
    base = f"{vertex.url}{LOCATION}/publishers/google"
    upstream = factory.make("vertex_ai", api_base=base, timeouts=Timeouts(), google=access, quota_project=quota_project)
    try:
        call = upstream.start(Ask(kind="chat", view=VIEW, model="gemini-2.5-pro"))
        assert call.opening is not None
        await call.opening
        assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
    finally:
        factory.close()
    return call


def _workload(vertex: Vertex, path: str, **more: str) -> WorkloadIdentity:
    kind = "urn:ietf:params:oauth:token-type:jwt"
    return WorkloadIdentity("//iam.googleapis.com/x", kind, path, f"{vertex.url}/sts", **more)


async def test_a_person_is_known_by_a_refresh_token(vertex):
    user = AuthorizedUser(token_uri=f"{vertex.url}/token", **CLIENT)
    call = await _ask(vertex, user, quota_project="quota-1")
    assert (call.reader.status, call.hidden) == (200, b"ya29.1")
    assert vertex.last.headers["x-goog-user-project"] == "quota-1"
    assert "s3cret" not in repr(user)
    assert "refresh" not in repr(user).replace("refresh_token", "")


async def test_the_machine_is_asked_for_its_account(vertex):
    assert (await _ask(vertex, Machine(vertex.url))).reader.status == 200


async def test_a_workloads_token_is_changed_for_one_of_googles(vertex, tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{vertex.subject}\n")
    assert (await _ask(vertex, _workload(vertex, str(path)))).reader.status == 200
    path.write_text(f'{{"jwt":"{vertex.subject}"}}')
    url = f"{vertex.url}/v1/accounts/g:generateAccessToken"
    call = await _ask(vertex, _workload(vertex, str(path), member="jwt", impersonation_url=url))
    assert (call.reader.status, call.hidden) == (200, b"ya29.3")


@pytest.mark.parametrize(
    ("kind", "model", "body"),
    [
        ("chat", "gemini-2.5-pro", b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'),
        ("embeddings", "gemini-embedding-001", b'{"model":"m","input":["a","b"]}'),
    ],
)
async def test_what_is_given_up_while_it_waits_for_a_token_is_not_sent(vertex, kind, model, body):
    factory = UpstreamFactory()
    base = f"{vertex.url}{LOCATION}/publishers/google"
    upstream = factory.make("vertex_ai", api_base=base, timeouts=Timeouts(), google=Machine(vertex.url))
    try:
        call = upstream.start(Ask(kind=kind, view=RequestView.parse(body, kind), model=model))
        assert call.opening is not None
        opening = asyncio.ensure_future(call.opening)
        await asyncio.sleep(0)
        call.fail(UpstreamError("nobody waits any more"))
        await opening
        assert call.flags & FAULT
        # With the token that has come meanwhile, the next one is sent: that is all that the server ever sees.
        after = upstream.start(Ask(kind=kind, view=RequestView.parse(body, kind), model=model, request_id="second"))
        if after.opening is not None:
            await after.opening
        assert await asyncio.wait_for(after.wait(END | FAULT, asyncio.get_running_loop()), 5)
        posts = [asked.headers.get("x-request-id") for asked in vertex.asked if model in asked.path]
        assert posts
        assert set(posts) == {"second"}
    finally:
        factory.close()


async def test_no_token_is_an_error_that_names_its_source_and_shows_nothing(vertex, tmp_path):
    path = tmp_path / "token"
    path.write_text("the-subject-token")
    cases: list[tuple[GoogleAccess, str]] = [
        (AuthorizedUser("c", "s3cret", "r3fresh", f"{vertex.url}/token"), r"the authorized Google user \(400\)"),
        (_workload(vertex, "/no/file"), r"workload identity \(its token file cannot be read\)"),
        (_workload(vertex, str(path)), r"workload identity \(400\)"),
        (_workload(vertex, str(path), member="jwt"), r"its token file cannot be read"),
        (Machine(f"http://127.0.0.1:{free_port()}"), r"the machine \(google at .* cannot be reached"),
    ]
    for access, told in cases:
        with pytest.raises(UpstreamError, match=told) as caught:
            await _ask(vertex, access)
        assert (caught.value.code, caught.value.status) == ("upstream_auth", 502)
        assert "s3cret" not in caught.value.message
        assert "subject" not in caught.value.message


async def test_a_source_that_breaks_is_named_and_asked_again_only_after_a_pause(vertex, monkeypatch):
    async def breaks(*_: object) -> None:
        raise ValueError("what was in the key")

    monkeypatch.setattr(AuthorizedUser, "fetch", breaks)
    user = AuthorizedUser(token_uri=f"{vertex.url}/token", **CLIENT)
    with pytest.raises(UpstreamError, match=r"got no credentials from .* \(ValueError\)") as caught:
        await _ask(vertex, user)
    assert caught.value.code == "upstream_auth"
    assert "what was in the key" not in str(caught.value)
