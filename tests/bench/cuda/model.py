"""Makes a model folder with random weights in the shape of a real one.

Why: the speed of an engine depends on the shape of the model, not on what it has learned, and 16 GB of real weights are
not always at hand. Needs nothing but Python. Invariant: under greedy decoding the model never ends an answer by itself
(the rows of the end tokens in lm_head are zero, so their logit is 0 while the largest of the others is well above), and
each character of a prompt is one token; so a request says exactly how many tokens are read and written.

    python3 model.py FOLDER [--shape 8b|small]
"""
import argparse
import json
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# 8b: https://huggingface.co/meta-llama/Meta-Llama-3-8B/blob/main/config.json
SHAPES = {
    "8b": {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "mlp": 14336, "vocab": 128256, "shards": 16},
    "small": {"hidden": 128, "layers": 2, "heads": 2, "kv_heads": 1, "mlp": 256, "vocab": 512, "shards": 2},
}
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
BYTES = 256
NAME = "model-{:05}-of-{:05}.safetensors"
CONTEXT = 8192
POOL = 96 * 1024 * 1024 + 2  # not a multiple of a row, so that repeated rows are shifted


def pool():
    """Random bf16 numbers as bytes: either sign, magnitude from 2^-7 to 2^-5 (root of the mean square about 0.02)."""
    low = os.urandom(POOL // 2)  # the last bit of the exponent and the mantissa
    exponent = 120 >> 1  # bf16 is s eeeeeeee mmmmmmm; 120 stands for 2^-7
    high = os.urandom(POOL // 2).translate(bytes((byte & 0x80) | exponent for byte in range(256)))
    mixed = bytearray(POOL)
    mixed[0::2], mixed[1::2] = low, high
    return memoryview(bytes(mixed))


def tensors(shape):
    """Names and shapes of a Llama, in the order of its layers."""
    hidden, mlp = shape["hidden"], shape["mlp"]
    kv = hidden // shape["heads"] * shape["kv_heads"]
    out = [("model.embed_tokens.weight", (shape["vocab"], hidden))]
    for layer in range(shape["layers"]):
        at = f"model.layers.{layer}"
        out += [
            (f"{at}.self_attn.q_proj.weight", (hidden, hidden)),
            (f"{at}.self_attn.k_proj.weight", (kv, hidden)),
            (f"{at}.self_attn.v_proj.weight", (kv, hidden)),
            (f"{at}.self_attn.o_proj.weight", (hidden, hidden)),
            (f"{at}.mlp.gate_proj.weight", (mlp, hidden)),
            (f"{at}.mlp.up_proj.weight", (mlp, hidden)),
            (f"{at}.mlp.down_proj.weight", (hidden, mlp)),
            (f"{at}.input_layernorm.weight", (hidden,)),
            (f"{at}.post_attention_layernorm.weight", (hidden,)),
        ]
    return out + [("model.norm.weight", (hidden,)), ("lm_head.weight", (shape["vocab"], hidden))]


def size(dimensions):
    """Bytes of a bf16 tensor."""
    product = 2
    for dimension in dimensions:
        product *= dimension
    return product


def write_shard(path, members, numbers):
    """Writes one safetensors file: <https://github.com/huggingface/safetensors#format>."""
    header, at = {}, 0
    for name, dimensions in members:
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [at, at + size(dimensions)]}
        at += size(dimensions)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name, dimensions in members:
            left = size(dimensions)
            if len(dimensions) == 1:
                file.write(b"\x80\x3f" * dimensions[0])  # a norm of ones
                continue
            if name == "lm_head.weight":  # neither the specials nor half characters are ever the likeliest token
                silent = (len(SPECIALS) + BYTES) * dimensions[1] * 2
                file.write(bytes(silent))
                left -= silent
            start = zlib.crc32(name.encode()) % (POOL // 4) * 2
            while left:
                piece = numbers[start : start + min(left, 32 * 1024 * 1024)]
                left -= file.write(piece)
                start = (start + len(piece)) % POOL


def alphabet():
    """The 256 bytes as the printable characters that byte-level tokenizers write."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = iter(range(256, 512))
    return [chr(byte if byte in plain else next(other)) for byte in range(256)]


def tokenizer(vocab):
    """One token a byte; the other entries are words that no prompt is cut into and an answer can hold."""
    words = SPECIALS + alphabet()
    words += [f"w{number:x}" for number in range(vocab - len(words))]
    added = [
        {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number, text in enumerate(SPECIALS)
    ]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "vocab": {word: number for number, word in enumerate(words)}, "merges": []}  # fmt: skip
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model}  # fmt: skip


def config(shape):
    """config.json of the folder."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "bos_token_id": 0, "eos_token_id": 1, "hidden_size": shape["hidden"],
        "intermediate_size": shape["mlp"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"],
        "vocab_size": shape["vocab"], "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "use_cache": True, "initializer_range": 0.02, "pretraining_tp": 1,
    }  # fmt: skip


def costs(shape):
    """What a decoding step reads: bytes of weights, and bytes of keys and values a token of context."""
    weights = sum(size(dimensions) for name, dimensions in tensors(shape) if "embed_tokens" not in name)
    cache = 2 * 2 * shape["layers"] * shape["kv_heads"] * (shape["hidden"] // shape["heads"])
    return weights, cache


def make(folder, shape):
    """Writes the folder, its shards side by side."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = pool()
    members, shards = tensors(shape), shape["shards"]
    share = sum(size(dimensions) for _, dimensions in members) / shards
    files, filled, index = [[]], 0, {}
    for name, dimensions in members:
        if filled >= share and len(files) < shards:
            files, filled = [*files, []], 0
        files[-1].append((name, dimensions))
        filled += size(dimensions)
        index[name] = len(files)
    with ThreadPoolExecutor(shards) as threads:
        paths = [folder / NAME.format(number + 1, len(files)) for number in range(len(files))]
        list(threads.map(lambda pair: write_shard(*pair, numbers), zip(paths, files)))
    write = lambda name, document: (folder / name).write_text(json.dumps(document))  # noqa: E731
    write("model.safetensors.index.json", {
        "metadata": {}, "weight_map": {name: NAME.format(number, len(files)) for name, number in index.items()},
    })  # fmt: skip
    write("config.json", config(shape))
    write("generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False})
    write("tokenizer.json", tokenizer(shape["vocab"]))
    template = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    write("tokenizer_config.json", {
        "bos_token": SPECIALS[0], "eos_token": SPECIALS[1], "chat_template": template, "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast",
    })  # fmt: skip


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Makes a model folder with random weights.")
    arguments.add_argument("folder")
    arguments.add_argument("--shape", choices=SHAPES, default="8b")
    given = arguments.parse_args()
    make(given.folder, SHAPES[given.shape])
