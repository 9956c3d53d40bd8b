"""Services of AWS that lend keys: STS, the metadata of an instance, the endpoint of a container.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and what is named beside each of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from tests.support.providers.bedrock import ACCESS_KEY, SECRET_KEY, is_signed
from tests.support.providers.server import Answer, Asked, Provider, as_json

ROLE = "arn:aws:iam::123456789012:role/team/gateway"
ROLE_KEY = "ASIAROLEROLEROLEROLE"
ROLE_SECRET = "secret/of+a/role+0123456789abcdefghijklmn"
ROLE_TOKEN = "IQoJb3JpZ2luX2VjE//token+of/a+role=="
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def ending(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Lender(Provider):
    """Lends the same keys each time, with another token. `seconds`: for how long; None: it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: float | None = 3600.0
        self.lent = 0
        self.forms: list[dict[str, str]] = []
        # Keys that may assume a role: those of the tests, or a role's that was lent before.
        self.assumers: set[tuple[str, str, str | None]] = {(ACCESS_KEY, SECRET_KEY, None)}

        self.ending = ""  # of the token, as it is written

    @property
    def token(self) -> str:
        """The last one."""
        return f"{ROLE_TOKEN}{self.lent}{self.ending}"

    def _as_json(self, **more: Any) -> Answer:
        """As an instance and a container are told."""
        assert self.seconds is not None
        self.lent += 1
        keys = {"AccessKeyId": ROLE_KEY, "SecretAccessKey": ROLE_SECRET, "Token": self.token}
        return as_json(keys | {"Expiration": ending(self.seconds)} | more)


class Sts(Lender):
    """web_token: of the identity provider that is trusted."""

    def __init__(self, web_token: str = "") -> None:
        super().__init__()
        self._web_token = web_token

    def answer(self, asked: Asked) -> Answer:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode(), strict_parsing=True).items()}
        self.forms.append(form)
        action = form["Action"]
        if self.seconds is None or form["Version"] != "2011-06-15" or asked.path != "/":
            return self._refused()
        if action == "AssumeRoleWithWebIdentity":
            is_known = form["WebIdentityToken"] == self._web_token and "authorization" not in asked.headers
        else:
            assert action == "AssumeRole"
            is_known = any(
                is_signed(asked, access_key=key, secret_key=secret, token=token, service="sts")
                for key, secret, token in self.assumers
            )
        if not is_known:
            return self._refused()
        self.lent += 1
        self.assumers.add((ROLE_KEY, ROLE_SECRET, self.token))
        xml = (
            f'<{action}Response xmlns="{_NAMESPACE}">\n  <{action}Result>\n    <AssumedRoleUser>\n'
            f"      <Arn>arn:aws:sts::123456789012:assumed-role/gateway/x</Arn>\n    </AssumedRoleUser>\n"
            f"    <Credentials>\n      <AccessKeyId>{ROLE_KEY}</AccessKeyId>\n"
            f"      <SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>\n      <SessionToken>{self.token}</SessionToken>\n"
            f"      <Expiration>{ending(self.seconds)}</Expiration>\n    </Credentials>\n  </{action}Result>\n"
            f"  <ResponseMetadata><RequestId>c6104cbe</RequestId></ResponseMetadata>\n</{action}Response>\n"
        )
        return Answer([xml.encode()], kind="text/xml")

    @staticmethod
    def _refused() -> Answer:
        xml = (
            f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: '
            f"{ROLE} with {ACCESS_KEY} is not authorized</Message></Error><RequestId>x</RequestId></ErrorResponse>"
        )
        return Answer([xml.encode()], status=403, kind="text/xml")


class Instance(Lender):
    """Version 2 only, as instances are configured nowadays."""

    ROLES = "/latest/meta-data/iam/security-credentials/"

    def answer(self, asked: Asked) -> Answer:
        if (asked.method, asked.path) == ("PUT", "/latest/api/token"):
            assert asked.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
            return Answer([b"session-of-the-instance=="], kind="text/plain")
        if asked.headers.get("x-aws-ec2-metadata-token") != "session-of-the-instance==":
            return Answer([b"Unauthorized"], status=401, kind="text/plain")
        if self.seconds is None:
            return Answer([b"not found"], status=404, kind="text/plain")
        if asked.path == self.ROLES:
            return Answer([b"gateway-role"], kind="text/plain")
        assert asked.path == f"{self.ROLES}gateway-role"
        return self._as_json(Code="Success", Type="AWS-HMAC", LastUpdated=ending(0))


class Container(Lender):
    """authorization: what it wants to be told."""

    def __init__(self, authorization: str | None = None) -> None:
        super().__init__()
        self.authorization = authorization

    def answer(self, asked: Asked) -> Answer:
        if asked.path != "/v2/credentials/abc?x=1" or asked.headers.get("authorization") != self.authorization:
            return as_json({"code": "NoAuth", "message": "no"}, 403)
        return self._as_json(RoleArn=ROLE)
