"""llama.cpp's server over a model of random weights, half a megabyte large: it answers nonsense, and measures itself.

    python -m e2e.llama_server PORT

It serves until it is ended. Needs ``xllamacpp``, which holds llama.cpp's own server, and ``gguf``.
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

MODEL = "tiny-random"
WIDTH, HEADS, LAYERS, INNER = 64, 4, 2, 128


def write_model(path: Path) -> None:
    """Write a Llama of two layers, whose tokens are bytes and letters."""
    gguf: Any = importlib.import_module("gguf")
    numpy: Any = importlib.import_module("numpy")
    letters = [mark + letter for mark in ("", "\N{LOWER ONE EIGHTH BLOCK}") for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    kinds = gguf.TokenType
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(MODEL)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(letters))])
    special = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    writer.add_token_types([*special, *[kinds.BYTE] * 256, *[kinds.NORMAL] * len(letters)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    chance = numpy.random.default_rng(7)

    def add(name: str, *shape: int) -> None:
        ones = len(shape) == 1
        weights = numpy.ones(shape) if ones else chance.standard_normal(shape) * 0.05
        writer.add_tensor(f"{name}.weight", weights.astype(numpy.float32))

    add("token_embd", len(tokens), WIDTH)
    add("output_norm", WIDTH)
    add("output", len(tokens), WIDTH)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}", WIDTH)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}", WIDTH, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{layer}.{name}", INNER, WIDTH)
        add(f"blk.{layer}.ffn_down", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(port: int) -> None:
    """Write the model into this folder, and serve it."""
    path = Path.cwd() / "tiny.gguf"
    write_model(path)
    llama: Any = importlib.import_module("xllamacpp")
    asked = llama.CommonParams()
    asked.model.path, asked.model_alias = str(path), {MODEL}
    asked.n_ctx, asked.n_parallel, asked.warmup = 1024, 2, False
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = 1
    asked.port, asked.endpoint_metrics = port, True  # its host is 127.0.0.1
    _server = llama.Server(asked)
    signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]))
