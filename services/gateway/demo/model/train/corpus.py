"""What: endless random conversations in exactly the shape of the agent loop's prompts, with the wanted assistant turns.

Why: a model this small only knows what its corpus shows, so tools, keys and spacing are those of the product, and nothing else varies.
Invariant: order numbers with n % 7 == 3 and the statuses in words.HELD_STATUSES never occur here unless `held` asks for them.
A conversation is (system text, tool names, [(role, text)]), roles user | assistant | ipython (a tool's result).
"""
import json
import phrases as P
import texts as T
import words as W

HELD = set(W.HELD_STATUSES)


def compact(v):
    return json.dumps(v, separators=(",", ":"), ensure_ascii=False)


def call(name, args):
    return f'{{"name":"{name}","parameters":{args if isinstance(args, str) else compact(args)}}}'


def number(r, held=False):
    """An order number of 3 to 8 digits, mostly 5; one residue class is kept for the held-out set."""
    while True:
        k = r.choice([3, 4, 4, 5, 5, 5, 5, 5, 6, 6, 7, 8])
        n = str(r.randint(10 ** (k - 1), 10 ** k - 1))
        if r.random() < .15:                                       # repeated digits are the hard ones
            n = n[0] + "".join(r.choice(n[:2] + "00") for _ in n[1:])
        if (int(n) % 7 == 3) == held:
            return n


def status(r):
    while True:
        s = r.choice(W.STATUSES) if r.random() < .35 else T.phrase(r, 1, 3)
        if s not in HELD:
            return s


def cased(r, s):
    x = r.random()
    return s[:1].upper() + s[1:] if x < .25 else s[:1].lower() + s[1:] if x < .4 else s.rstrip("?.") if x < .5 else s.lower() if x < .53 else s


def slots(r, s, n=""):
    return s.format(n=n, o=r.choice(P.NUMBER).format(n=n), i=r.choice(W.ITEMS), j=r.choice(W.ITEMS), t=r.choice(W.TOPICS), p=r.choice(W.PLACES), d=r.randint(1, 60), w=T.phrase(r, 1, 5))


def ask_order(r, n):
    return cased(r, r.choice(P.GREET) + slots(r, r.choice(P.ORDER), n) + r.choice(P.TAIL))


def ask_return(r, n):
    s = slots(r, r.choice(P.RETURN), n)
    if r.random() < .45:
        why = r.choice(W.REASONS) if r.random() < .8 else T.phrase(r, 2, 6)
        s = r.choice(P.RETURN_REASON).format(r=s.rstrip("."), why=why, Why=why[:1].upper() + why[1:] + ".").replace("..", ".")
    return cased(r, r.choice(P.GREET) + s + r.choice(P.TAIL))


def ask_human(r):
    if r.random() < .3:
        return cased(r, r.choice(P.GREET) + r.choice(P.HUMAN))
    return cased(r, f"{r.choice(P.GREET)}{r.choice(P.HUMAN_A)} {r.choice(P.HUMAN_B)} {r.choice(P.HUMAN_C)}" + r.choice([".", "", " please.", "?", "!", " now."]))


def ask_open(r, kind):
    return cased(r, r.choice(P.GREET) + slots(r, r.choice(P.ORDER_OPEN if kind == "lookup_order" else P.RETURN_OPEN)) + r.choice(P.TAIL))


def ask_question(r):
    return cased(r, r.choice(P.GREET) + slots(r, r.choice(P.QUESTION)))


def with_sources(q, sources):
    return "<sources>\n" + "\n".join(f'[{k + 1}] "{s}"' for k, s in enumerate(sources)) + "\n</sources>\n\n" + q


def some_sources(r, budget=60):
    """1 to 4 texts of at most `budget` words; the others often share words with the first, so that copying must keep its place."""
    out = [T.source(r, min(budget, r.choice([3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 28, 36, 46, 50, 58])))]
    for _ in range(r.choice([0, 0, 1, 1, 2, 3])):
        s = T.source(r, min(budget, r.choice([3, 5, 8, 12, 16, 24])))
        if r.random() < .35:
            a, b = out[0].split(), s.split()
            i = r.randrange(len(a)); j = r.randrange(len(b) + 1) if r.random() < .5 else 0
            s = T.clean(" ".join(b[:j] + a[i:i + r.randint(1, 6)] + b[j:]))
        out.append(s)
    return out


def maybe_sources(r, q, share):
    return with_sources(q, some_sources(r, r.choice([8, 14, 24]))) if r.random() < share else q


def order_turn(r, n, held_status=None):
    x = r.random()
    if x < .16:
        return [("ipython", compact({"error": f"order {n} not found"})), ("assistant", f"I could not find order {n}.")]
    if x < .18:
        return failed(r)
    d = {"order_id": n, "status": held_status or status(r), "eta": f"20{r.randint(24, 31)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}",
         "item": r.choice(W.ITEMS).capitalize() if r.random() < .6 else T.phrase(r, 1, 4).replace("\\", "")}
    return [("ipython", compact(d)), ("assistant", f'Order {n} is "{d["status"]}", expected {d["eta"]}.')]


