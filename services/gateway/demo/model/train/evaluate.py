"""What: scores weights on heldout.jsonl in JAX, and proves that the in-code prompt equals the chat template, token for token.

Why: one teacher-forced pass tells whether greedy decoding would give exactly the expected turn (every expected token is the likeliest
after the true ones, if and only if greedy decoding writes them), so a thousand cases take seconds; misses are then really decoded.
Invariant: a case counts only when the whole turn, end mark included, is right.

    python evaluate.py --model DIR [--file CASES.jsonl] [--misses 20] [--json FILE]
"""
import argparse
import json
import os
import numpy as np
import chat
from chat import EOT, PAD

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (128, 192, 256, 384, 512, 640, 768, 1024)


def load_cases(path=f"{HERE}/heldout.jsonl"):
    with open(path, encoding="utf-8") as f:
        return [json.loads(x) for x in f]


def call_text(fn):
    a = fn["arguments"]
    return f'{{"name":"{fn["name"]}","parameters":{a if isinstance(a, str) else json.dumps(a, separators=(",", ":"), ensure_ascii=False)}}}'


def to_segments(c):
    """A held-out case -> (prompt segments, expected text)."""
    msgs = [("ipython" if m["role"] == "tool" else m["role"], call_text(m["tool_calls"][0]["function"]) if m.get("tool_calls") else m["content"]) for m in c["messages"]]
    want = call_text(c["expect"]["tool"]) if "tool" in c["expect"] else c["expect"]["text"]
    return chat.segments(msgs[0][1], c["tools"], msgs[1:], gen=True), want


def check_template(tk, cases):
    """The template, rendered by jinja2 and encoded as one text, gives the ids that training used."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    tpl = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(chat.CHAT_TEMPLATE)
    for c in cases:
        seg, want = to_segments(c)
        text = tpl.render(messages=c["messages"], tools=[{"type": "function", "function": {"name": t}} for t in c["tools"]] or None,
                          add_generation_prompt=True, bos_token=chat.SPECIALS[chat.BOS])
        assert text == "".join(x for x, _ in seg), (text, seg)
        full = chat.encode(tk, seg + [(want + "<|eot_id|>", 1)])[0]
        assert tk.encode(text + want + "<|eot_id|>", add_special_tokens=False).ids == full, text


def score(p, tk, cases, batch_tokens=4096):
    """-> [bool] per case."""
    import jax, jax.numpy as jnp, model
    fwd = jax.jit(lambda p, x: jnp.argmax(model.logits(p, model.hidden(p, x)), -1))
    rows, ok = [], [False] * len(cases)
    for i, c in enumerate(cases):
        seg, want = to_segments(c)
        ids, mask = chat.encode(tk, [(t, 0) for t, _ in seg] + [(want + "<|eot_id|>", 1)])
        rows.append((next((s for s in SIZES if s >= len(ids)), len(ids)), i, ids, mask))
    for T in sorted({x[0] for x in rows}):
        group = [x for x in rows if x[0] == T]; B = max(1, batch_tokens // T)
        for j in range(0, len(group), B):
            X = np.full((B, T), PAD, np.int32)
            for b, (_, _, ids, _) in enumerate(group[j:j + B]): X[b, :len(ids)] = ids
            Y = np.asarray(fwd(p, X))
            for b, (_, i, ids, mask) in enumerate(group[j:j + B]):
                ok[i] = all(Y[b, t - 1] == ids[t] for t in range(len(ids)) if mask[t])
    return ok


def greedy(p, tk, case, limit=260):
    """Really decode one case, token by token."""
    import jax, jax.numpy as jnp, model
    global _next
    if "_next" not in globals():
        _next = jax.jit(lambda p, x, n: jnp.argmax(model.logits(p, model.hidden(p, x)[0, n - 1])))
    ids = chat.encode(tk, to_segments(case)[0])[0]; start = len(ids)
    while len(ids) - start < limit:
        X = np.full((1, next(s for s in (256, 512, 1024, 2048) if s > len(ids))), PAD, np.int32); X[0, :len(ids)] = ids
        t = int(_next(p, X, len(ids)))
        if t == EOT: break
        ids.append(t)
    return tk.decode(ids[start:], skip_special_tokens=False)


def table(cases, ok):
    res = {}
    for c, k in zip(cases, ok):
        a = res.setdefault(c["phrasing"], {}).setdefault(c["class"], [0, 0]); a[0] += int(k); a[1] += 1
    return res


def show(res):
    for ph, classes in res.items():
        for k, (a, n) in sorted(classes.items()):
            print(f"{ph:7} {k:28} {a:4}/{n:<4} {100 * a / n:5.1f} %")
        a, n = map(sum, zip(*classes.values()))
        print(f"{ph:7} {'ALL':28} {a:4}/{n:<4} {100 * a / n:5.1f} %", flush=True)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--model", default=os.path.dirname(HERE)); ap.add_argument("--misses", type=int, default=12); ap.add_argument("--json"); ap.add_argument("--file", default=f"{HERE}/heldout.jsonl")
    a = ap.parse_args()
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    tk, p, cases = Tokenizer.from_file(f"{a.model}/tokenizer.json"), load_file(f"{a.model}/model.safetensors"), load_cases(a.file)
    check_template(tk, cases); print("template: in-code prompt equals the rendered template for", len(cases), "cases")
    ok = score(p, tk, cases); res = table(cases, ok); show(res)
    for c in [c for c, k in zip(cases, ok) if not k][:a.misses]:
        print(f'miss {c["phrasing"]} {c["class"]}: {c["messages"][-1]["content"][-160:]!r}\n  want {to_segments(c)[1]!r}\n  got  {greedy(p, tk, c)!r}')
    if a.json:
        with open(a.json, "w") as f: json.dump(res, f, indent=1)


if __name__ == "__main__":
    main()
