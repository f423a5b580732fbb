"""Which abilities of the local engine were seen at work here: loads, asks and checks, and prints a table in Markdown.

Why: an ability that is only compiled in is a promise. Random weights (shapes.py) show that an architecture loads and
answers, not that it answers well; what must be exact (a saved quantisation, a schema) is
compared. Invariants: every process is ended by its id; a row that fails says how, and the exit status says that one did.

    python3 table.py --bin FRONTDESK > table.md
"""
import argparse
import base64
import contextlib
import http.client
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import shapes

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent.parent / "services/gateway/demo/model"
KEY = "bench"
ROWS = []


class OnlyLoaded(Exception):
    """The files load, and no answer comes."""


class Engine:
    """A worker with these models."""

    def __init__(self, binary, models, *options):
        command = [binary, "engine", "--listen", "127.0.0.1:0", "--device", "cpu", *options]
        for model in models:
            command += ["--model", json.dumps(model)]
        environment = {**os.environ, "FRONTDESK_ENGINE_KEY": KEY, "RUST_LIB_BACKTRACE": "0"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.host = self.port = None

    def __enter__(self):
        line = json.loads(self.process.stdout.readline() or b"{}")
        if not line.get("ready"):
            self.__exit__()
            raise RuntimeError(line.get("error", "it ended without a word"))
        self.host, port = line["address"].rsplit(":", 1)
        self.port = int(port)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        return connection

    def get(self, path):
        with contextlib.closing(self.request("GET", path)) as connection:
            return connection.getresponse().read().decode()

    def post(self, path, body):
        with contextlib.closing(self.request("POST", path, body)) as connection:
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer}")
        return answer

    def ask(self, model="m", content="What is on your mind?", **more):
        body = {"model": model, "temperature": 0, "max_tokens": 16, **more}
        body.setdefault("messages", [{"role": "user", "content": content}])
        return self.post("/v1/chat/completions", body)


def text(answer):
    return answer["choices"][0]["message"].get("content") or ""


