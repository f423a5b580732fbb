"""Makes small model folders with random weights, one for each architecture named here.

Why: whether the engine loads an architecture and answers with it depends on the names and shapes of its tensors and on
its config.json, not on what it has learned; real weights of all of them would be a hundred gigabytes. Needs nothing but
Python. Sources: the config.json files and tensor names of the models as published. Invariant: each
character of a prompt is one token.

    python3 shapes.py FOLDER [NAME...]
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "cuda"))
from model import CONTEXT, SPECIALS, pool, tokenizer, write_shard  # noqa: E402

# 256: what quantisation in blocks (Q4K) needs of a row.
HIDDEN, LAYERS, HEADS, KV_HEADS, MLP, VOCAB, EXPERTS = 256, 2, 4, 2, 512, 512, 4
HEAD = HIDDEN // HEADS

COMMON = {
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
    "intermediate_size": MLP, "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16", "use_cache": True, "attention_dropout": 0.0, "sliding_window": None,
}  # fmt: skip

TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
# ChatML with Hermes' calls, as Qwen's models have it.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if tools %}<tools>{% for tool in tools %}{{ tool['function']['name'] }} {% endfor %}</tools>\n"
    'For each call write <tool_call>{"name": ..., "arguments": ...}</tool_call>{% endif %}<|im_start|>assistant\n'
)


def attention(at, bias=(), norms=()):
    """Separate projections; `bias`: those that add one; `norms`: norms over a head."""
    sizes = {"q": HEADS * HEAD, "k": KV_HEADS * HEAD, "v": KV_HEADS * HEAD}
    out = [(f"{at}.self_attn.{name}_proj.weight", (size, HIDDEN)) for name, size in sizes.items()]
    out += [(f"{at}.self_attn.{name}_proj.bias", (size,)) for name, size in sizes.items() if name in bias]
    out += [(f"{at}.self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD))]
    out += [(f"{at}.self_attn.o_proj.bias", (HIDDEN,))] if "o" in bias else []
    return out + [(f"{at}.self_attn.{name}.weight", (HEAD,)) for name in norms]


def mlp(at, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = names
    return [(f"{at}.{gate}.weight", (MLP, HIDDEN)), (f"{at}.{up}.weight", (MLP, HIDDEN)), (f"{at}.{down}.weight", (HIDDEN, MLP))]


def norms(at, names=("input_layernorm", "post_attention_layernorm"), bias=False):
    out = [(f"{at}.{name}.weight", (HIDDEN,)) for name in names]
    return out + ([(f"{at}.{name}.bias", (HIDDEN,)) for name in names] if bias else [])


def plain(at):
    return attention(at) + mlp(f"{at}.mlp") + norms(at)


def qwen2(at):
    return attention(at, bias="qkv") + mlp(f"{at}.mlp") + norms(at)


def qwen3(at):
    return attention(at, norms=("q_norm", "k_norm")) + mlp(f"{at}.mlp") + norms(at)


def qwen3_moe(at):
    experts = [pair for number in range(EXPERTS) for pair in mlp(f"{at}.mlp.experts.{number}")]
    return attention(at, norms=("q_norm", "k_norm")) + [(f"{at}.mlp.gate.weight", (EXPERTS, HIDDEN))] + experts + norms(at)


def mixtral(at):
    moe = f"{at}.block_sparse_moe"
    experts = [pair for number in range(EXPERTS) for pair in mlp(f"{moe}.experts.{number}", ("w1", "w3", "w2"))]
    return attention(at) + [(f"{moe}.gate.weight", (EXPERTS, HIDDEN))] + experts + norms(at)


def gemma2(at):
    between = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return attention(at) + mlp(f"{at}.mlp") + norms(at, between)


def phi3(at):
    together = (HEADS + 2 * KV_HEADS) * HEAD
    return [
        (f"{at}.self_attn.qkv_proj.weight", (together, HIDDEN)), (f"{at}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)),
        (f"{at}.mlp.gate_up_proj.weight", (2 * MLP, HIDDEN)), (f"{at}.mlp.down_proj.weight", (HIDDEN, MLP)),
    ] + norms(at)  # fmt: skip


def starcoder2(at):
    feed = [(f"{at}.mlp.c_fc.weight", (MLP, HIDDEN)), (f"{at}.mlp.c_fc.bias", (MLP,)),
            (f"{at}.mlp.c_proj.weight", (HIDDEN, MLP)), (f"{at}.mlp.c_proj.bias", (HIDDEN,))]  # fmt: skip
    return attention(at, bias="qkvo") + feed + norms(at, bias=True)


GEMMA = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "head_dim": HEAD,
         "attention_bias": False, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
         "query_pre_attn_scalar": HEAD, "sliding_window": 4096, "tie_word_embeddings": True}  # fmt: skip
MOE = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": MLP, "norm_topk_prob": True,
       "decoder_sparse_step": 1, "mlp_only_layers": [], "head_dim": HEAD, "attention_bias": False}  # fmt: skip

# name: class, model_type, tensors of a layer, what config.json has besides, chat template
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "llama", plain, {"attention_bias": False, "mlp_bias": False}, TEMPLATE),
    "mistral": ("MistralForCausalLM", "mistral", plain, {"head_dim": HEAD, "sliding_window": 4096}, TEMPLATE),
    "mixtral": ("MixtralForCausalLM", "mixtral", mixtral, {"num_local_experts": EXPERTS, "num_experts_per_tok": 2, "sliding_window": 4096}, TEMPLATE),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", qwen2, {"use_sliding_window": False, "max_window_layers": LAYERS}, CHATML),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", qwen3, {"head_dim": HEAD, "attention_bias": False, "use_sliding_window": False, "max_window_layers": LAYERS}, CHATML),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "qwen3_moe", qwen3_moe, {**MOE, "use_sliding_window": False, "max_window_layers": LAYERS}, CHATML),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", gemma2, GEMMA, TEMPLATE),
    "phi3": ("Phi3ForCausalLM", "phi3", phi3, {"original_max_position_embeddings": CONTEXT, "rope_scaling": None, "sliding_window": 4096, "partial_rotary_factor": 1.0}, TEMPLATE),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", plain, {"no_rope_layers": [1, 0], "no_rope_layer_interval": 4, "attention_bias": False, "mlp_bias": False}, TEMPLATE),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", starcoder2, {"norm_epsilon": 1e-5, "use_bias": True, "hidden_act": "gelu_pytorch_tanh", "sliding_window": 4096, "residual_dropout": 0.0}, TEMPLATE),
}  # fmt: skip


def make_embedding(folder, numbers=None):
    """Writes a folder in the shape of Qwen3-Embedding: Qwen3 without what comes before its layers' names, and without a
    head, and sentence-transformers' files behind it."""
    make(folder, "qwen3", numbers)
    folder = Path(folder)
    members = [("embed_tokens.weight", (VOCAB, HIDDEN))]
    for number in range(LAYERS):
        members += qwen3(f"layers.{number}")
    members.append(("norm.weight", (HIDDEN,)))
    write_shard(folder / "model.safetensors", members, numbers or pool())
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for number, (path, kind) in enumerate(parts)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"]
    pooling = {**{f"pooling_mode_{mode}": False for mode in modes}, "pooling_mode_lasttoken": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": HIDDEN, "include_prompt": True, **pooling}))


def mark(folder, marks):
    """Gives tokens of a folder names that stand for images: those of low numbers, which no prompt is cut into."""
    tokens = tokenizer(VOCAB)
    words = {number: word for word, number in tokens["model"]["vocab"].items()} | marks
    tokens["model"]["vocab"] = {word: number for number, word in words.items()}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokens["added_tokens"] = [{"id": number, "content": words[number], **special} for number in range(6)]
    (folder / "tokenizer.json").write_text(json.dumps(tokens))


# Image towers of Qwen2-VL: patches of 14 × 14 pixels in two frames, 2 × 2 of them a token.
VISION = {"depth": 2, "embed_dim": 64, "hidden_size": HIDDEN, "mlp_ratio": 4, "num_heads": 4, "in_channels": 3,
          "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}  # fmt: skip


def make_vision(folder, numbers=None):
    """Writes a folder in the shape of Qwen2-VL: Qwen2 with a tower that makes tokens out of images."""
    make(folder, "qwen2", numbers)
    folder = Path(folder)
    members = [("model.embed_tokens.weight", (VOCAB, HIDDEN))]
    for number in range(LAYERS):
        members += qwen2(f"model.layers.{number}")
    members += [*norms("model", ("norm",)), ("lm_head.weight", (VOCAB, HIDDEN))]
    wide, merged = VISION["embed_dim"], VISION["embed_dim"] * VISION["spatial_merge_size"] ** 2
    members.append(("visual.patch_embed.proj.weight", (wide, 3, VISION["temporal_patch_size"], 14, 14)))
    for number in range(VISION["depth"]):
        at = f"visual.blocks.{number}"
        members += [(f"{at}.{norm}.{part}", (wide,)) for norm in ("norm1", "norm2") for part in ("weight", "bias")]
        members += linear(f"{at}.attn.qkv", 3 * wide, wide) + linear(f"{at}.attn.proj", wide, wide)
        members += linear(f"{at}.mlp.fc1", 4 * wide, wide) + linear(f"{at}.mlp.fc2", wide, 4 * wide)
    members += [("visual.merger.ln_q.weight", (wide,)), ("visual.merger.ln_q.bias", (wide,))]
    members += linear("visual.merger.mlp.0", merged, merged) + linear("visual.merger.mlp.2", HIDDEN, merged)
    write_shard(folder / "model.safetensors", members, numbers or pool())
    config = json.loads((folder / "config.json").read_text())
    config.update({
        "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "vision_config": VISION,
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]}, "image_token_id": 4, "video_token_id": 5,
        "vision_start_token_id": 2, "vision_end_token_id": 3,
    })  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    mark(folder, {2: "<|vision_start|>", 3: "<|vision_end|>", 4: "<|image_pad|>", 5: "<|video_pad|>"})
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor",
    }))  # fmt: skip