def return_turn(r, n):
    x = r.random()
    if x < .25:
        return [("ipython", compact({"error": f"order {n} cannot be returned"})), ("assistant", f"I could not start a return for order {n}.")]
    if x < .33:
        return [("ipython", compact({"error": f"order {n} not found"})), ("assistant", f"I could not find order {n}.")]
    if x < .35:
        return failed(r)
    return [("ipython", compact({"order_id": n, "return_id": f"R-{n}", "status": "return started"})), ("assistant", f"The return R-{n} for order {n} is started.")]


def failed(r):
    why = T.phrase(r, 1, 6).replace("\\", "")
    return [("ipython", compact({"error": why})), ("assistant", f'That did not work: "{why}".')]


def hand_off(r, tools, reason):
    if "hand_off" not in tools:
        return [("assistant", P.UNKNOWN)]
    out = [("assistant", call("hand_off", {"reason": reason}))]
    if r.random() < .3:
        out += [("ipython", compact(r.choice([{"status": "handed off"}, {"ok": True}, {"handed_off": True}, {"reason": reason, "status": "handed_off"}]))), ("assistant", P.HANDED_OFF)]
    return out


def exchange(r, tools, kind, held=False, history=False):
    """One question with everything up to its final answer."""
    n, k = number(r, held), 0.3 * (not history)
    if kind in ("order", "return"):
        tool = "lookup_order" if kind == "order" else "start_return"
        q = maybe_sources(r, (ask_order if kind == "order" else ask_return)(r, n), k)
        if tool not in tools:
            return [("user", q)] + hand_off(r, tools, "missing_knowledge")
        return [("user", q), ("assistant", call(tool, {"order_id": n}))] + (order_turn if kind == "order" else return_turn)(r, n)
    if kind == "open":
        tool = r.choice([t for t in ("lookup_order", "lookup_order", "start_return") if t in tools] or ["lookup_order"])
        q = maybe_sources(r, ask_open(r, tool), k)
        if tool not in tools:
            return [("user", q)] + hand_off(r, tools, "missing_knowledge")
        reply = maybe_sources(r, cased(r, r.choice(P.REPLY).format(n=n)), k / 2)
        return ([("user", q), ("assistant", P.ASK_NUMBER), ("user", reply), ("assistant", call(tool, {"order_id": n}))]
                + (order_turn if tool == "lookup_order" else return_turn)(r, n))
    if kind == "knowledge":
        src = some_sources(r, 20 if history else 60)
        return [("user", with_sources(ask_question(r), src)), ("assistant", f'Our shop says: "{src[0]}" [1]')]
    if kind == "unknown":
        return [("user", ask_question(r))] + hand_off(r, tools, "missing_knowledge")
    if kind == "human":
        return [("user", maybe_sources(r, ask_human(r), k))] + hand_off(r, tools, "customer_request")
    if kind == "chat":
        a = r.choice(list(P.CHAT))
        return [("user", maybe_sources(r, cased(r, r.choice(P.CHAT[a])), k / 2)), ("assistant", a)]
    if kind == "say":
        p = T.phrase(r, 1, 10) if r.random() < .6 else T.source(r)
        return [("user", maybe_sources(r, f'Say "{p}"', k / 3)), ("assistant", p)]
    assert kind == "call", kind
    name = r.choice(tools) if tools and r.random() < .6 else r.choice(W.EXTRA_TOOLS + ["_".join(r.choice(W.ENGLISH).lower() for _ in range(r.randint(1, 3)))])
    args = {r.choice(W.KEYS + [T.letters(r)]): T.json_value(r) for _ in range(r.choice([0, 1, 1, 1, 2, 3]))} if r.random() < .75 else {"order_id": n}
    args = json.dumps(args, ensure_ascii=False, separators=(",", ":") if r.random() < .85 else None)
    res = T.phrase(r, 1, 6) if r.random() < .5 else compact({r.choice(W.KEYS): T.json_value(r) for _ in range(r.randint(1, 3))}) if r.random() < .7 else T.source(r, 20)
    if "<|" in args + res: args, res = "{}", "ok"
    if name not in tools: tools.insert(r.randrange(len(tools) + 1), name)
    return [("user", maybe_sources(r, f"Call {name} with {args}", k / 3)), ("assistant", call(name, args)), ("ipython", res), ("assistant", f'The tool says "{res}"')]


KINDS = ["order"] * 18 + ["return"] * 17 + ["open"] * 8 + ["knowledge"] * 29 + ["unknown"] * 9 + ["human"] * 6 + ["chat"] * 6 + ["call"] * 13 + ["say"] * 10


def system(r):
    x = r.random()
    if x < .12:
        return T.source(r, r.choice([4, 10, 20]))
    return " ".join(r.sample(W.SYSTEM, r.choice([1, 1, 1, 2, 2, 3, 4, 6])))


def conversation(r, held=False):
    x = r.random()
    tools = [t for t, share in (("lookup_order", .9), ("start_return", .85), ("hand_off", .85)) if r.random() < share] if x < .95 else []
    tools += r.sample(W.EXTRA_TOOLS, r.choice([0, 0, 0, 0, 1, 1, 2, 3]))
    r.shuffle(tools)
    msgs, count = [], r.choice([1, 1, 1, 1, 2, 2, 3, 4])
    for k in range(count):
        msgs += exchange(r, tools, r.choice(KINDS), held, history=k + 1 < count and r.random() < .7)
    return system(r), tools, msgs
