"""What: makes an examination of the demo model (tools, messages, expected assistant message per line).

Why: known phrasings with numbers, statuses and texts never trained, and unseen phrasings apart.  `heldout.jsonl` was written by this
script and committed before the first training step; it is never written again, since later changes of the corpus change what the same
seed gives.  Another seed gives a fresh examination of the same shape.
Invariant: every order number is of the residue class that the corpus leaves out; no unseen phrasing can come from the corpus.

    python heldout.py SEED > fresh.jsonl
"""
import json
import random
import sys
import corpus as C
import heldout_texts as H
import phrases as P
import texts as T
import words as W

OWN = ["lookup_order", "start_return", "hand_off"]
CHAT = list(P.CHAT)


def openai(msgs):
    """[(role, text)] of the corpus -> chat messages of the OpenAI wire."""
    out, ids = [], 0
    for role, text in msgs:
        if role == "assistant" and text.startswith('{"name":'):
            d = json.loads(text); ids += 1
            raw = text[len(f'{{"name":"{d["name"]}","parameters":'):-1]
            out.append({"role": role, "content": None, "tool_calls": [{"id": f"call_{ids}", "type": "function", "function": {"name": d["name"], "arguments": raw}}]})
        elif role == "ipython":
            out.append({"role": "tool", "tool_call_id": f"call_{ids}", "content": text})
        else:
            out.append({"role": role, "content": text})
    return out


def case(kind, phrasing, system, tools, msgs):
    """msgs ends with the expected assistant turn."""
    want = msgs[-1][1]
    if want.startswith('{"name":'):
        d = json.loads(want); expect = {"tool": {"name": d["name"], "arguments": d["parameters"]}}
    else:
        expect = {"text": want}
    return {"class": kind, "phrasing": phrasing, "tools": tools, "messages": [{"role": "system", "content": system}] + openai(msgs[:-1]), "expect": expect}


def all_tools(r, without=()):
    t = [x for x in OWN if x not in without] + r.sample(W.EXTRA_TOOLS, r.choice([0, 0, 0, 1, 2]))
    r.shuffle(t)
    return t


def sources(r, first=None):
    return [first or r.choice(H.TEXTS)] + r.sample(H.TEXTS, r.choice([0, 1, 2, 3]))


def fit(r, q, src):
    """Keep the prompt near 600 tokens: drop the last sources first."""
    while len(src) > 1 and sum(map(len, src)) > 1000:
        src = src[:-1]
    return C.with_sources(q, src)


def shop_text(r):
    return " ".join(r.sample(W.SYSTEM, r.choice([1, 2, 3, 5])))


def order_result(r, n):
    s = r.choice(W.HELD_STATUSES + W.HELD_STATUSES + H.STATUS_EXTRA)
    d = {"order_id": n, "status": s, "eta": f"2026-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}", "item": r.choice(H.ITEMS)}
    return [("ipython", C.compact(d)), ("assistant", f'Order {n} is "{s}", expected {d["eta"]}.')]


