"""Measures the local engine on a GPU, and first of all whether requests that run together keep apart.

Why: a build machine has no GPU, and time on one is short. So this is one script that starts `frontdesk engine` once for each
setting, prints every figure as soon as it exists and writes it to OUT/results.json. Invariants: no stage outlives its own limit
or the whole budget; a stage that fails is reported with the end of the engine's log and the next one begins; every engine
process that was started is ended. Needs Python alone; torch and nvidia-smi add the card's bandwidth and memory where they exist.

    python3 run.py --bin frontdesk --demo services/gateway/demo/model --out OUT [--device cuda] [--budget-s 330]
"""
import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import model as model_folder
from engine import STARTED, Engine, library_path, say, smi


class Results:
    """Everything measured, on disk after every figure."""

    def __init__(self, folder, facts):
        self.path, self.all, self.header = folder / "results.json", {"facts": facts, "rows": []}, None

    def add(self, stage, **figures):
        self.all["rows"].append({"stage": stage, **figures})
        self.path.write_text(json.dumps(self.all, indent=1))
        header = (stage.split(" ")[0], *figures)
        if header != self.header:  # a new table
            self.header = header
            print("\n| stage | " + " | ".join(figures) + " |\n|" + "---|" * (len(figures) + 1), flush=True)
        print(f"| {stage} | " + " | ".join(str(value) for value in figures.values()) + " |", flush=True)


# ---------------------------------------------------------------- what is measured


