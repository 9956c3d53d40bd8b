"""Keys that AWS lends: from whom, how they are asked for, and that requests are signed with what they gave."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.net import free_port
from tests.support.providers.aws import ROLE, ROLE_KEY, ROLE_SECRET, ROLE_TOKEN, Container, Instance, Lender, Sts
from tests.support.providers.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock
from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers import aws_machine, credentials, identities
from tollhouse.providers.ask import Ask
from tollhouse.providers.aws import AwsKeys
from tollhouse.providers.aws_roles import Role
from tollhouse.providers.errors import UpstreamError
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.identities import AwsAccess, TokenFile
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.call import Call

KEYS = AwsKeys(ACCESS_KEY, SECRET_KEY)
VIEW = RequestView.parse(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}', "chat")
SESSION = Role(ROLE, "tollhouse")


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    with Bedrock(access_key=ROLE_KEY, secret_key=ROLE_SECRET) as server:
        yield server


class _Asking:
    """Deployments with the same credentials, asked in turn."""

    def __init__(self, bedrock: Bedrock, access: AwsAccess) -> None:
        self._bedrock = bedrock
        self._factory = UpstreamFactory()
        self._upstreams = [
            self._factory.make("bedrock", api_base=bedrock.url, timeouts=Timeouts(), aws=access) for _ in range(2)
        ]

    async def ask(self, lender: Lender | None = None) -> Call:
        """lender: whose present token the signature has to cover."""
        self._upstreams.reverse()
        call = self._upstreams[0].start(Ask(kind="chat", view=VIEW, model="amazon.nova-pro-v1:0"))
        if lender is not None and lender.lent:
            self._bedrock.token = lender.token
        if call.opening is not None:
            if lender is not None and not lender.lent:
                self._bedrock.token = f"{ROLE_TOKEN}1"
            await call.opening
        assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
        return call

    async def close(self) -> None:
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        self._factory.close()


async def _answered(bedrock: Bedrock, access: AwsAccess, lender: Lender) -> Call:
    asking = _Asking(bedrock, access)
    call = await asking.ask(lender)
    assert call.reader.status == 200, call.take()
    for _ in range(3):
        await asking.ask(lender)
    await asking.close()
    return call


async def test_a_role_is_assumed_with_the_keys_that_were_given(bedrock):
    with Sts() as sts:
        role = Role(ROLE, "the-session", "ext 1/2", 900)
        call = await _answered(bedrock, AwsAccess(KEYS, REGION, (role,), sts.url), sts)
        assert (sts.lent, call.hidden) == (1, f"{ROLE_TOKEN}1".encode())
        assert sts.forms == [
            {
                "Action": "AssumeRole",
                "Version": "2011-06-15",
                "RoleArn": ROLE,
                "RoleSessionName": "the-session",
                "ExternalId": "ext 1/2",
                "DurationSeconds": "900",
            }
        ]


async def test_a_role_is_assumed_with_a_role_that_was_assumed(bedrock):
    with Sts() as sts:
        second = Role(f"{ROLE}-2", "tollhouse")
        access = AwsAccess(KEYS, REGION, (SESSION, second), sts.url)
        bedrock.token = f"{ROLE_TOKEN}2"
        asking = _Asking(bedrock, access)
        assert (await asking.ask()).reader.status == 200
        await asking.close()
        assert [form["RoleArn"] for form in sts.forms] == [ROLE, f"{ROLE}-2"]


async def test_a_web_identity_is_the_token_of_a_file_that_is_read_anew(bedrock, tmp_path):
    path = tmp_path / "token"
    with Sts("eyJ.a.b") as sts:
        asking = _Asking(bedrock, AwsAccess(TokenFile(SESSION, str(path)), REGION, sts=sts.url))
        for text in (None, "eyJ.old"):
            if text is not None:
                path.write_text(text)
            with pytest.raises(UpstreamError, match="the AWS role of the web identity"):
                await asking.ask()
        path.write_text("eyJ.a.b\n")
        assert (await asking.ask(sts)).reader.status == 200
        await asking.close()


@pytest.mark.parametrize("ending", ["&#13;&#10;x-amz-target:&#32;theirs", "&#10;", "&#0;", "&#233;"])
async def test_a_token_that_could_write_headers_of_its_own_is_none(bedrock, ending):
    with Sts() as sts:
        sts.ending = ending
        asking = _Asking(bedrock, AwsAccess(KEYS, REGION, (SESSION,), sts.url))
        with pytest.raises(UpstreamError, match="the assumed AWS role") as caught:
            await asking.ask()
        assert (caught.value.code, ROLE_TOKEN in caught.value.message, sts.lent) == ("upstream_auth", False, 1)
        await asking.close()


@pytest.mark.parametrize("has_file", [False, True])
async def test_a_container_is_asked_with_its_token(bedrock, tmp_path, has_file):
    path = tmp_path / "token"
    path.write_text("Bearer t\n")
    with Container("Bearer t") as container:
        token, file = (None, str(path)) if has_file else ("Bearer t", None)
        base = aws_machine.Container(f"{container.url}/v2/credentials/abc?x=1", token, file)
        assert "Bearer t" not in repr(base)
        await _answered(bedrock, AwsAccess(base, REGION), container)
        assert container.lent == 1


async def test_an_instance_is_asked_for_a_session_first(bedrock):
    with Instance() as instance:
        await _answered(bedrock, AwsAccess(identities.Instance(instance.url), REGION), instance)
        assert [asked.method for asked in instance.asked] == ["PUT", "GET", "GET"]


async def test_keys_are_renewed_beside_requests_and_kept_while_nobody_renews_them(bedrock, monkeypatch):
    monkeypatch.setattr(credentials, "RENEW_AT", 0.0)
    monkeypatch.setattr(credentials, "PAUSE_S", 0.0)
    with Instance() as instance:
        asking = _Asking(bedrock, AwsAccess(identities.Instance(instance.url), REGION))
        await asking.ask(instance)
        instance.seconds = None
        for _ in range(5):
            assert (await asking.ask(instance)).reader.status == 200
        instance.seconds = 3600
        while instance.lent < 2:
            await asking.ask(instance)
        await asking.close()


async def test_a_failed_renewal_is_not_repeated_with_every_request(bedrock, monkeypatch):
    monkeypatch.setattr(credentials, "RENEW_AT", 0.0)
    with Instance() as instance:
        asking = _Asking(bedrock, AwsAccess(identities.Instance(instance.url), REGION))
        await asking.ask(instance)
        instance.seconds = None
        asked = len(instance.asked)
        await asking.ask(instance)
        await asking.close()
        for _ in range(5):
            await asking.ask(instance)
        assert len(instance.asked) == asked + 2  # a session, and no role
        await asking.close()


async def test_many_requests_wait_for_one_fetch(bedrock):
    bedrock.token = f"{ROLE_TOKEN}1"
    with Instance() as instance:
        asking = _Asking(bedrock, AwsAccess(identities.Instance(instance.url), REGION))
        calls = await asyncio.gather(*(asking.ask() for _ in range(5)))
        assert {call.reader.status for call in calls} == {200}
        assert instance.lent == 1
        await asking.close()


async def test_no_keys_are_an_error_that_names_their_source_and_shows_nothing(bedrock, caplog):
    with Sts() as sts, Instance() as instance, Container() as container:
        sts.seconds = instance.seconds = None
        gone = f"http://127.0.0.1:{free_port()}"
        cases: list[tuple[AwsKeys | TokenFile | identities.Instance | aws_machine.Container, tuple[Role, ...], str]] = [
            (KEYS, (SESSION,), r"the assumed AWS role \(403 AccessDenied\)"),
            (identities.Instance(instance.url), (), r"the AWS role of the instance \(it has none\)"),
            (identities.Instance(gone), (), r"the AWS role of the instance \(aws-credentials at .* cannot be reached"),
            (TokenFile(SESSION, __file__), (), r"the AWS role of the web identity \(aws-sts at .* cannot be reached"),
            (aws_machine.Container(container.url), (), r"the AWS role of the container \(403\)"),
            (
                aws_machine.Container(gone),
                (),
                r"the AWS role of the container \(aws-credentials at .* cannot be reached",
            ),
            (aws_machine.Container(gone, token_file="/no/file"), (), r"container \(its token file cannot be read\)"),
        ]
        for base, roles, told in cases:
            asked_at = gone if isinstance(base, TokenFile) else sts.url
            asking = _Asking(bedrock, AwsAccess(base, REGION, roles, asked_at))
            with pytest.raises(UpstreamError, match=told) as caught:
                await asking.ask()
            assert (caught.value.code, caught.value.status) == ("upstream_auth", 502)
            await asking.close()
        shown = caplog.text
        assert "the assumed AWS role" in shown
        assert not re.search(f"{ACCESS_KEY}|{re.escape(SECRET_KEY)}", shown)
    assert bedrock.asked == []


@pytest.mark.parametrize("url", ["http://example.com/x", "http://169.254.169.254/x", "http://10.0.0.1/x"])
def test_keys_are_asked_for_at_no_address_of_somebody_else(url):
    access = AwsAccess(aws_machine.Container(url), REGION)
    with pytest.raises(ValueError, match="not asked for at"):
        UpstreamFactory().make("bedrock", api_base="https://x.example", timeouts=Timeouts(), aws=access)


async def test_what_may_be_dialled_for_keys_is_no_upstream():
    factory = UpstreamFactory()
    access = AwsAccess(identities.Instance(), REGION)
    factory.make("bedrock", api_base="https://x.example", timeouts=Timeouts(), aws=access)
    sneaky = factory.make("openai", api_base="http://169.254.169.254/v1", timeouts=Timeouts())
    call = sneaky.start(Ask(kind="chat", view=VIEW, model="m"))
    assert call.opening is not None
    with pytest.raises(UpstreamError, match="never dialled"):
        await call.opening
    factory.close()
