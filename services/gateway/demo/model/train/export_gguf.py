"""What: writes the demo model as one GGUF file (llama architecture, gpt2 tokenizer model), f16 by default.

Why: a test loads a GGUF file from disk.  A loader that builds the tokenizer from the file alone may not know the header marks as single
tokens; give it this folder's tokenizer.json where it can take one.
Invariant: same weights and ids as model.safetensors; q and k rows are permuted to GGUF's interleaved rope order.

    python export_gguf.py --model DIR --out FILE [--f32]
"""
import argparse
import json
import os
import numpy as np
from chat import BOS, EOT, PAD, SPECIALS


def interleave(w, heads):
    """Half-split rope rows (Hugging Face) -> interleaved pairs (GGUF's llama)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ap = argparse.ArgumentParser(); ap.add_argument("--model", default=here); ap.add_argument("--out", default=f"{here}/tiny.gguf"); ap.add_argument("--f32", action="store_true")
    a = ap.parse_args()
    import gguf
    from safetensors.numpy import load_file
    load = lambda f: json.load(open(f"{a.model}/{f}", encoding="utf-8"))
    c, tok, p = load("config.json"), load("tokenizer.json"), load_file(f"{a.model}/model.safetensors")
    w = gguf.GGUFWriter(a.out, "llama")
    w.add_name("Frontdesk demo model"); w.add_description("A small demo model of Frontdesk, for its demo and tests only."); w.add_license("Apache-2.0")
    w.add_context_length(c["max_position_embeddings"]); w.add_embedding_length(c["hidden_size"]); w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"]); w.add_head_count(c["num_attention_heads"]); w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"]); w.add_rope_freq_base(c["rope_theta"]); w.add_rope_dimension_count(c["head_dim"]); w.add_vocab_size(c["vocab_size"])
    w.add_file_type(gguf.LlamaFileType.ALL_F32 if a.f32 else gguf.LlamaFileType.MOSTLY_F16)
    by_id = {i: t for t, i in tok["model"]["vocab"].items()}
    tokens = [by_id[i] for i in range(c["vocab_size"])]
    assert tokens[:len(SPECIALS)] == SPECIALS
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("llama-bpe"); w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if i < len(SPECIALS) else gguf.TokenType.NORMAL for i in range(len(tokens))])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]])
    w.add_bos_token_id(BOS); w.add_eos_token_id(EOT); w.add_pad_token_id(PAD); w.add_unk_token_id(PAD); w.add_add_bos_token(False)
    w.add_chat_template(load("tokenizer_config.json")["chat_template"])
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
             "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    def add(name, x):
        w.add_tensor(name, np.ascontiguousarray(x.astype(np.float32 if a.f32 or x.ndim == 1 else np.float16)))
    add("token_embd.weight", p["model.embed_tokens.weight"]); add("output_norm.weight", p["model.norm.weight"]); add("output.weight", p["model.embed_tokens.weight"])
    for l in range(c["num_hidden_layers"]):
        for k, g in names.items():
            x = p[f"model.layers.{l}.{k}.weight"]
            if g in ("attn_q", "attn_k"): x = interleave(x, c["num_attention_heads"] if g == "attn_q" else c["num_key_value_heads"])
            add(f"blk.{l}.{g}.weight", x)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    print(a.out, os.path.getsize(a.out), "bytes")


if __name__ == "__main__":
    main()
