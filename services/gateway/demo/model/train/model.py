"""What: the Llama forward pass in JAX, its structured initialisation, and the export as a Hugging Face folder.

Why: starting with a copying circuit in place (layer 0 looks 1 and 2 tokens back and averages the 5 and the 20 before, through rope
phases; heads of the layers after it find where the last tokens stood before and copy what came next) training only has to learn when to
use it: before the first step it already gets 4 of 5 copied tokens right.
Invariant: parameter names and shapes are those of LlamaForCausalLM with tied embeddings.
"""
import json
import os
import numpy as np
from chat import BOS, CHAT_TEMPLATE, EOM, EOS, EOT, PAD, SPECIALS

CFG = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
           rms_norm_eps=1e-5, rope_theta=1e16, max_position_embeddings=4096)
FAST, SLOT = 6, 44                              # rope pairs that tell positions apart (turning by 1, .32, .1 ... a token); width of a look-back slot
# look-back heads of layer 0: attention strength of each fast pair, tokens back, how many tokens that averages
BACK = [([18, 10, 10, 10, 10, 10], 1, 1), ([18, 10, 10, 10, 10, 10], 2, 1), ([0, 4.4, 8, 8, 8, 8], 4, 5), ([0, 0, 2, 5, 8, 8], 14, 20)]
# matching heads (layer, group): attention strength of this token, the one before, the 5 before, the 20 before
MATCH = {(1, 0): (9, 7, 7, 7), (1, 1): (9, 7, 7, 7), (2, 0): (9, 7, 9, 9)}
WIDTH = (18, 12, 12, 10)                        # dimensions given to each of them


def init(V, seed=0):
    rs = np.random.RandomState(seed); D, F, L = CFG["hidden_size"], CFG["intermediate_size"], CFG["num_hidden_layers"]
    H, G = CFG["num_attention_heads"], CFG["num_key_value_heads"]; hd = D // H; K = hd * G; half = hd // 2
    m = lambda o, i, g=1.0: (rs.randn(o, i) * g * i ** -0.5).astype(np.float32)
    p = {"model.embed_tokens.weight": np.zeros((V, D), np.float32), "model.norm.weight": np.ones(D, np.float32)}
    for l in range(L):
        q = f"model.layers.{l}."
        p |= {q + "self_attn.q_proj.weight": m(D, D), q + "self_attn.k_proj.weight": m(K, D), q + "self_attn.v_proj.weight": m(K, D),
              q + "self_attn.o_proj.weight": m(D, D, .1), q + "mlp.gate_proj.weight": m(F, D), q + "mlp.up_proj.weight": m(F, D),
              q + "mlp.down_proj.weight": m(D, F, .1), q + "input_layernorm.weight": np.ones(D, np.float32),
              q + "post_attention_layernorm.weight": np.ones(D, np.float32)}
    w = lambda l, k: p[f"model.layers.{l}.self_attn.{k}.weight"]
    th, I, S = CFG["rope_theta"] ** (-np.arange(0, hd, 2) / hd), D - 1 - len(BACK) * SLOT, D - len(BACK) * SLOT
    # an embedding is a constant and the token's identity (a unit vector); the rest is empty for what stood before
    e, ident = p["model.embed_tokens.weight"], slice(1, 1 + I)
    e[:, 0] = .5; z = rs.randn(V, I); e[:, ident] = z / np.linalg.norm(z, axis=1, keepdims=True)
    size = [D ** .5 / 1.25 ** .5, D ** .5 / (1.25 + len(BACK) * .6) ** .5]     # what the norm multiplies by in layer 0, and after it
    P = np.linalg.qr(rs.randn(I, I))[0][:hd].astype(np.float32)    # hd directions of the identity
    # layer 0: keys are a constant turned by position; head h averages the tokens at its distance and writes them into slot h
    w(0, "q_proj")[:] = 0; w(0, "k_proj")[:] = 0; w(0, "o_proj")[:] = 0
    for g in range(G):
        w(0, "v_proj")[g * hd:(g + 1) * hd] = 0; w(0, "v_proj")[g * hd:(g + 1) * hd, ident] = P / size[0]
        for f in range(FAST): w(0, "k_proj")[g * hd + f, 0] = 4 / (.5 * size[0])
    for h, (strength, c, n) in enumerate(BACK):
        for f, a in enumerate(strength):
            a = a * hd ** .5 / 4 / (.5 * size[0])
            w(0, "q_proj")[h * hd + f, 0], w(0, "q_proj")[h * hd + half + f, 0] = a * np.cos(-th[f] * c), a * np.sin(-th[f] * c)
        w(0, "o_proj")[S + h * SLOT:S + (h + 1) * SLOT, h * hd:h * hd + SLOT] = n ** .5 * np.eye(SLOT) * (I / hd) ** .5
    # matching heads, first of their group: compare this token and its slots with the slots of every place before (slow rope pairs:
    # blind to distance), and write the identity of what stands there
    slow = [f for f in range(hd) if f % half >= FAST][::-1]
    for (l, g), strength in MATCH.items():
        h = g * (H // G); q, k = slice(h * hd, (h + 1) * hd), slice(g * hd, (g + 1) * hd)
        w(l, "q_proj")[q] = 0; w(l, "k_proj")[k] = 0; w(l, "v_proj")[k] = 0; w(l, "o_proj")[:, q] = 0
        d = iter(slow)
        for b, (a, n) in enumerate(zip(strength, WIDTH)):
            x = (a * hd ** .5 * (I / n)) ** .5 / size[1]           # n of I dimensions carry n / I of a unit vector's square
            for j in rs.permutation(SLOT)[:n]:
                r = next(d)                                        # a key stands one token further, at what shall be copied: its slots 0 and 1
                w(l, "k_proj")[g * hd + r, S + b * SLOT + j] = x   # are compared with this token and with slot 0; averages hardly shift
                if b == 0: w(l, "q_proj")[h * hd + r, ident] = x * P[j]
                else: w(l, "q_proj")[h * hd + r, S + (0 if b == 1 else b) * SLOT + j] = x
        w(l, "v_proj")[k, ident] = P / size[1]; w(l, "o_proj")[ident, q] = 1.2 * P.T
        if (l, g) == (2, 0):                                       # its neighbour looks at the place itself and takes the present token's identity away
            h += 1; q = slice(h * hd, (h + 1) * hd); w(l, "q_proj")[q] = 0; w(l, "o_proj")[ident, q] = -1.0 * P.T
            for f, a in enumerate(BACK[0][0]):
                w(l, "k_proj")[g * hd + f, 0] = 4 / (.5 * size[1]); w(l, "q_proj")[h * hd + f, 0] = a * hd ** .5 / 4 / (.5 * size[1])
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
