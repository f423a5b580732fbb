"""What: trains the demo model on the CPU with JAX and writes the Hugging Face folder, training.json included.

Why: two busy cores and an hour have to suffice, so batches are cut by length, short conversations come first, only assistant tokens are
scored (a turn by the root of its length), and the learning rate follows the clock (warm up, hold, decay over the last part).
Invariant: nothing from heldout*.py but the final score comes near training.

    python train.py --out DIR [--minutes 28] [--tokenizer FILE] [--state STATE.npz] [--resume STATE.npz | --weights DIR]
"""
import argparse
import json
import os
import queue
import random
import threading
import time
import numpy as np
import chat
import corpus
import evaluate
import model
import texts

BUCKETS = {128: 10, 256: 5, 448: 3, 800: 2}                         # length -> rows; about 1,300 tokens each
SHORT = 256                                                         # longer conversations are rare at first


def word_pieces(tk):
    """Word-like tokens that decode alone, for texts.piece."""
    out = []
    for i in range(264, tk.get_vocab_size()):
        s = tk.decode([i])
        if s.strip() and "\ufffd" not in s and '"' not in s: out.append(s.strip() if random.Random(i).random() < .7 else s)
    return out


def turn_weights(mask):
    """A turn counts as the root of its length, so that a long quotation does not drown the one token that decides what to do."""
    out, start = np.zeros(len(mask), np.float32), 0
    for k in range(len(mask) + 1):
        if k == len(mask) or not mask[k]:
            out[start:k] = (k - start) ** -.5 if k > start else 0; start = k + 1
    return out


def batches(tk, seed, part):
    """Endless (T, ids [B, T+1], target positions [N], weights [N]); part() tells which share of the training is over."""
    r, full = random.Random(seed), {t: [] for t in BUCKETS}
    while True:
        ids, mask = chat.encode(tk, chat.segments(*corpus.conversation(r)))
        T = next((t for t in BUCKETS if t + 1 >= len(ids)), None)
        if T is None or T > SHORT and r.random() > .15 + .85 * part(): continue
        full[T].append((ids, mask))
        if len(full[T]) < BUCKETS[T]: continue
        rows, full[T] = full[T], []
        B = len(rows); X = np.full((B, T + 1), chat.PAD, np.int32); M = np.zeros((B, T), np.float32)
        for b, (i, m) in enumerate(rows):
            X[b, :len(i)] = i; M[b, :len(m) - 1] = turn_weights(m)[1:]
        pos = np.flatnonzero(M); N = B * T // 2                    # a fixed number of scored places keeps one compiled step per length
        if len(pos) > N: pos = np.sort(np.random.RandomState(len(pos)).choice(pos, N, replace=False))
        W = np.zeros(N, np.float32); W[:len(pos)] = M.reshape(-1)[pos]
        yield T, X, np.pad(pos, (0, N - len(pos))).astype(np.int32), W


