#!/usr/bin/env python3
"""What: scores any OpenAI-compatible server on heldout.jsonl through POST /v1/chat/completions, temperature 0.

Why: the figures of evaluate.py are about the weights; this one also goes through the engine, its tool parser and its wire.
Invariant: exact match only: the tool's name and its arguments as JSON values, or the text; a wrong answer and a failed request both count as misses.
Exit status: 0 when every threshold holds, 1 when one does not, 2 when the server cannot be reached at all.

    python score.py --url http://127.0.0.1:8321/v1 --model local/tiny [--key K] [--min-known 0.97] [--min-class 0.9] [--min-unseen 0.5]
"""
import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ARGS = {"lookup_order": {"order_id": "The order number, digits only."}, "start_return": {"order_id": "The order number, digits only.", "reason": "Why, if said."},
        "hand_off": {"reason": "missing_knowledge or customer_request"}}


def tool(name):
    props = {k: {"type": "string", "description": d} for k, d in ARGS.get(name, {}).items()}
    required = [k for k in props if name != "start_return" or k == "order_id"]
    return {"type": "function", "function": {"name": name, "description": f"The tool {name}.", "parameters": {"type": "object", "properties": props, "required": required}}}


def ask(a, case):
    """-> the assistant message of the answer; raises OSError or ValueError."""
    body = {"model": a.model, "messages": case["messages"], "temperature": 0, "max_tokens": a.max_tokens}
    if case["tools"]:
        body["tools"] = [tool(t) for t in case["tools"]]
    req = urllib.request.Request(a.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    if a.key:
        req.add_header("authorization", f"Bearer {a.key}")
    with urllib.request.urlopen(req, timeout=a.timeout) as res:
        return json.load(res)["choices"][0]["message"]


def right(expect, msg):
    """-> (matches, what came) of one assistant message."""
    calls = msg.get("tool_calls") or []
    if "text" in expect:
        return not calls and msg.get("content") == expect["text"], calls or msg.get("content")
    if len(calls) != 1:
        return False, calls or msg.get("content")
    fn = calls[0]["function"]
    try:
        args = json.loads(fn["arguments"] or "{}")
    except ValueError:
        return False, fn
    return fn["name"] == expect["tool"]["name"] and args == expect["tool"]["arguments"], fn


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--url", required=True, help="base URL, with /v1"); ap.add_argument("--model", required=True); ap.add_argument("--key", default=os.environ.get("OPENAI_API_KEY", ""))
    ap.add_argument("--file", default=f"{HERE}/heldout.jsonl"); ap.add_argument("--every", type=int, default=1, help="take every k-th case only")
    ap.add_argument("--class", dest="only", help="one class only"); ap.add_argument("--misses", type=int, default=10, help="misses to print")
    ap.add_argument("--min-known", type=float, default=0.97, help="least share over all known phrasings"); ap.add_argument("--min-class", type=float, default=0.0, help="least share in each class of known phrasings")
    ap.add_argument("--min-unseen", type=float, default=0.0, help="least share over all unseen phrasings")
    ap.add_argument("--max-tokens", type=int, default=400); ap.add_argument("--timeout", type=float, default=120)
    a = ap.parse_args()
    with open(a.file, encoding="utf-8") as f:
        cases = [c for c in map(json.loads, f) if not a.only or c["class"] == a.only][::a.every]
    if not cases:
        sys.exit("no case selected")
    res, answered, printed, t0 = {}, 0, 0, time.monotonic()
    for c in cases:
        try:
            ok, got = right(c["expect"], ask(a, c)); answered += 1
        except urllib.error.HTTPError as e:
            ok, got = False, f"HTTP {e.code}: {e.read()[:300]!r}"; answered += 1
        except (OSError, ValueError, KeyError, IndexError) as e:
            ok, got = False, f"{type(e).__name__}: {e}"
            if not answered:
                print(f"{a.url}: {got}", file=sys.stderr); sys.exit(2)
        t = res.setdefault((c["phrasing"], c["class"]), [0, 0]); t[0] += ok; t[1] += 1
        if not ok and printed < a.misses:
            printed += 1; print(f'miss {c["phrasing"]} {c["class"]}: {str(c["messages"][-1]["content"])[-120:]!r}\n  want {json.dumps(c["expect"], ensure_ascii=False)}\n  got  {json.dumps(got, ensure_ascii=False)}')
    bad = []
    for ph, least in (("known", a.min_known), ("unseen", a.min_unseen)):
        rows = {k: v for (p, k), v in sorted(res.items()) if p == ph}
        for k, (x, n) in rows.items():
            print(f"{ph:7} {k:28} {x:4}/{n:<4} {100 * x / n:5.1f} %")
            if ph == "known" and x / n < a.min_class: bad.append(f"{k} {x}/{n} is below {a.min_class}")
        x, n = sum(v[0] for v in rows.values()), sum(v[1] for v in rows.values())
        if n:
            print(f"{ph:7} {'ALL':28} {x:4}/{n:<4} {100 * x / n:5.1f} %")
            if x / n < least: bad.append(f"{ph} phrasings {x}/{n} are below {least}")
    print(f"{len(cases)} requests in {time.monotonic() - t0:.0f} s")
    for b in bad:
        print("below threshold:", b, file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
