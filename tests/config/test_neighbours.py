from __future__ import annotations

import pickle

import pytest

from tollhouse.config.loader import ConfigError, load_mapping
from tollhouse.config.neighbour_settings import NeighbourSettings

ALL = ("iam", "policy", "data_governance", "budget", "eris", "alerting")
JWT = {"issuer": "https://idp.example.com/realms/x", "audience": "tollhouse"}


def errors(data: dict[str, object], **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as failed:
        load_mapping(data, environ)
    return [f"{problem.path}: {problem.message}" for problem in failed.value.problems]


def test_nothing_is_configured_by_default():
    settings = load_mapping({}, {})
    assert settings.neighbours == NeighbourSettings()
    assert settings.jwt is None
    assert load_mapping({}, {"USE_REAL_SERVICES": "false"}).neighbours.services == ()


def test_each_variable_switches_its_service_on():
    settings = load_mapping({}, {"DATA_GOVERNANCE_SERVICE_URL": "http://dg:8080/base"})
    (service,) = settings.neighbours.services
    assert (service.name, service.url, service.is_closed) == ("data_governance", "http://dg:8080/base", True)
    assert not settings.neighbours.is_required


def test_real_services_are_all_of_them_wherever_they_are():
    wanted = load_mapping({}, {"USE_REAL_SERVICES": "true", "IAM_SERVICE_URL": "https://iam"}).neighbours
    assert wanted.is_required
    assert [service.name for service in wanted.services] == list(ALL)
    assert [service.url for service in wanted.services] == ["https://iam", *[None] * 5]
    assert [service.name for service in wanted.services if not service.is_closed] == ["eris", "alerting"]


def test_an_issuer_of_tokens_stands_in_for_iam():
    wanted = load_mapping({"auth": {"jwt": JWT}}, {"USE_REAL_SERVICES": "true"}).neighbours
    assert [service.name for service in wanted.services] == list(ALL[1:])


def test_the_environment_wins_over_the_file():
    section = {
        "budget": {"url": "http://file", "fail": "closed", "timeout_s": "50ms", "token": "of-the-file", "ttl_s": 9}
    }
    environ = {
        "BUDGET_SERVICE_URL": "http://environment",
        "BUDGET_SERVICE_FAIL": "OPEN",
        "BUDGET_SERVICE_TIMEOUT_S": "1.5",
        "BUDGET_SERVICE_TOKEN": "of-the-environment",
    }
    (from_file,) = load_mapping({"neighbours": section}, {}).neighbours.services
    assert (from_file.url, from_file.is_closed, from_file.timeout_s, from_file.ttl_s) == ("http://file", True, 0.05, 9)
    settings = load_mapping({"neighbours": section}, environ)
    (service,) = settings.neighbours.services
    assert (service.url, service.is_closed, service.timeout_s, service.ttl_s) == ("http://environment", False, 1.5, 9)
    assert service.token is not None
    assert service.token.reveal() == "of-the-environment"
    assert "of-the-environment" not in repr(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("iam:8080", "http or https"),
        ("ftp://iam", "http or https"),
        ("http://", "http or https"),
        ("http://iam:99999", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://user:secret@iam", "must not hold credentials"),
        ("http://iam/?a=b", "neither query nor fragment"),
        ("http://iam/#x", "neither query nor fragment"),
        ("http://iam/a b", "holds characters"),
        ("http://iäm", "holds characters"),
        ("http://169.254.169.254/", "link-local"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_by_the_name_of_its_variable(url, reason):
    (said,) = errors({}, IAM_SERVICE_URL=url)
    assert said.startswith("IAM_SERVICE_URL: ")
    assert reason in said
    assert "secret" not in said
    (said,) = errors({"neighbours": {"iam": {"url": url}}})
    assert said.startswith("neighbours.iam.url: ")


def test_what_makes_no_sense_is_refused():
    assert errors({}, IAM_SERVICE_URL="http://iam", IAM_SERVICE_FAIL="open") == [
        "IAM_SERVICE_FAIL: must be closed: a token that nobody has vouched for opens nothing"
    ]
    assert errors({"neighbours": {"alerting": {"url": "http://a", "fail": "closed"}}}) == [
        "neighbours.alerting.fail: must be open: no request waits for an alert"
    ]
    assert errors({}, BUDGET_SERVICE_URL="http://b", BUDGET_SERVICE_FAIL="maybe") == [
        "BUDGET_SERVICE_FAIL: must be closed or open"
    ]
    assert errors({}, BUDGET_SERVICE_URL="http://b", BUDGET_SERVICE_TIMEOUT_S="0") == [
        "BUDGET_SERVICE_TIMEOUT_S: must be a number of seconds"
    ]
    assert errors({}, BUDGET_SERVICE_URL="http://b", BUDGET_SERVICE_TOKEN="a\r\nb: c") == [
        "BUDGET_SERVICE_TOKEN: holds characters that no header can carry"
    ]
    assert errors({}, USE_REAL_SERVICES="perhaps") == ["USE_REAL_SERVICES: must be true or false"]


def test_a_section_of_a_service_that_is_nowhere_is_named():
    (warning,) = load_mapping({"neighbours": {"budget": {"fail": "open"}}}, {}).warnings
    assert warning.startswith("neighbours.budget: has no effect: neither BUDGET_SERVICE_URL")


def test_an_issuer_has_strict_defaults():
    jwt = load_mapping({"auth": {"jwt": JWT}}, {}).jwt
    assert jwt is not None
    assert jwt.algorithms == ("RS256", "ES256", "EdDSA")
    assert jwt.audience == ("tollhouse",)
    assert jwt.claims == {"user": "sub", "team": "team", "tenant": "tenant", "models": "models"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"algorithms": ["HS256"]}, "auth.jwt.algorithms: HS256 is none of"),
        ({"algorithms": ["none"]}, "auth.jwt.algorithms: none is none of"),
        ({"issuer": "http://idp.example.com"}, "auth.jwt.issuer: must be https"),
        ({"jwks_url": "http://idp.example.com/jwks"}, "auth.jwt.jwks_url: must be https"),
        ({"jwks_url": "https://u:p@idp.example.com/jwks"}, "auth.jwt.jwks_url: must not hold credentials"),
        ({"audience": []}, "auth.jwt.audience: "),
        ({"audience": None}, "auth.jwt.audience: "),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(change, said):
    found = errors({"auth": {"jwt": JWT | change}})
    assert any(problem.startswith(said) for problem in found), found


def test_an_issuer_that_is_not_asked_may_have_any_name():
    jwt = load_mapping({"auth": {"jwt": JWT | {"issuer": "acme", "jwks_url": "https://idp.example.com/k"}}}, {}).jwt
    assert jwt is not None
    assert jwt.issuer == "acme"


def test_without_pyjwt_the_section_is_an_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert errors({"auth": {"jwt": JWT}}) == ["auth.jwt: needs PyJWT and cryptography: install tollhouse[jwt]"]