def picture(colour):
    """A PNG of one colour as a data: URL."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress((b"\0" + bytes(colour) * 32) * 32))
    png = b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def row(what, how):
    """Runs one check and notes what came of it."""

    def noted(check):
        try:
            said, word = check() or "", "run"
        except OnlyLoaded as error:
            said, word = str(error)[:200], "loaded"
        except Exception as error:  # noqa: BLE001: the table tells it
            said, word = f"{type(error).__name__}: {error}"[:300], "FAILED"
        ROWS.append((what, word, f"{how}{'; ' if said else ''}{said}"))
        print(f"{what}: {word} {said}", file=sys.stderr, flush=True)

    return noted


def tokens(answer):
    assert answer["usage"]["completion_tokens"] > 0, answer
    return f"{answer['usage']['completion_tokens']} tokens"


def checks(binary, folder):
    numbers = shapes.pool()
    for name in shapes.ARCHITECTURES:
        shapes.make(folder / name, name, numbers)

        @row(f"architecture `{shapes.ARCHITECTURES[name][0]}`", "random weights")
        def _(name=name):
            # Warming up would refuse the one that cannot answer.
            with Engine(binary, [{"id": "m", "path": str(folder / name)}], "--warm-up", "false") as engine:
                try:
                    return tokens(engine.ask())
                except RuntimeError as error:
                    if name != "qwen3-moe":  # known: mistral.rs 0.8.1 on a CPU
                        raise
                    raise OnlyLoaded(f"it loads, and each answer ends with: {error}") from error

    qwen = str(folder / "qwen3")
    for kind in ["Q8_0", "Q4K", "Q6K", "FP8", "HQQ4", "4"]:

        @row(f"quantise while loading, `isq: {kind}`", "Qwen3 shape")
        def _(kind=kind):
            with Engine(binary, [{"id": "m", "path": qwen, "isq": kind}]) as engine:
                return tokens(engine.ask())

    @row("`dtype: f16` on a CPU", "Qwen3 shape")
    def _():
        with Engine(binary, [{"id": "m", "path": qwen, "dtype": "f16"}]) as engine:
            return tokens(engine.ask())

    @row("UQFF: written once, loaded again", "Qwen3 shape in Q8_0; both give the same answer")
    def _():
        saved = folder / "saved"
        saved.mkdir()
        with Engine(binary, [{"id": "m", "path": qwen, "isq": "Q8_0", "save_uqff": str(saved / "q8.uqff")}]) as engine:
            first = text(engine.ask(max_tokens=32))
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]:
            (saved / name).write_bytes((folder / "qwen3" / name).read_bytes())
        written = sorted(file.name for file in saved.iterdir() if file.suffix in {".uqff", ".safetensors"})
        uqff = next(name for name in written if name.endswith(".uqff"))
        with Engine(binary, [{"id": "m", "path": str(saved), "uqff": uqff}]) as engine:
            again = text(engine.ask(max_tokens=32))
        assert first == again and first, (first, again)
        return ", ".join(written)

    @row("structured output by grammar", "Qwen3 shape; a JSON schema, and the answer fits it")
    def _():
        schema = {
            "type": "object", "required": ["size", "open"], "additionalProperties": False,
            "properties": {"size": {"enum": ["small", "large"]}, "open": {"type": "boolean"}},
        }  # fmt: skip
        shape = {"type": "json_schema", "json_schema": {"name": "shop", "schema": schema, "strict": True}}
        with Engine(binary, [{"id": "m", "path": qwen}]) as engine:
            answer = json.loads(text(engine.ask(max_tokens=64, response_format=shape)))
        assert set(answer) == {"size", "open"} and answer["size"] in {"small", "large"}, answer
        return json.dumps(answer)

    @row("a tool call that is forced", "Qwen3 shape; `tool_choice: required` and by name")
    def _():
        parameters = {
            "type": "object", "required": ["order_id"], "additionalProperties": False,
            "properties": {"order_id": {"type": "string", "pattern": "^[0-9]{4}$"}},
        }  # fmt: skip
        tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in ["look", "send"]]
        with Engine(binary, [{"id": "m", "path": qwen}]) as engine:
            for choice in ["required", {"type": "function", "function": {"name": "send"}}]:
                answer = engine.ask(max_tokens=64, tools=tools, tool_choice=choice)
                call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
                arguments = json.loads(call["arguments"])
                assert len(arguments["order_id"]) == 4 and arguments["order_id"].isdigit(), call
                assert answer["choices"][0]["finish_reason"] == "tool_calls", answer
        assert call["name"] == "send", call
        return f"{call['name']}({call['arguments']})"

    @row("several models in one worker", "Llama and Qwen3 shapes, each asked by its name")
    def _():
        models = [{"id": "a", "path": str(folder / "llama")}, {"id": "b", "path": qwen}]
        with Engine(binary, models) as engine:
            a, b = text(engine.ask("a")), text(engine.ask("b"))
            assert a != b, a

    @row("load on demand, unload", "Qwen3 shape; loaded by its first request, let go of, loaded again, the same answer")
    def _():
        with Engine(binary, [{"id": "m", "path": qwen, "load": "on_demand"}]) as engine:
            state = lambda: json.loads(engine.get("/health"))["models"][0]["state"]  # noqa: E731
            seen = [state()]
            first = text(engine.ask())
            seen += [state(), engine.post("/v1/models/unload", {"model": "m"})["state"]]
            assert text(engine.ask()) == first
            seen.append(state())
        assert seen == ["unloaded", "loaded", "unloaded", "loaded"], seen
        return " → ".join(seen)

    @row("models that read images (`ModelBuilder`)", "Gemma 3 shape; checked against its layers in the engine tests")
    def _():
        shapes.make_gemma3(folder / "gemma3", numbers)
        with Engine(binary, [{"id": "m", "path": str(folder / "gemma3")}]) as engine:

            def seen(*colours):
                parts = [{"type": "image_url", "image_url": {"url": picture(colour)}} for colour in colours]
                asked = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]
                return engine.ask(messages=asked, max_tokens=48, logprobs=True)

            likely = lambda answer: [one["logprob"] for one in answer["choices"][0]["logprobs"]["content"]]  # noqa: E731
            red, blue, both = seen((255, 0, 0)), seen((0, 0, 255)), seen((255, 0, 0), (0, 0, 255))
            assert likely(seen((255, 0, 0))) == likely(red), "the same image, another answer"
            assert likely(red) != likely(blue), "another image, the same answer"
            more = both["usage"]["prompt_tokens"] - red["usage"]["prompt_tokens"]
        shapes.make_vision(folder / "qwen2-vl", numbers)
        with Engine(binary, [{"id": "m", "path": str(folder / "qwen2-vl")}]) as engine:
            text_alone = tokens(engine.ask())
            parts = [{"type": "image_url", "image_url": {"url": picture((255, 0, 0))}}]
            try:
                engine.ask(messages=[{"role": "user", "content": parts}])
            except RuntimeError as error:
                assert "Qwen2VL" in str(error), error
            else:
                raise AssertionError("an image was taken that is not computed rightly")
        return f"{tokens(red)}, a second image adds {more} to the prompt; Qwen2-VL's shape answers text ({text_alone}) and refuses images"

    @row("embeddings", "Qwen3-Embedding shape; unit length, the same again; checked against its layers in the engine tests")
    def _():
        shapes.make_embedding(folder / "qwen3-embedding", numbers)
        with Engine(binary, [{"id": "m", "path": str(folder / "qwen3-embedding")}]) as engine:
            asked = {"model": "m", "input": ["a lamp", "a table", "a lamp"]}
            lamp, table, again = (one["embedding"] for one in engine.post("/v1/embeddings", asked)["data"])
        assert lamp == again and lamp != table
        assert all(abs(sum(x * x for x in vector) - 1) < 1e-4 for vector in (lamp, table))
        return f"{len(lamp)} numbers"

    @row("tokens of a chat, counted", "demo model; as many as its answer says were read")
    def _():
        with Engine(binary, [{"id": "m", "path": str(DEMO)}]) as engine:
            read = engine.ask(content='Say "red"')["usage"]["prompt_tokens"]
            body = {"model": "m", "messages": [{"role": "user", "content": 'Say "red"'}]}
            assert engine.post("/v1/chat/completions/count_tokens", body)["input_tokens"] == read
        return f"{read} tokens"

    @row("warm-up", "demo model; its first prompt is in no counter")
    def _():
        with Engine(binary, [{"id": "m", "path": str(DEMO)}]) as engine:
            took = json.loads(engine.get("/health"))["models"][0]["warm_up_ms"]
            assert 'prompt_tokens_total{model="m"} 0' in engine.get("/metrics")
        return f"{took} ms"

    @row("a chat template of one's own", "Llama shape; the prompt grows by the words it adds")
    def _():
        template = folder / "mine.jinja"
        template.write_text("Words of mine. {% for message in messages %}{{ message['content'] }}{% endfor %}")
        spec = {"id": "m", "path": str(folder / "llama")}
        with Engine(binary, [spec]) as engine:
            before = engine.ask()["usage"]["prompt_tokens"]
        with Engine(binary, [{**spec, "chat_template": str(template)}]) as engine:
            after = engine.ask()["usage"]["prompt_tokens"]
        assert after - before == len("Words of mine. ") - 1, (before, after)
        return f"{before} → {after} tokens"

    @row("prefix cache", "demo model, two turns of a conversation, the second in milliseconds with and without it")
    def _():
        took = []
        for options in [[], ["--prefix-cache", "0"]]:
            with Engine(binary, [{"id": "m", "path": str(DEMO)}], *options) as engine:
                messages = [{"role": "user", "content": "Where is order 4711? " * 100}]
                messages += [{"role": "assistant", "content": text(engine.ask(messages=messages)) or "-"}]
                messages += [{"role": "user", "content": "And 4712?"}]
                began = time.monotonic()
                engine.ask(messages=messages, max_tokens=2)
                took.append(round((time.monotonic() - began) * 1000))
        assert took[0] < took[1], took
        return f"{took[0]} against {took[1]}"

    @row("log probabilities, stop words, seed", "demo model")
    def _():
        with Engine(binary, [{"id": "m", "path": str(DEMO)}]) as engine:
            logs = engine.ask(content='Say "red green blue"', logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]
            assert len(logs["content"][0]["top_logprobs"]) == 2, logs
            assert "green" in text(engine.ask(content='Say "red green blue"'))
            assert "green" not in text(engine.ask(content='Say "red green blue"', stop=["green"]))
            warm = {"content": "Hello", "temperature": 1.5, "seed": 7}
            assert text(engine.ask(**warm)) == text(engine.ask(**warm))

    @row("a client that leaves frees the engine", "demo model; the next is answered before the first could have ended")
    def _():
        with Engine(binary, [{"id": "m", "path": str(DEMO)}]) as engine:
            body = {"model": "m", "stream": True, "max_tokens": 3000, "temperature": 0,
                    "messages": [{"role": "user", "content": 'Say "' + "red green blue " * 40 + '"'}]}  # fmt: skip
            began = time.monotonic()
            with contextlib.closing(engine.request("POST", "/v1/chat/completions", body)) as connection:
                connection.getresponse().read()
            whole = time.monotonic() - began
            connection = engine.request("POST", "/v1/chat/completions", body)
            connection.getresponse().read(64)
            began = time.monotonic()
            connection.close()
            engine.ask(content='Say "red"')
            next_one = time.monotonic() - began
            assert next_one < whole / 2, (next_one, whole)
            return f"{next_one * 1000:.0f} ms, the first alone took {whole * 1000:.0f}"

    @row("metrics", "demo model")
    def _():
        with Engine(binary, [{"id": "m", "path": str(DEMO)}]) as engine:
            engine.ask(content='Say "red"')
            shown = engine.get("/metrics")
        names = sorted({line.split("{")[0].split()[0] for line in shown.splitlines() if line and line[0] != "#"})
        assert names, shown
        return f"{len(names)} series"


ELSEWHERE = [
    ("several answers to one request (`n`)", "not offered", "a request is refused that asks for more than one"),
    ("GGUF", "run", "the project's engine tests"),
    ("PagedAttention, FP8 pages, on CUDA", "run", "an H200, figures above; not on this machine"),
    ("a worker over TCP with a key, shared by gateways", "run", "the project's engine tests, and every row above"),
    ("a worker that panics or is killed", "run", "the project's engine tests: an error that names it, and it is back"),
    ("Metal", "compiled only", "no such machine"),
    ("speculative decoding", "not offered", "mistral.rs 0.8.1 does not get past its own first run: a guess beyond the length asked for never ends"),
    ("LoRA adapters", "not offered", "mistral.rs 0.8.1 reads adapters from a hub's cache alone: merge them into the weights"),
    ("tensor parallelism (NCCL), several devices", "not offered", "a model lives on one GPU; a server for several stands behind a provider of type `openai`"),
]  # fmt: skip


def main():
    arguments = argparse.ArgumentParser(description="Which abilities of the local engine work here.")
    arguments.add_argument("--bin", required=True)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks(given.bin, Path(folder))
    print("| ability | seen | how |\n|---|---|---|")
    for cells in [*ROWS, *ELSEWHERE]:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    sys.exit(any(word == "FAILED" for _, word, _ in ROWS))


if __name__ == "__main__":
    main()