def known(r):
    """One case of every class."""
    num = lambda: C.number(r, held=True)
    def emit(kind, msgs, without=()):
        return case(kind, "known", shop_text(r), all_tools(r, without), msgs)
    n = num(); look = ("assistant", C.call("lookup_order", {"order_id": n})); back = ("assistant", C.call("start_return", {"order_id": n}))
    yield emit("order_call", [("user", C.ask_order(r, n)), look])
    yield emit("order_call_with_sources", [("user", fit(r, C.ask_order(r, n), sources(r))), look])
    yield emit("order_answer", [("user", C.ask_order(r, n)), look] + order_result(r, n))
    yield emit("order_not_found", [("user", C.ask_order(r, n)), look, ("ipython", C.compact({"error": f"order {n} not found"})), ("assistant", f"I could not find order {n}.")])
    yield emit("return_call", [("user", C.ask_return(r, n)), back])
    yield emit("return_call_with_sources", [("user", fit(r, C.ask_return(r, n), sources(r))), back])
    yield emit("return_answer", [("user", C.ask_return(r, n)), back, ("ipython", C.compact({"order_id": n, "return_id": f"R-{n}", "status": "return started"})),
                                 ("assistant", f"The return R-{n} for order {n} is started.")])
    yield emit("return_refused", [("user", C.ask_return(r, n)), back, ("ipython", C.compact({"error": f"order {n} cannot be returned"})), ("assistant", f"I could not start a return for order {n}.")])
    tool = r.choice(["lookup_order", "lookup_order", "start_return"]); ask = ("user", C.ask_open(r, tool))
    yield emit("ask_number", [ask, ("assistant", P.ASK_NUMBER)])
    yield emit("number_reply", [ask, ("assistant", P.ASK_NUMBER), ("user", r.choice(P.REPLY).format(n=n)), ("assistant", C.call(tool, {"order_id": n}))])
    short = [t for t in H.TEXTS if len(t.split()) < 35]; long = [t for t in H.TEXTS if len(t.split()) >= 40]
    for kind, first in (("knowledge", r.choice(short)), ("knowledge_long", r.choice(long)), ("knowledge_random", T.source(r, r.choice([8, 15, 25]))), ("knowledge_random_long", T.source(r, 50))):
        yield emit(kind, [("user", fit(r, C.ask_question(r), sources(r, first))), ("assistant", f'Our shop says: "{first}" [1]')])
    yield emit("missing_knowledge", [("user", C.ask_question(r)), ("assistant", C.call("hand_off", {"reason": "missing_knowledge"}))])
    yield emit("customer_request", [("user", C.maybe_sources(r, C.ask_human(r), .3)), ("assistant", C.call("hand_off", {"reason": "customer_request"}))])
    yield emit("no_hand_off", [("user", r.choice([C.ask_question, C.ask_human])(r)), ("assistant", P.UNKNOWN)], ["hand_off"])
    a = r.choice(CHAT)
    yield emit("chit_chat", [("user", r.choice(P.CHAT[a])), ("assistant", a)])
    words = T.phrase(r, 1, 8) if r.random() < .5 else r.choice(short)
    yield emit("scripted_say", [("user", f'Say "{words}"'), ("assistant", words)])
    e = C.exchange(r, all_tools(r), "call", held=True, history=True)
    name = json.loads(e[1][1])["name"]
    for kind, upto in (("scripted_call", 2), ("scripted_call_answer", 4)):
        c = emit(kind, e[:upto]); c["tools"] = list(dict.fromkeys(c["tools"] + [name])); yield c
    tools = all_tools(r)
    past = [m for _ in range(r.choice([1, 2])) for m in C.exchange(r, tools, r.choice(["order", "return", "chat", "knowledge", "open", "unknown"]), held=True, history=True)]
    yield case("multi_turn_call", "known", shop_text(r), tools, past + [("user", C.ask_order(r, n)), look])
    yield case("multi_turn_answer", "known", shop_text(r), tools, past + [("user", C.ask_order(r, n)), look] + order_result(r, n))
    first = r.choice(short)
    yield case("multi_turn_knowledge", "known", shop_text(r), tools, past + [("user", fit(r, C.ask_question(r), sources(r, first))), ("assistant", f'Our shop says: "{first}" [1]')])


def unseen(r):
    emit = lambda kind, msgs: case(kind, "unseen", shop_text(r), all_tools(r), msgs)
    for kind, tool in (("order_call", "lookup_order"), ("return_call", "start_return")):
        for q in H.UNSEEN[kind]:
            n = C.number(r, held=True); want = ("assistant", C.call(tool, {"order_id": n}))
            yield emit(kind, [("user", q.format(n=n)), want])
            yield emit(kind + "_with_sources", [("user", fit(r, q.format(n=n), sources(r))), want])
    for q in H.UNSEEN["ask_number"]:
        yield emit("ask_number", [("user", q), ("assistant", P.ASK_NUMBER)])
    for q in H.UNSEEN["customer_request"]:
        yield emit("customer_request", [("user", q), ("assistant", C.call("hand_off", {"reason": "customer_request"}))])
    for q in H.UNSEEN["question"]:
        first = r.choice(H.TEXTS)
        yield emit("knowledge", [("user", fit(r, q, sources(r, first))), ("assistant", f'Our shop says: "{first}" [1]')])
        yield emit("missing_knowledge", [("user", q), ("assistant", C.call("hand_off", {"reason": "missing_knowledge"}))])
    for q, k in H.UNSEEN["chit_chat"]:
        yield emit("chit_chat", [("user", q), ("assistant", CHAT[k])])


def check_unseen():
    """No unseen phrasing may be one the corpus can make."""
    plain = lambda s: s.lower().strip(" .?!")
    seen = {plain(s.replace("{o}", o)) for s in P.ORDER + P.RETURN for o in P.NUMBER} | {plain(s) for s in P.ORDER_OPEN + P.RETURN_OPEN + P.HUMAN}
    seen |= {plain(f"{a} {b} {c}") for a in P.HUMAN_A for b in P.HUMAN_B for c in P.HUMAN_C} | {plain(s) for v in P.CHAT.values() for s in v} | {plain(s) for s in P.QUESTION if "{" not in s}
    seen |= {plain(s.replace("{i}", i)) for s in P.QUESTION for i in W.ITEMS} | {plain(s.replace("{t}", t)) for s in P.QUESTION for t in W.TOPICS}
    lists = [q if isinstance(q, str) else q[0] for v in H.UNSEEN.values() for q in v]
    both = [q for q in lists if plain(q) in seen]
    assert not both, both


def main():
    check_unseen()
    r = random.Random(int(sys.argv[1]))
    for _ in range(36):
        for c in known(r):
            print(json.dumps(c, ensure_ascii=False))
    for c in unseen(r):
        print(json.dumps(c, ensure_ascii=False))


main()
