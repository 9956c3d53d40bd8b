from __future__ import annotations

import random

import pytest

from tollhouse.config.files import Files
from tollhouse.config.loader import load
from tollhouse.gateway import clear_secrets

SECRET = "sk-" + "s3cr3t" * 5
MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_key: %s}}]\n"


@pytest.mark.parametrize(
    ("text", "is_clear"),
    [
        ("keys: [{name: a, key: os.environ/SECRET}]\n" + MODEL % "os.environ/SECRET", False),
        ("general_settings: {master_key: '${SECRET}'}\nstore: os.environ/STORE\n", False),
        (MODEL % SECRET, True),
        (MODEL % ('"' + SECRET.replace("s3", "\\x73\\x33") + '"'), True),
        (f"keys: [{{name: a, key: {SECRET}}}]\n", True),
        (f"auth: {{tokens: [{SECRET}]}}\n", True),
        (f"general_settings: {{master_key: {SECRET}}}\n", True),
        (f"environment_variables: {{OPENAI_API_KEY: {SECRET}}}\n", True),
        (f"store: redis://:{SECRET}@127.0.0.1/0\n", True),
        (f"scan: {{request: {{}}, pseudonym_key: {SECRET}}}\n", True),
        ("scan: {request: {}}\nstore: redis://127.0.0.1/0\n", False),
    ],
)
def test_a_secret_in_clear_is_seen_however_it_is_written(tmp_path, text, is_clear):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    files = Files()
    settings = load(str(path), {"SECRET": SECRET, "STORE": f"redis://:{SECRET}@127.0.0.1/0"}, files=files)
    assert clear_secrets.found(settings, files.contents.values()) is is_clear


def test_many_secrets_of_any_length_are_found_as_one_by_one():
    chance = random.Random(5)

    def some(least: int, most: int) -> str:
        return "".join(chance.choice("abc") for _ in range(chance.randint(least, most)))

    seen = set()
    for _ in range(2000):
        secrets = {some(1, 9) for _ in range(chance.randrange(5))}
        text = some(0, 12)
        is_there = any(secret in text for secret in secrets)
        assert clear_secrets._search(secrets)(text) is is_there, (secrets, text)
        seen.add(is_there)
    assert seen == {True, False}
