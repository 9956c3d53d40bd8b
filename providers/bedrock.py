"""Amazon Bedrock's Converse over HTTP, signed with AWS keys or with a Bedrock API key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse._native import sign_aws
from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Who signs, and where."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    session_token: str | None = field(default=None, repr=False)


class BedrockUpstream(HTTPUpstream):
    """One deployment in a region. `keys` sign each request; without them `api_key` is sent as a bearer token."""

    kinds = CONVERSATIONS

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        keys: AwsKeys | None = None,
    ) -> None:
        super().__init__(origin=origin, paths={}, timeouts=timeouts, api_key=api_key)
        self._base_path = base_path
        self._keys = keys if api_key is None else None

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what Converse cannot be told."""
        body, warnings = ask.translated("converse")
        operation = "converse-stream" if ask.stream else "converse"
        # A name of a model holds colons, an ARN slashes as well.
        path = f"{self._base_path}/model/{quote(ask.model, safe='')}/{operation}"
        lines = ask.lines(TRACED)
        keys = self._keys
        if keys is not None:
            lines += self._signed(keys, path, body)
        call = self.send(ask, path, body, ask.reader("converse"), lines=lines, warnings=warnings)
        if keys is not None and keys.session_token is not None:
            call.hidden = keys.session_token.encode()
        return call

    def _signed(self, keys: AwsKeys, path: str, body: bytes) -> bytes:
        """The header lines of a signature that holds for five minutes."""
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = [("host", self.host), ("content-type", "application/json"), ("x-amz-date", date)]
        if keys.session_token is not None:
            headers.append(("x-amz-security-token", keys.session_token))
        signature = sign_aws(
            path,
            headers,
            body,
            access_key=keys.access_key_id,
            secret_key=keys.secret_access_key,
            region=keys.region,
            service="bedrock",
            date=date,
        )
        sent = [*headers[2:], ("authorization", signature)]
        return "".join(f"{name}: {value}\r\n" for name, value in sent).encode("ascii")