# Gemma 3's tower (SigLIP): 8 × 8 patches of 14 × 14 pixels, 2 × 2 of them a token.
SIGLIP = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_channels": 3,
          "image_size": 112, "patch_size": 14, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}  # fmt: skip
GEMMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def gemma3(at):
    """As Gemma 2, and norms over the heads."""
    return gemma2(at) + [(f"{at}.self_attn.{name}.weight", (HEAD,)) for name in ("q_norm", "k_norm")]


def linear(at, out, into):
    return [(f"{at}.weight", (out, into)), (f"{at}.bias", (out,))]


def make_gemma3(folder, numbers=None):
    """Writes a folder in the shape of Gemma 3 with its image tower."""
    make(folder, "gemma2", numbers)
    folder = Path(folder)
    members = [("language_model.model.embed_tokens.weight", (VOCAB, HIDDEN))]
    for number in range(LAYERS):
        members += gemma3(f"language_model.model.layers.{number}")
    members += norms("language_model.model", ("norm",))
    wide, tower = SIGLIP["hidden_size"], "vision_tower.vision_model"
    patches, tokens = (SIGLIP["image_size"] // SIGLIP["patch_size"]) ** 2, 16
    members += [(f"{tower}.embeddings.patch_embedding.weight", (wide, 3, 14, 14)), (f"{tower}.embeddings.patch_embedding.bias", (wide,)),
                (f"{tower}.embeddings.position_embedding.weight", (patches, wide))]  # fmt: skip
    for number in range(SIGLIP["num_hidden_layers"]):
        at = f"{tower}.encoder.layers.{number}"
        members += [(f"{at}.{norm}.{part}", (wide,)) for norm in ("layer_norm1", "layer_norm2") for part in ("weight", "bias")]
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            members += linear(f"{at}.self_attn.{name}", wide, wide)
        members += linear(f"{at}.mlp.fc1", 2 * wide, wide) + linear(f"{at}.mlp.fc2", wide, 2 * wide)
    members += [(f"{tower}.post_layernorm.{part}", (wide,)) for part in ("weight", "bias")]
    members += [("multi_modal_projector.mm_soft_emb_norm.weight", (wide,)),
                ("multi_modal_projector.mm_input_projection_weight", (wide, HIDDEN))]  # fmt: skip
    write_shard(folder / "model.safetensors", members, numbers or pool())
    text = {**json.loads((folder / "config.json").read_text()), "model_type": "gemma3_text", "rope_local_base_freq": 10000.0,
            "sliding_window_pattern": 2, "sliding_window": 512, "attn_logit_softcapping": None, "final_logit_softcapping": None}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text, "vision_config": SIGLIP,
        "boi_token_index": 2, "eoi_token_index": 3, "image_token_index": 4, "mm_tokens_per_image": tokens, "torch_dtype": "bfloat16",
    }))  # fmt: skip
    mark(folder, {2: "<start_of_image>", 3: "<end_of_image>", 4: "<image_soft_token>"})
    words = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**words, "chat_template": GEMMA3_TEMPLATE}))
    (folder / "processor_config.json").write_text(json.dumps({"image_seq_length": tokens, "processor_class": "Gemma3Processor"}))
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": None, "do_pan_and_scan": None, "resample": 2,
        "rescale_factor": 1 / 255, "size": {"height": SIGLIP["image_size"], "width": SIGLIP["image_size"]},
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "image_processor_type": "Gemma3ImageProcessor",
    }))  # fmt: skip


