"""What: random texts to copy: shop sentences, word salad of several languages, letter strings, numbers, codes, JSON.

Why: the demo model's one hard skill is to quote any text word for word, so the texts must be as unlike each other as possible.
Invariant: no text contains a double quote, a line break, or white space at its ends (JSON values aside, see `json_value`).
"""
import string
import words as W

SENTENCES = """Returns are free within {d} days of delivery.|The item must be unused.|The item must be {a} and {a}.|We ship to {p} within {d} working days.
|Shipping to {p} costs {m}.|Orders over {m} ship free.|Shipping is free from {m}.|Our shop in {p} is open from {h} to {h}.|We are closed on {day}.
|Open {day} to {day}, {h} to {h}.|The {i} costs {m}.|Every {i} has a warranty of {d} years.|We repair a {i} for {m}.|Please bring the receipt.
|The refund is paid within {d} days.|You can pay by card, invoice or bank transfer.|Gift cards are worth {m} to {m}.|The voucher is valid for {d} months.
|Our phone number is {tel}.|Write to {mail}.|The {i} is made of {a} {a} in {p}.|It weighs {d}.{d} kg and is {d} x {d} cm large.|Discounts of {d} % are for members only.
|Use the code {code} before {day}.|Dogs are welcome.|There are {d} parking places behind the shop.|Wash the {i} at {d} °C; do not iron it.|Ask at the counter.
|Express delivery costs {m} and takes {d} hours.|We keep your order for {d} days.|Customs fees are paid by the customer.|The battery lasts {d} hours.
|No refund on {a} items.|The {i} and the {i} are sold together.|Spare parts can be ordered for {d} years.|Assembly in {p} costs {m} per {i}.|We speak {a} and {a}.
|Die Lieferung nach {p} kostet {m}.|Wir haben von {h} bis {h} Uhr geöffnet.|Rückgabe innerhalb von {d} Tagen möglich.|La livraison à {p} coûte {m}.|Le magasin est fermé {day}.
|El envío a {p} cuesta {m}.|Tables can be booked until {h}.|Class {code} starts on {day} at {h}.|The fee is {m} (with tax).|Students get {d} % off.""".replace("\n", "").split("|")
LETTERS = string.ascii_lowercase + "äöüßéèêàçñóíłżőåøšč"
ALL_WORDS = W.ENGLISH * 2 + W.GERMAN * 2 + W.FRENCH + W.SPANISH + W.OTHERS + W.SCRIPTS


def digits(r, n):
    return "".join(r.choice("0123456789") for _ in range(n))


def money(r):
    n = r.choice([f"{r.randint(0, 999)}.{r.randint(0, 99):02d}", f"{r.randint(0, 99)},{r.randint(0, 99):02d}", str(r.randint(1, 2000)), f"{r.randint(1, 9)},{digits(r, 3)}.{digits(r, 2)}"])
    return r.choice(["€ {}", "€ {}", "€{}", "{} €", "{} euro", "${}", "£{}", "CHF {}", "EUR {}"]).format(n)


def hour(r):
    h, m = r.randint(0, 23), r.choice(["00", "30", "15", "45"])
    return r.choice([f"{h}:{m}", f"{h:02d}:{m}", f"{h}", f"{h % 12 + 1} am", f"{h % 12 + 1} pm", f"{h}.{m}"])


def letters(r, lo=2, hi=9):
    s = "".join(r.choice(LETTERS if r.random() < .3 else string.ascii_lowercase) for _ in range(r.randint(lo, hi)))
    x = r.random()
    return s.upper() if x < .1 else s.capitalize() if x < .3 else "".join(c.upper() if r.random() < .5 else c for c in s) if x < .36 else s


def code(r):
    return "".join(r.choice(string.ascii_uppercase) for _ in range(r.randint(1, 4))) + r.choice(["", "-", "-", "/", "_"]) + digits(r, r.randint(1, 6))


def piece(r):
    """A random token of the vocabulary, so that the rare ones are copied as often as the frequent ones."""
    return r.choice(PIECES) if PIECES else letters(r)


PIECES = []                                    # filled by the trainer with the word-like tokens of the vocabulary


