"""What: the chat template, its exact in-code twin, and the byte-level BPE tokenizer.

Why: training sees the text that the engine will render, token for token (evaluate.py proves it with jinja2).
Invariant: no merge crosses a digit, a quote or any other ASCII mark, nor white space before them. So a quoted text has the same tokens
wherever it stands, and a tokenizer with another splitting rule (GGUF loaders bring their own) gives the same ids.
"""
import os
import random
import re

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
            "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>"]
BOS, EOS, SH, EH, EOT, EOM, PY, PAD = range(8)
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MERGEABLE = r" ?\p{L}+|[^\x00-\x7F\p{L}\p{N}\s]"           # only words and single foreign marks (the euro sign) may merge

# The shape of the Llama 3.x header format.  Tools are listed by name only: the prompt stays short and does not depend on the key
# order of a JSON schema.
CHAT_TEMPLATE = r"""{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}{%- set sys = messages[0]['content'] | trim -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set sys = 'You are a helpful assistant.' -%}{%- set rest = messages -%}{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' + sys -}}
{%- if tools -%}{{- '\nTools:' -}}{%- for t in tools -%}{{- ' ' + t['function']['name'] -}}{%- endfor -%}{%- endif -%}
{{- '<|eot_id|>' -}}
{%- for m in rest -%}
{%- if m['role'] == 'assistant' and m['tool_calls'] -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- for c in m['tool_calls'] -%}
{%- set f = c['function'] if c['function'] else c -%}
{{- '{"name":"' + f['name'] + '","parameters":' -}}
{%- if f['arguments'] is string -%}{{- f['arguments'] -}}{%- else -%}{{- f['arguments'] | tojson -}}{%- endif -%}{{- '}' -}}
{%- endfor -%}{{- '<|eot_id|>' -}}
{%- elif m['role'] == 'tool' or m['role'] == 'ipython' -%}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' -}}
{%- else -%}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' -}}
{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}"""


def segments(system, tools, msgs, gen=False):
    """The same text as CHAT_TEMPLATE, cut into (text, is_target); msgs = [(role, text)]."""
    out = [("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + system + ("\nTools: " + " ".join(tools) if tools else "") + "<|eot_id|>", 0)]
    for role, m in msgs:
        out += [(f"<|start_header_id|>{role}<|end_header_id|>\n\n", 0), (m + "<|eot_id|>", int(role == "assistant"))]
    return out + ([("<|start_header_id|>assistant<|end_header_id|>\n\n", 0)] if gen else [])


def make_tokenizer(vocab, samples):
    """Train the merges on an iterable of texts."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    split = lambda p: pre_tokenizers.Split(Regex(p), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tk = Tokenizer(models.BPE())
    # while merges are counted, everything that may not merge is cut into single characters
    tk.pre_tokenizer = pre_tokenizers.Sequence([split(MERGEABLE + r"|[\s\S]"), level])
    tk.decoder = decoders.ByteLevel()
    special = re.compile("|".join(map(re.escape, SPECIALS)))
    tk.train_from_iterator((special.sub("\n", x) for x in samples),
                           trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIALS, show_progress=False, min_frequency=3,
                                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tk.pre_tokenizer = pre_tokenizers.Sequence([split(SPLIT), level])
    return tk


def corpus_tokenizer(vocab):
    """The product's tokenizer: merges from conversations, plus every listed word with and without a space before it."""
    import corpus, texts
    r = random.Random(7)
    def samples():
        for _ in range(6000):
            s, t, m = corpus.conversation(r)
            yield "".join(x for x, _ in segments(s, t, m))
        for w in texts.ALL_WORDS:
            for _ in range(4):
                yield f" {w}"
            yield w
            yield w.capitalize()
    return make_tokenizer(vocab, samples())


def encode(tk, segs):
    """-> (ids, is_target per id)."""
    ids, mask = [], []
    for e, (_, k) in zip(tk.encode_batch([x for x, _ in segs], add_special_tokens=False), segs):
        ids += e.ids; mask += [k] * len(e.ids)
    return ids, mask
