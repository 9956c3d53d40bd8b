from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.policies import ANYTHING, section
from tollhouse.config.loader import ConfigError, load_mapping
from tollhouse.config.settings import ReceiptSettings


def receipts(given: dict[str, Any] | None, **environ: str) -> ReceiptSettings | None:
    return load_mapping({} if given is None else {"receipts": given}, environ).receipts


def test_there_are_none_unless_they_are_asked_for():
    assert receipts(None) is None
    assert receipts({}) == ReceiptSettings()


def test_the_environment_names_the_service_before_the_file_does():
    given = {"eris": {"url": "http://file:1", "token": "a", "timeout_s": 5}, "on_failure": "allow"}
    environ = {"ERIS_SERVICE_URL": "https://env/base", "ERIS_SERVICE_TOKEN": "b"}
    settings = load_mapping({"receipts": given}, environ)
    found = settings.neighbours.find("eris")
    assert settings.receipts is not None
    assert found is not None
    assert (found.url, found.timeout_s, settings.receipts.on_failure) == ("https://env/base", 5.0, "allow")
    assert found.token is not None
    assert (found.token.reveal(), "b" in repr(found.token)) == ("b", False)
    alone = load_mapping({}, {"LLM_GATEWAY_ERIS_SERVICE_URL": "http://env:2"})
    assert alone.receipts == ReceiptSettings()
    found = alone.neighbours.find("eris")
    assert found is not None
    assert found.url == "http://env:2"


def test_the_service_is_one_wherever_the_file_names_it():
    entry = {"url": "http://file:1", "token": "a", "timeout_s": 1}
    there = load_mapping({"receipts": {"eris": entry}}, {})
    here = load_mapping({"neighbours": {"eris": entry}}, {})
    assert there == here
    assert here.receipts == ReceiptSettings()
    with pytest.raises(ConfigError, match=r"receipts\.eris: is the same setting as neighbours\.eris"):
        load_mapping({"receipts": {"eris": entry}, "neighbours": {"eris": entry}}, {})


@pytest.mark.parametrize(
    "url", ["eris:80", "ftp://eris", "http://user:pw@eris", "http://eris?x=1", "http://eris:99999"]
)
def test_a_service_that_cannot_be_reached_is_refused(url):
    with pytest.raises(ConfigError, match=r"receipts\.eris\.url") as error:
        receipts({"eris": {"url": url}})
    assert "pw" not in str(error.value)
    with pytest.raises(ConfigError, match="ERIS_SERVICE_URL"):
        receipts(None, ERIS_SERVICE_URL=url)


@pytest.mark.parametrize("given", [{"on_failure": "maybe"}, {"buffer_bytes": 1}, {"max_lag_s": 0}])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ConfigError, match=rf"receipts\.{next(iter(given))}"):
        receipts(given)


def test_a_rule_that_wants_receipts_where_there_are_none_is_told(tmp_path):
    given = {"policy": section(tmp_path, {"id": "r", "effect": "allow", "obligations": {"receipt": True}})}
    assert any("rule r wants receipts" in warning for warning in load_mapping(given, {}).warnings)
    assert not any("wants receipts" in warning for warning in load_mapping(given | {"receipts": {}}, {}).warnings)


def test_policies_and_receipts_take_no_package_beside_the_plain_installation(monkeypatch, tmp_path):
    for name in ("cryptography", "jwt"):
        monkeypatch.setitem(sys.modules, name, None)
    given = {"policy": section(tmp_path, ANYTHING), "receipts": {}}
    environ = {"POLICY_SERVICE_URL": "http://127.0.0.1:1", "ERIS_SERVICE_URL": "http://127.0.0.1:1"}
    assert load_mapping(given, environ).policy is not None