def word(r):
    x = r.random()
    if x < .40: return r.choice(ALL_WORDS)
    if x < .49: return r.choice(ALL_WORDS).capitalize()
    if x < .56: return letters(r)
    if x < .64: return digits(r, r.choice([1, 1, 2, 2, 3, 4, 5, 7]))
    if x < .68: return money(r)
    if x < .71: return code(r)
    if x < .97: return "".join(piece(r) for _ in range(r.choice([1, 1, 1, 1, 2, 3])))
    return r.choice(["&", "+", "-", "–", "/", "%", "=", "*", "#", "it's", "don't", "we'll", "e.g.", "(new)", "24/7", "@home", "A", "I", "°C", "m²", "…"])


def salad(r, lo, hi):
    """Free words with sentence marks; about one token in three is a mark, a number or a rare word."""
    out, n = [], r.randint(lo, hi)
    for k in range(n):
        w = word(r)
        x = r.random()
        if k + 1 < n:
            w += "," if x < .07 else "." if x < .12 else ";" if x < .13 else ":" if x < .145 else "!" if x < .155 else "?" if x < .165 else ""
        if x > .98: w = f"({w})"
        elif x > .965: w = f"'{w}'"
        elif x > .95: w = f"{w}-{word(r)}"
        out.append(w)
        if r.random() < .05 and len(out) > 3:                      # repeat what was said: copying must keep its place
            j = r.randrange(len(out)); out += out[j:j + r.randint(1, 4)]
    s = " ".join(out)
    return (s[0].upper() + s[1:] if r.random() < .5 else s) + r.choice([".", ".", "", "!", "?"])


def sentence(r):
    fill = lambda s: s.format(d=r.choice([r.randint(1, 9), r.randint(10, 99), 14, 30, r.randint(100, 400)]), a=r.choice(W.ENGLISH), p=r.choice(W.PLACES), m=money(r), h=hour(r),
                              i=r.choice(W.ITEMS), day=r.choice(W.ENGLISH[W.ENGLISH.index("Monday"):][:7]), code=code(r), tel=f"+{digits(r, 2)} {digits(r, r.randint(1, 3))} {digits(r, r.randint(4, 7))}",
                              mail=f"{r.choice(W.ENGLISH).lower()}@{letters(r, 3, 6).lower()}.example")
    out = ""                                                       # each slot gets its own draw
    for part in r.choice(SENTENCES).replace("{", "\0{").split("\0"):
        out += fill(part)
    return out


def source(r, size=None):
    """One source text; size = words, roughly (default: mostly short, some of 60)."""
    size = size or r.choice([4, 6, 8, 10, 12, 15, 18, 22, 28, 36, 46, 58])
    x = r.random()
    if x < .35:
        out = sentence(r)
        while len((new := f"{out} {sentence(r) if r.random() < .75 else salad(r, 2, 8)}").split()) <= size:
            out = new
        s = out
    elif x < .93:
        s = salad(r, max(1, size // 2), size)
    else:
        s = " ".join(letters(r) for _ in range(max(1, min(size, 25))))
    return clean(s)


def phrase(r, lo=1, hi=6):
    """A short text without end mark: a status, an item, the words to say."""
    x = r.random()
    n = r.randint(lo, hi)
    return clean(" ".join(r.choice(W.ENGLISH) for _ in range(n)) if x < .4 else " ".join(word(r) for _ in range(n)) if x < .8 else " ".join(letters(r) for _ in range(n)))


def clean(s):
    return " ".join(s.replace('"', "").replace("<|", "").split())[:480].strip() or "yes"


def json_value(r, depth=0):
    x = r.random()
    if x < .5 or depth > 1: return phrase(r, 1, 3).replace("\\", "")
    if x < .75: return r.choice([r.randint(0, 9), r.randint(10, 99999), -r.randint(1, 99), r.randint(0, 999) / 10])
    if x < .85: return r.choice([True, False, None])
    if x < .93: return [json_value(r, 2) for _ in range(r.randint(0, 3))]
    return {r.choice(W.KEYS): json_value(r, depth + 1) for _ in range(r.randint(1, 2))}