def ahead(it, n=6):
    """Make batches in a thread beside the training step."""
    q = queue.Queue(n)
    def fill():
        for x in it: q.put(x)
    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield q.get()


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--out", required=True); ap.add_argument("--minutes", type=float, default=28)
    ap.add_argument("--vocab", type=int, default=1536); ap.add_argument("--seed", type=int, default=0); ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--decay", type=float, default=.4, help="share of the time in which the rate falls"); ap.add_argument("--resume"); ap.add_argument("--state")
    ap.add_argument("--weights", help="folder to start from: its weights and tokenizer, with a fresh optimizer"); ap.add_argument("--tokenizer", help="tokenizer.json to keep")
    ap.add_argument("--long", type=float, default=0, help="share of the long conversations, instead of one that grows with the clock")
    ap.add_argument("--warmup", type=int, default=150)
    ap.add_argument("--date", default=time.strftime("%Y-%m-%d")); ap.add_argument("--save-every", type=int, default=240, help="seconds")
    a = ap.parse_args()
    import jax, jax.numpy as jnp, optax
    done = dict(steps=0, seconds=0, tokens=0)
    if a.resume:                                                   # the tokenizer must stay what the weights were trained with
        from tokenizers import Tokenizer
        tk = Tokenizer.from_file(f"{a.out}/tokenizer.json")
    elif a.weights or a.tokenizer:
        from tokenizers import Tokenizer
        tk = Tokenizer.from_file(a.tokenizer or f"{a.weights}/tokenizer.json")
    else:
        tk = chat.corpus_tokenizer(a.vocab)
    texts.PIECES[:] = word_pieces(tk)
    p = jax.tree.map(jnp.asarray, model.init(tk.get_vocab_size(), a.seed))
    if a.weights:
        from safetensors.numpy import load_file
        p = jax.tree.map(jnp.asarray, load_file(f"{a.weights}/model.safetensors"))
    opt = optax.inject_hyperparams(lambda learning_rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, b2=0.98, weight_decay=0.01)))(learning_rate=a.lr)
    o = opt.init(p)
    if a.resume:
        z = np.load(a.resume); leaves, tree = jax.tree.flatten((p, o))
        p, o = jax.tree.unflatten(tree, [jnp.asarray(z[f"a{i}"]) for i in range(len(leaves))]); done = json.loads(str(z["done"]))
    print("vocabulary", tk.get_vocab_size(), "parameters", sum(v.size for v in p.values()), flush=True)
    cases = evaluate.load_cases(); evaluate.check_template(tk, cases)

    def loss(p, X, pos, W):
        h = model.hidden(p, X[:, :-1]); h = h.reshape(-1, h.shape[-1])[pos]
        ll = optax.softmax_cross_entropy_with_integer_labels(model.logits(p, h), X[:, 1:].reshape(-1)[pos])
        return (ll * W).sum() / jnp.maximum(W.sum(), 1)

    @jax.jit
    def step(p, o, X, pos, W):
        l, g = jax.value_and_grad(loss)(p, X, pos, W); u, o = opt.update(g, o, p)
        return optax.apply_updates(p, u), o, l

    def save():
        model.export(p, tk, a.out)
        if a.state:
            np.savez(a.state + ".tmp.npz", done=json.dumps(now()), **{f"a{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves((p, o)))})
            os.replace(a.state + ".tmp.npz", a.state)
    now = lambda: dict(steps=done["steps"] + i, seconds=round(done["seconds"] + time.time() - t0), tokens=done["tokens"] + tokens)

    saved = time.time()
    t0, i, ema, tokens, cpu = time.time(), 0, None, 0, time.process_time()
    for T, X, pos, W in ahead(batches(tk, a.seed + 1 + done["steps"], lambda: min(1, a.long or (time.time() - t0) / (a.minutes * 60)))):
        f = (time.time() - t0) / (a.minutes * 60)
        if f >= 1: break
        o.hyperparams["learning_rate"] = jnp.asarray(a.lr * min(1, (i + 1) / a.warmup) * min(1, max(.01, (1 - f) / a.decay)))
        p, o, l = step(p, o, X, pos, W); l = float(l)
        ema = l if ema is None else .98 * ema + .02 * l; i += 1; tokens += X.size
        if i % 25 == 0: print(f"step {i} {time.time() - t0:.0f}s cpu {time.process_time() - cpu:.0f}s {tokens / (time.time() - t0):.0f} tokens/s loss {ema:.4f}", flush=True)
        if time.time() - saved > a.save_every: save(); saved = time.time()
    save()
    ok = evaluate.score(p, tk, cases); res = evaluate.table(cases, ok); evaluate.show(res)
    with open(f"{a.out}/training.json", "w") as out:
        json.dump(dict(date=a.date, seed=a.seed, parameters=int(sum(v.size for v in p.values())), **now(), loss=round(ema, 4), heldout=res), out, indent=1); out.write("\n")


if __name__ == "__main__":
    main()
