"""Fifty kinds of secrets and personal data with the shape of real ones: made of a seed, valid for nobody.

Only their distinctive beginnings stand here, so that no file of the repository holds a whole one.
"""

from __future__ import annotations

import base64
import random
import string
import zlib
from dataclasses import dataclass

LOWER = string.ascii_lowercase
DIGITS = string.digits
ALNUM = string.ascii_letters + DIGITS
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + DIGITS
URL = ALNUM + "-_"


@dataclass(frozen=True)
class Canary:
    """`core` is the part that must not be seen anywhere, `text` what stands around it included."""

    kind: str
    text: str
    core: str
    is_secret: bool = True


class _Maker:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def any(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choice(alphabet) for _ in range(length))

    def number(self, least: int, end: int) -> int:
        return self._random.randrange(least, end)

    def card(self) -> str:
        """A number of Visa's that passes Luhn's check."""
        body = "4" + self.any(DIGITS, 14)
        total = sum(sum(divmod(int(digit) * (2 - i % 2), 10)) for i, digit in enumerate(body))
        return body + str(-total % 10)

    def iban(self) -> str:
        account = "37040044" + self.any(DIGITS, 10)
        check = 98 - int(account + "131400") % 97
        return f"DE{check:02d}{account}"

    def jwt(self) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
        body = base64.urlsafe_b64encode(b'{"sub":"%b"}' % self.any(DIGITS, 12).encode()).decode().rstrip("=")
        return f"{head}.{body}.{self.any(URL, 43)}"

    def pem(self) -> str:
        lines = "\n".join(self.any(ALNUM, 64) for _ in range(6))
        name = "RSA PRIVATE KEY"
        return f"-----BEGIN {name}-----\n{lines}\n-----END {name}-----"

    def github(self, prefix: str) -> str:
        """Its last six characters are a checksum of the others."""
        token = self.any(ALNUM, 30)
        digits = DIGITS + string.ascii_uppercase + LOWER
        number, check = zlib.crc32(token.encode()), ""
        for _ in range(6):
            number, rest = divmod(number, 62)
            check = digits[rest] + check
        return f"{prefix}{token}{check}"


def canaries(seed: int = 7) -> list[Canary]:
    """One of each kind; the same for the same seed."""
    make = _Maker(seed)
    found: list[Canary] = []

    def secret(kind: str, prefix: str, alphabet: str, length: int, suffix: str = "") -> None:
        core = make.any(alphabet, length)
        found.append(Canary(kind, f"{prefix}{core}{suffix}", core))

    def whole(kind: str, text: str, core: str | None = None, *, is_secret: bool = True) -> None:
        found.append(Canary(kind, text, core or text, is_secret=is_secret))

    whole("github-pat", make.github("ghp_"))
    whole("github-oauth", make.github("gho_"))
    whole("github-server", make.github("ghs_"))
    secret("gitlab-pat", "glpat-", ALNUM, 20)
    secret("aws-access-key", "AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
    secret("aws-secret-key", "aws_secret_access_key = ", ALNUM + "/+", 40)
    secret("gcp-api-key", "AIza", URL, 35)
    secret("openai-project", "sk-proj-", ALNUM, 48)
    secret("anthropic", "sk-ant-api03-", URL, 93, "AA")
    secret("huggingface", "hf_", string.ascii_letters, 34)
    secret("stripe-live", "sk_live_", ALNUM, 24)
    secret("stripe-restricted", "rk_live_", ALNUM, 24)
    secret("slack-bot", "xoxb-", DIGITS, 12, f"-{make.any(DIGITS, 12)}-{make.any(ALNUM, 24)}")
    hook = f"T{make.any(UPPER, 8)}/B{make.any(UPPER, 8)}/{make.any(ALNUM, 24)}"
    whole("slack-webhook", f"https://hooks.slack.com/services/{hook}", hook)
    secret("npm", "npm_", ALNUM, 36)
    secret("pypi", "pypi-AgEIcHlwaS5vcmc", URL, 90)
    secret("twilio", "SK", HEX, 32)
    whole("sendgrid", f"SG.{make.any(URL, 22)}.{make.any(URL, 43)}")
    secret("digitalocean", "dop_v1_", HEX, 64)
    secret("shopify", "shpat_", HEX, 32)
    secret("databricks", "dapi", HEX, 32)
    secret("vault", "hvs.", ALNUM, 90)
    secret("linear", "lin_api_", ALNUM, 40)
    secret("notion", "ntn_", DIGITS, 11, make.any(ALNUM, 35))
    secret("grafana", "glsa_", ALNUM, 32, f"_{make.any(HEX, 8)}")
    secret("mailgun", "mailgun_api_key: key-", HEX, 32)
    secret("telegram", f"{make.any(DIGITS, 10)}:AA", URL, 33)
    secret("discord", "discord_client_secret=", ALNUM, 32)
    secret("doppler", "dp.pt.", ALNUM, 43)
    secret("pulumi", "pul-", HEX, 40)
    secret("age-key", "AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)
    secret("flyio", "fo1_", ALNUM + "_-", 43)
    secret("newrelic", "NRAK-", UPPER, 27)
    secret("postman", "PMAK-", HEX, 24, f"-{make.any(HEX, 34)}")
    secret("tollhouse-key", f"sk-th-{make.any(LOWER + DIGITS, 12)}-", ALNUM, 48)
    whole("jwt", make.jwt())
    pem = make.pem()
    whole("private-key", pem, pem.splitlines()[3])
    secret("postgres-password", "postgres://report:", ALNUM, 20, "@db.internal:5432/reports")
    pair = base64.b64encode(f"deploy:{make.any(ALNUM, 21)}".encode()).decode()
    whole("basic-credentials", f"Authorization: Basic {pair}", pair)
    secret("password", "password: ", ALNUM + "#%+", 18)

    person = make.any(LOWER, 9)
    whole("email", f"{person}.canary@mail-{make.any(LOWER, 6)}.com", is_secret=False)
    whole("card", make.card(), is_secret=False)
    whole("iban", make.iban(), is_secret=False)
    ssn = f"{make.number(200, 600)}-{make.number(10, 99)}-{make.number(1000, 9999)}"
    whole("us-ssn", f"SSN {ssn}", ssn, is_secret=False)
    phone = f"+49 30 {make.number(20000000, 99999999)}"
    whole("phone", phone, is_secret=False)
    whole("ip", f"81.{make.number(16, 99)}.{make.number(1, 250)}.17", is_secret=False)
    mac = ":".join(make.any(HEX, 2) for _ in range(6))
    whole("mac", mac, is_secret=False)
    passport = f"C{make.any(DIGITS, 8)}"
    whole("passport", f"passport number {passport}", passport, is_secret=False)
    record = f"MRN-{make.any(DIGITS, 8)}"
    whole("medical-record", f"medical record {record}", record, is_secret=False)
    born = f"19{make.number(50, 99)}-0{make.number(1, 9)}-1{make.number(0, 9)}"
    whole("birth-date", f"date of birth: {born}", born, is_secret=False)
    return found