def bandwidth():
    """Bytes a second of a copy within the card, read and written together; none without torch and a card."""
    code = (
        "import torch; a=torch.randn(2**31,device='cuda').view(torch.uint8); b=torch.empty_like(a)\n"
        "def once():\n"
        " s,e=torch.cuda.Event(True),torch.cuda.Event(True); s.record(); b.copy_(a); e.record()\n"
        " torch.cuda.synchronize(); return s.elapsed_time(e)/1e3\n"
        "t=sorted(once() for _ in range(15))[7]; print(2*a.numel()/t)"
    )
    try:
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        return float(out.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def tiny_prompts(lengths):
    """Sixteen prompts whose answers differ: of `equal` token length, of `mixed`, or of mixed with a `shared` beginning of
    more than a page, as the turns of a conversation have it."""
    words = ["red", "green", "blue", "river", "stone"]
    texts = [words[: 2 if lengths == "equal" else 2 + number % 4] for number in range(16)]
    before = [" ".join(words * (12 + 4 * (number % 3))) + " " if lengths == "shared" else "" for number in range(16)]
    return [f'{before[number]}Say "{" ".join(text)} {number // 10}{number % 10}"' for number, text in enumerate(texts)]


def contamination(run, results, until):
    """Sixteen at once against each alone, over and over: an answer is right, another's, or neither."""
    for paged in run.paged:
        for dtype in run.dtypes:
            label = f"{'paged' if paged else 'plain'}-{dtype}"
            options = ["--max-running", str(run.running(16)), *run.pages(paged), "--max-model-len", "2048"]
            with Engine(run, f"demo-{label}", run.demo, options, {"dtype": dtype}, until) as engine:
                for lengths in ["equal", "mixed", "shared"]:
                    prompts = tiny_prompts(lengths)
                    quoted = [prompt.split('"')[1] for prompt in prompts]
                    alone = [engine.ask(prompt, 40)["text"] for prompt in prompts]
                    said = sum(text == quote for text, quote in zip(alone, quoted))
                    right = others = neither = 0
                    examples = []
                    for _ in range(run.rounds):
                        for number, answer in enumerate(engine.together(prompts, 40)):
                            if answer["text"] == alone[number]:
                                right += 1
                            elif answer["text"] in alone or answer["text"] in quoted:
                                others += 1
                                examples.append([alone[number], answer["text"]])
                            else:
                                neither += 1
                                examples.append([alone[number], answer["text"]])
                    results.add(f"apart {label}", lengths=lengths, verbatim_alone=f"{said}/16",
                                together=run.rounds * 16, right=right, anothers=others, neither=neither,
                                example=examples[0] if examples else "-")  # fmt: skip


def rates(answers):
    """Figures of answers that ran together."""
    tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    prompt = sum(answer["usage"]["prompt_tokens"] for answer in answers)
    sent = min(answer["sent"] for answer in answers)
    firsts = [answer["times"][0] - answer["sent"] for answer in answers]
    begin, end = max(answer["times"][0] for answer in answers), min(answer["times"][-1] for answer in answers)
    last = max(answer["times"][-1] for answer in answers)
    # Only while all of them write; where they never do, from the first token on.
    inside = sum(sum(begin < at <= end for at in answer["times"]) for answer in answers)
    steady = inside / (end - begin) if end - begin > 0.05 else None
    each = [(len(a["times"]) - 1) / (a["times"][-1] - a["times"][0]) for a in answers if len(a["times"]) > 1]
    return {
        "prompt_tokens": prompt // len(answers), "answer_tokens": tokens // len(answers),
        "ttft_p50_s": round(statistics.median(firsts), 3), "ttft_max_s": round(max(firsts), 3),
        "prefill_tok_s": round(prompt / (begin - sent)), "each_tok_s": round(statistics.median(each), 1),
        "all_tok_s": round(steady, 1) if steady else None, "with_prefill_tok_s": round(tokens / (last - sent), 1),
    }  # fmt: skip


def prompt(length):
    """A text of this many tokens that shares no beginning with another one."""
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz ", k=length - 1))


def against_limit(run, figures, batch, bits):
    """Steady decoding as a share of what the card's bandwidth allows: each step reads all weights and the caches.

    `bits` of a weight and of a number in the cache.
    """
    if not run.bandwidth or not figures["all_tok_s"]:
        return None
    weights, cache = model_folder.costs(run.shape)
    context = figures["prompt_tokens"] + figures["answer_tokens"] / 2
    read = weights * bits[0] / 16 + batch * context * cache * bits[1] / 16
    limit = batch * run.bandwidth / read
    return f"{100 * figures['all_tok_s'] / limit:.0f} %"


def loaded(run, results, label, engine):
    """The figures of a load, and the first answer after it against the second."""
    cold, warm = (engine.ask(prompt(100), 4) for _ in range(2))
    results.add(f"load {label}", seconds=round(engine.load_s, 1), card_mb=engine.memory_mb(),
                first_ttft_s=round(cold["times"][0] - cold["sent"], 3),
                second_ttft_s=round(warm["times"][0] - warm["sent"], 3))  # fmt: skip


def grid(run, results, label, engine, batches, lengths, bits):
    """Batches of equal prompts."""
    for length in lengths:
        for batch in batches:
            try:
                answers = engine.together([prompt(length) for _ in range(batch)], run.answer)
            except Exception as cause:  # noqa: BLE001 - one size that fails leaves the others worth knowing
                results.add(f"failed {label}", batch=batch, prompt=length, why=f"{type(cause).__name__}: {cause}"[:300])
                if isinstance(cause, TimeoutError):
                    raise
                continue
            figures = rates(answers)
            results.add(f"decode {label}", batch=batch, **figures,
                        of_bandwidth=against_limit(run, figures, batch, bits))  # fmt: skip


def mixed(run, results, label, engine, batch=16):
    """Prompts of different lengths together, as customers send them."""
    lengths = [50 + 1450 * number // (batch - 1) for number in range(batch)]
    answers = engine.together([prompt(length) for length in lengths], run.answer)
    results.add(f"mixed {label}", batch=batch, **rates(answers))


def sized(label, paged, batches, lengths, extra=(), model=None, bits=(16, 16)):
    """A stage: the large model under one setting."""

    def stage(run, results, until):
        run.wait_for_model(until)
        most = max(16, *batches)
        options = ["--max-running", str(run.running(most) if paged else 1), *extra]
        options += run.pages(paged, most * (max(lengths) + run.answer))
        with Engine(run, label, run.model, options, {**run.model_options, **(model or {})}, until) as engine:
            loaded(run, results, label, engine)
            grid(run, results, label, engine, batches, lengths, bits)
            mixed(run, results, label, engine)

    return stage


# ---------------------------------------------------------------- the run


class Run:
    """The options, and what all stages share."""

    def __init__(self, given):
        self.out, self.demo, self.bin = Path(given.out), Path(given.demo).resolve(), Path(given.bin).resolve()
        self.log = self.out / "engine.log"
        self.device, self.answer, self.rounds = given.device, given.answer, given.rounds
        self.shape, self.shape_name = model_folder.SHAPES[given.shape], given.shape
        self.env = dict(pair.split("=", 1) for pair in given.env)
        self.end = STARTED + given.budget_s
        self.libraries = library_path(given.device)
        on_gpu = given.device != "cpu"
        # Without pages requests do not run together, on a GPU either.
        self.paged, self.dtypes = ([True], ["f32", "bf16"]) if on_gpu else ([False], ["f32"])
        self.model_options = {} if on_gpu else {"dtype": "f32"}
        known = given.copy_gb_s and given.copy_gb_s * 1e9
        self.bandwidth = (known or bandwidth()) if on_gpu else None
        self.model, self.maker = Path(given.model) if given.model else None, None

    def running(self, wanted):
        """Requests at once; the CPU takes one."""
        return 1 if self.device == "cpu" else wanted

    def pages(self, paged, tokens=32768):
        """Options of paged attention; the CPU has none."""
        if self.device == "cpu":
            return []
        return ["--paged-attention", str(paged).lower(), *(["--pool-tokens", str(tokens)] if paged else [])]

    def make_model(self):
        """Writes the large model beside everything else, in memory where there is room."""
        if self.model and (self.model / "tokenizer_config.json").exists():
            return
        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 24 * 2**30
        self.model = self.model or Path(tempfile.mkdtemp(prefix="model-", dir=memory if roomy else None))
        here = Path(__file__).parent / "model.py"
        self.maker = subprocess.Popen([sys.executable, here, self.model, "--shape", self.shape_name])

    def wait_for_model(self, until):
        """Waits until the large model is whole."""
        if self.maker and self.maker.wait(max(0.1, until - time.monotonic())) != 0:
            raise RuntimeError("the model could not be made")


def stages(given):
    """Name, seconds, stage; in the order of their worth."""
    batches = [int(number) for number in given.batches.split(",")]
    lengths = [int(number) for number in given.prompts.split(",")]
    few = [batch for batch in batches if batch in (1, max(batches))]
    every = [
        ("apart", 90, contamination),
        ("paged", 120, sized("paged", True, batches, lengths)),
        ("plain", 100, sized("plain", False, batches, lengths)),
        ("q8_0", 90, sized("q8_0", True, few, lengths[:1], model={"isq": "Q8_0"}, bits=(8.5, 16))),
        ("q4k", 90, sized("q4k", True, few, lengths[:1], model={"isq": "Q4K"}, bits=(4.5, 16))),
        ("fp8-pages", 60, sized("fp8-pages", True, few, lengths[-1:], ["--kv-cache-dtype", "f8e4m3"], bits=(16, 8))),
        ("fp8", 90, sized("fp8", True, few, lengths[:1], model={"isq": "FP8"}, bits=(8, 16))),
    ]
    wanted = given.stages.split(",") if given.stages else [name for name, *_ in every]
    if given.device == "cpu":
        wanted = [name for name in wanted if name in ("apart", "plain")]
    return [stage for stage in every if stage[0] in wanted]


def log_tail(path, start):
    """The end of what engines have logged since the log had this length."""
    return path.read_bytes()[start:][-3000:].decode(errors="replace") if path.exists() else ""


def main():
    arguments = argparse.ArgumentParser(description="Measures the local engine on a GPU.")
    arguments.add_argument("--bin", required=True, help="frontdesk, built with the feature cuda")
    arguments.add_argument("--demo", required=True, help="the folder of the demo model")
    arguments.add_argument("--out", required=True, help="folder for results.json and engine.log")
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--budget-s", type=float, default=330, help="seconds for everything")
    arguments.add_argument("--shape", choices=model_folder.SHAPES, default="8b")
    arguments.add_argument("--model", help="folder of the large model; made where it is missing, and then kept")
    arguments.add_argument("--batches", default="1,4,16,64")
    arguments.add_argument("--prompts", default="100,2000", help="prompt lengths in tokens")
    arguments.add_argument("--answer", type=int, default=128, help="tokens of an answer")
    arguments.add_argument("--rounds", type=int, default=8, help="rounds of sixteen in the test of keeping apart")
    arguments.add_argument("--copy-gb-s", type=float, help="the card's bandwidth, where it is known already")
    arguments.add_argument("--stages", help="of: apart, paged, plain, q8_0, q4k, fp8-pages, fp8")
    arguments.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the engine")
    given = arguments.parse_args()
    Path(given.out).mkdir(parents=True, exist_ok=True)
    run = Run(given)
    facts = {
        "card": smi("name,memory.total,driver_version") or "none", "device": run.device, "shape": run.shape_name,
        "copy_gb_s": run.bandwidth and round(run.bandwidth / 1e9), "libraries": run.libraries, "env": run.env,
        "weights_read_a_step_gb": round(model_folder.costs(run.shape)[0] / 1e9, 2),
    }  # fmt: skip
    say(json.dumps(facts))
    results = Results(run.out, facts)
    listed = stages(given)
    kept = given.model
    if any(name != "apart" for name, *_ in listed):
        run.make_model()
    try:
        for name, seconds, stage in listed:
            began, logged = time.monotonic(), run.log.stat().st_size if run.log.exists() else 0
            until = min(began + seconds, run.end)
            if until - began < 10:
                say(f"no time left for '{name}'")
                continue
            say(f"stage {name}, at most {until - began:.0f} s")
            try:
                stage(run, results, until)
            except Exception as cause:  # noqa: BLE001 - the next stage must have its turn
                results.add(f"failed {name}", why=f"{type(cause).__name__}: {cause}"[:500])
                print(log_tail(run.log, logged), flush=True)
            say(f"stage {name} took {time.monotonic() - began:.1f} s")
    finally:
        if run.maker and run.maker.poll() is None:
            run.maker.kill()
        if run.model and not kept:
            shutil.rmtree(run.model, ignore_errors=True)
    say("done")


if __name__ == "__main__":
    main()
