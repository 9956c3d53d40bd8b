"""Writes a Llama of half a megabyte with random weights: a real model file for llama.cpp's real server.

It speaks nonsense words, the same ones for the same prompt at temperature 0, and hardly ever ends by itself, so the
number of generated tokens is `max_tokens`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

EMBEDDING, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 2048
SYLLABLES = (
    "to",
    "ll",
    "ho",
    "use",
    "ga",
    "te",
    "way",
    "key",
    "mo",
    "del",
    "li",
    "mit",
    "pro",
    "xy",
    "é",
    "ß",
    "日本",
    "😀",
)
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


def write_tiny_model(path: Path) -> Path:
    """Write the model to `path`; the same bytes every time."""
    tokens, types = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types([int(kind) for kind in types])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in _tensors(types):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> tuple[list[bytes], list[gguf.TokenType]]:
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    words = [*SYLLABLES, *("▁" + syllable for syllable in SYLLABLES), "▁"]
    tokens.extend(word.encode() for word in words)
    types.extend([gguf.TokenType.NORMAL] * len(words))
    return tokens, types


def _tensors(types: list[gguf.TokenType]) -> list[tuple[str, NDArray[np.float32]]]:
    random = np.random.default_rng(20_240_501)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    ones = np.ones(EMBEDDING, dtype=np.float32)
    # Words only: rows of zero keep bytes and the end of the text far below the best word.
    spoken = np.array([kind == gguf.TokenType.NORMAL for kind in types], dtype=np.float32)
    tensors = [
        ("token_embd.weight", matrix(len(types), EMBEDDING)),
        ("output_norm.weight", ones),
        ("output.weight", matrix(len(types), EMBEDDING) * spoken[:, None] * 20),
    ]
    for i in range(LAYERS):
        tensors += [
            (f"blk.{i}.attn_norm.weight", ones),
            (f"blk.{i}.attn_q.weight", matrix(EMBEDDING, EMBEDDING)),
            (f"blk.{i}.attn_k.weight", matrix(EMBEDDING, EMBEDDING)),
            (f"blk.{i}.attn_v.weight", matrix(EMBEDDING, EMBEDDING)),
            (f"blk.{i}.attn_output.weight", matrix(EMBEDDING, EMBEDDING)),
            (f"blk.{i}.ffn_norm.weight", ones),
            (f"blk.{i}.ffn_gate.weight", matrix(FEED_FORWARD, EMBEDDING)),
            (f"blk.{i}.ffn_up.weight", matrix(FEED_FORWARD, EMBEDDING)),
            (f"blk.{i}.ffn_down.weight", matrix(EMBEDDING, FEED_FORWARD)),
        ]
    return tensors
