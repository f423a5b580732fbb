"""What: the Llama forward pass in JAX, its structured initialisation, and the export as a Hugging Face folder.

Why: starting with a copying circuit in place (layer 0 looks 1, 2 and 3 tokens back through rope phases; heads of the layers after it
find where the last tokens stood before and copy what came next) training only has to learn when to use it.
Invariant: parameter names and shapes are those of LlamaForCausalLM with tied embeddings.
"""
import json
import os
import numpy as np
from chat import BOS, CHAT_TEMPLATE, EOM, EOS, EOT, PAD, SPECIALS

CFG = dict(hidden_size=192, intermediate_size=320, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
           rms_norm_eps=1e-5, rope_theta=100000000.0, max_position_embeddings=4096)
BACK, FAST = 3, 6                               # tokens looked back; rope pairs that turn fast enough to tell positions apart


def init(V, seed=0):
    rs = np.random.RandomState(seed); D, F, L = CFG["hidden_size"], CFG["intermediate_size"], CFG["num_hidden_layers"]
    H, G = CFG["num_attention_heads"], CFG["num_key_value_heads"]; hd = D // H; K = hd * G
    assert H // G >= BACK
    m = lambda o, i, g=1.0: (rs.randn(o, i) * g * i ** -0.5).astype(np.float32)
    p = {"model.embed_tokens.weight": np.zeros((V, D), np.float32), "model.norm.weight": np.ones(D, np.float32)}
    for l in range(L):
        q = f"model.layers.{l}."
        p |= {q + "self_attn.q_proj.weight": m(D, D), q + "self_attn.k_proj.weight": m(K, D), q + "self_attn.v_proj.weight": m(K, D),
              q + "self_attn.o_proj.weight": m(D, D, .4), q + "mlp.gate_proj.weight": m(F, D), q + "mlp.up_proj.weight": m(F, D),
              q + "mlp.down_proj.weight": m(D, F, .4), q + "input_layernorm.weight": np.ones(D, np.float32),
              q + "post_attention_layernorm.weight": np.ones(D, np.float32)}
    w = lambda l, k: p[f"model.layers.{l}.self_attn.{k}.weight"]
    half, th, I, S = hd // 2, CFG["rope_theta"] ** (-np.arange(0, hd, 2) / hd), D - 1 - BACK * hd, D - BACK * hd
    e = p["model.embed_tokens.weight"]                             # a constant, then the token's identity; the rest is empty for what stood before
    e[:, 0] = .5; e[:, 1:1 + I] = rs.randn(V, I) * .15
    P = (rs.randn(hd, I) * I ** -.5).astype(np.float32)
    # layer 0, group 0: head h looks h + 1 tokens back and writes the identity found there into slot h
    for k in "qkv": w(0, f"{k}_proj")[:(BACK if k == "q" else 1) * hd] = 0
    w(0, "v_proj")[:hd, 1:1 + I] = P; w(0, "o_proj")[:, :BACK * hd] = 0
    for f in range(FAST):
        a = 3.0 if f < 3 else 1.5
        w(0, "k_proj")[f, 0] = a
        for h in range(BACK):
            w(0, "q_proj")[h * hd + f, 0], w(0, "q_proj")[h * hd + half + f, 0] = a * np.cos(-th[f] * (h + 1)), a * np.sin(-th[f] * (h + 1))
    for h in range(BACK):
        w(0, "o_proj")[S + h * hd:S + (h + 1) * hd, h * hd:(h + 1) * hd] = .1 * np.eye(hd)
    # layers 1 and 2, first head of each group: match this token and the ones before it (slow rope pairs: almost blind to distance)
    slow = [f for f in range(hd) if f % half >= FAST]
    for l in (1, 2):
        for g in range(G):
            h = g * (H // G); q, k = slice(h * hd, (h + 1) * hd), slice(g * hd, (g + 1) * hd)
            w(l, "q_proj")[q] = 0; w(l, "k_proj")[k] = 0; w(l, "v_proj")[k] = 0; w(l, "o_proj")[:, q] = 0
            order = rs.permutation(hd)                             # which of P's directions this head compares
            for r, d in enumerate(slow):
                if r < len(slow) // 2: w(l, "q_proj")[h * hd + d, 1:1 + I] = 1.8 * P[order[r]]; w(l, "k_proj")[g * hd + d, S + order[r]] = 1.8
                else:
                    b = 0 if r < len(slow) * 4 // 5 else 1
                    w(l, "q_proj")[h * hd + d, S + b * hd + order[r]] = 1.8; w(l, "k_proj")[g * hd + d, S + (b + 1) * hd + order[r]] = 1.8
            w(l, "v_proj")[k, 1:1 + I] = P; w(l, "o_proj")[1:1 + I, q] = .15 * P.T
    return p


def hidden(p, x):
    """Token ids [B, T] -> final hidden states [B, T, D]."""
    import jax, jax.numpy as jnp
    D, H, G = CFG["hidden_size"], CFG["num_attention_heads"], CFG["num_key_value_heads"]; hd = D // H
    B, T = x.shape
    inv = CFG["rope_theta"] ** (-np.arange(0, hd, 2) / hd); ang = np.outer(np.arange(T), inv)
    cos, sin = jnp.asarray(np.cos(ang), jnp.float32), jnp.asarray(np.sin(ang), jnp.float32)
    norm = lambda h, w: h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + CFG["rms_norm_eps"]) * w
    def rope(z):
        a, b = jnp.split(z, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    def attend(q, k, v):                                           # queries in blocks, each with the keys before it only: half the work
        out, size = [], 64 if T <= 128 else 96 if T <= 256 else 144
        for a in range(0, T, size):
            b = min(T, a + size); mask = np.where(np.tril(np.ones((b - a, b), bool), a), 0, -1e9).astype(np.float32)
            s = jnp.einsum("bgrtd,bgsd->bgrts", q[..., a:b, :], k[:, :, :b]) + mask
            s = jnp.exp(s - jax.lax.stop_gradient(s.max(-1, keepdims=True)))
            out.append(jnp.einsum("bgrts,bgsd->bgrtd", s, v[:, :, :b]) / s.sum(-1, keepdims=True))
        return jnp.concatenate(out, -2)
    h = p["model.embed_tokens.weight"][x]
    for l in range(CFG["num_hidden_layers"]):
        w = lambda k: p[f"model.layers.{l}.{k}.weight"]
        y = norm(h, w("input_layernorm"))
        sp = lambda z, n: z.reshape(B, T, n, hd).transpose(0, 2, 1, 3)
        q, k, v = rope(sp(y @ w("self_attn.q_proj").T, H)), rope(sp(y @ w("self_attn.k_proj").T, G)), sp(y @ w("self_attn.v_proj").T, G)
        o = attend((q * hd ** -.5).reshape(B, G, H // G, T, hd), k, v).reshape(B, H, T, hd).transpose(0, 2, 1, 3).reshape(B, T, D)
        h = h + o @ w("self_attn.o_proj").T
        y = norm(h, w("post_attention_layernorm"))
        h = h + (jax.nn.silu(y @ w("mlp.gate_proj").T) * (y @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
    return norm(h, p["model.norm.weight"])


def logits(p, h):
    return h @ p["model.embed_tokens.weight"].T


def export(p, tk, out):
    """Write the Hugging Face folder: weights, tokenizer and their three JSON files."""
    from safetensors.numpy import save_file
    os.makedirs(out, exist_ok=True); tk.save(f"{out}/tokenizer.json", pretty=False)
    save_file({k: np.ascontiguousarray(np.asarray(v, np.float32)) for k, v in p.items()}, f"{out}/model.safetensors", {"format": "pt"})
    def dump(f, d):
        with open(f"{out}/{f}", "w") as o:
            o.write(json.dumps(d, indent=1) + "\n")
    dump("config.json", dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", attention_bias=False, mlp_bias=False,
         attention_dropout=0.0, bos_token_id=BOS, eos_token_id=[EOS, EOM, EOT], vocab_size=tk.get_vocab_size(), head_dim=CFG["hidden_size"] // CFG["num_attention_heads"],
         tie_word_embeddings=True, torch_dtype="float32", use_cache=True, initializer_range=0.02, pretraining_tp=1, rope_scaling=None, **CFG))
    dump("generation_config.json", dict(bos_token_id=BOS, eos_token_id=[EOS, EOM, EOT], do_sample=False))
    dump("tokenizer_config.json", dict(added_tokens_decoder={str(i): dict(content=s, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True) for i, s in enumerate(SPECIALS)},
         bos_token=SPECIALS[BOS], eos_token=SPECIALS[EOT], pad_token=SPECIALS[PAD], chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False,
         model_max_length=CFG["max_position_embeddings"], tokenizer_class="PreTrainedTokenizerFast"))
