from __future__ import annotations

import pytest

from tollhouse.config.encodings import MOST_PER_IMAGE, reading


@pytest.mark.parametrize(
    ("model", "encoding", "image"),
    [
        ("gpt-4o", "o200k_base", 1445),
        ("gpt-4o-mini-2024-07-18", "o200k_base", 48_169),
        ("openai/gpt-4.1-nano", "o200k_base", 3779),
        ("gpt-4", "cl100k_base", MOST_PER_IMAGE),
        ("gpt-4-0613", "cl100k_base", MOST_PER_IMAGE),
        ("gpt-5-2025-08-07", "o200k_base", 1190),
        ("gpt-5.4", "o200k_base", MOST_PER_IMAGE),
        ("gpt-50", None, MOST_PER_IMAGE),
        ("text-embedding-3-small", "cl100k_base", MOST_PER_IMAGE),
        ("claude-3-haiku", None, 1600),
        ("llama-3.1-8b", None, MOST_PER_IMAGE),
        ("", None, MOST_PER_IMAGE),
    ],
)
def test_a_model_reads_as_the_longest_name_says(model, encoding, image):
    known = reading(model)
    assert (known.encoding, known.tokens_per_image) == (encoding, image)