# Folders that are no plain language models.
OTHERS = {"qwen3-embedding": make_embedding, "qwen2-vl": make_vision, "gemma3": make_gemma3}


def make(folder, name, numbers=None):
    """Writes the folder of one architecture."""
    kind, model_type, layer, more, template = ARCHITECTURES[name]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {**COMMON, "architectures": [kind], "model_type": model_type, **more}
    members = [("model.embed_tokens.weight", (VOCAB, HIDDEN))]
    for number in range(LAYERS):
        members += layer(f"model.layers.{number}")
    members += norms("model", ("norm",), bias=name == "starcoder2")
    if not config["tie_word_embeddings"]:
        members.append(("lm_head.weight", (VOCAB, HIDDEN)))
    write_shard(folder / "model.safetensors", members, numbers or pool())
    write = lambda file, document: (folder / file).write_text(json.dumps(document))  # noqa: E731
    write("config.json", config)
    write("generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False})
    write("tokenizer.json", tokenizer(VOCAB))
    write("tokenizer_config.json", {
        "bos_token": SPECIALS[0], "eos_token": SPECIALS[1], "chat_template": template, "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast",
    })  # fmt: skip


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Makes small model folders with random weights.")
    arguments.add_argument("folder")
    arguments.add_argument("names", nargs="*")
    given = arguments.parse_args()
    shared = pool()
    for wanted in given.names or [*ARCHITECTURES, *OTHERS]:
        if wanted in OTHERS:
            OTHERS[wanted](Path(given.folder) / wanted, shared)
        else:
            make(Path(given.folder) / wanted, wanted, shared)
