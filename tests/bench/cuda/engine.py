"""The engine's process, and a client of it that notes when each piece of an answer came.

Why: run.py measures; this starts, asks and ends. Invariants: a process is ended with the block that it was started in, also when
the block fails; nothing waits beyond the time that the stage was given.
"""
import contextlib
import glob
import http.client
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

STARTED = time.monotonic()
KEY = "bench"
LIBRARIES = ["libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libnvrtc.so.13", "libcuda.so.1"]


def say(text):
    """One line, at once, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:6.1f}] {text}", flush=True)


def library_path(device):
    """The folders that hold CUDA's libraries, where the loader does not find them by itself."""
    if device == "cpu":
        return os.environ.get("LD_LIBRARY_PATH", "")
    places = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for pattern in ["/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", "/usr/local/nvidia/lib64"]:
        places += sorted(glob.glob(pattern), reverse=True)
    for folder in sys.path:
        places += sorted(glob.glob(f"{folder}/nvidia/*/lib"))
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    chosen = []
    for library in LIBRARIES:
        if f"\t{library} " in known:
            continue
        holds = next((place for place in places if place and (Path(place) / library).exists()), None)
        if holds is None:
            say(f"{library} was not found")
        elif holds not in chosen:
            chosen.append(holds)
    return ":".join(chosen)


class Engine:
    """A worker process; ended with the block that it was started in."""

    def __init__(self, run, label, path, options, model=None, until=None):
        self.run, self.label, self.until = run, label, until
        spec = json.dumps({"id": "m", "path": str(path), **(model or {})})
        self.command = [str(run.bin), "engine", "--model", spec, "--listen", "127.0.0.1:0", "--device", run.device]
        self.command += ["--max-queue", "1024", *options]

    def __enter__(self):
        began = time.monotonic()
        environment = {**os.environ, **self.run.env, "FRONTDESK_ENGINE_KEY": KEY, "HF_HUB_OFFLINE": "1",
                       "RUST_LIB_BACKTRACE": "0", "LD_LIBRARY_PATH": self.run.libraries}  # fmt: skip
        with open(self.run.log, "a") as log:
            print(f"== {self.label}", file=log, flush=True)
            self.process = subprocess.Popen(self.command, env=environment, stdout=subprocess.PIPE, stderr=log)
        try:
            line = self.first_line()
            if not line.get("ready"):
                raise RuntimeError(f"the engine did not start: {line.get('error', 'no word from it')}")
        except BaseException:
            self.__exit__()
            raise
        self.host, port = line["address"].rsplit(":", 1)
        self.port, self.load_s = int(port), time.monotonic() - began
        return self

    def first_line(self):
        """The one line of JSON on standard output."""
        text = b""
        while not text.endswith(b"\n"):
            left = self.until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError("the models were not loaded in time")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                return {}
            text += piece
        return json.loads(text)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def memory_mb(self):
        """Memory in use on the card, all processes together."""
        out = smi("memory.used")
        return int(out) if out.isdigit() else None

    def ask(self, content, answer, extra=None):
        """A streamed answer: when each piece came (seconds since the request), the text, the token counts."""
        body = {"model": "m", "messages": [{"role": "user", "content": content}], "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}, "max_tokens": answer, **(extra or {})}  # fmt: skip
        connection = http.client.HTTPConnection(self.host, self.port, timeout=max(1, self.until - time.monotonic()))
        with contextlib.closing(connection):
            sent = time.monotonic()
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {response.read(500)!r}")
            lines = []
            for line in response:
                if line.startswith(b"data: {"):
                    lines.append((time.monotonic(), line))
        times, text, usage = [], "", {}
        for at, line in lines:
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(str(chunk["error"]))
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices", []):
                piece = choice["delta"].get("content") or ""
                text += piece
                if piece:
                    times.append(at)
        return {"sent": sent, "times": times, "text": text, "usage": usage}

    def together(self, contents, answer):
        """Asks all at once; the answers in the same order."""
        answers, failures = [None] * len(contents), []
        line_up = threading.Barrier(len(contents))

        def one(number):
            try:
                line_up.wait()
                answers[number] = self.ask(contents[number], answer)
            except Exception as cause:  # noqa: BLE001 - told below, by the thread that waits
                failures.append(f"{type(cause).__name__}: {cause}")

        threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(contents))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.1, self.until - time.monotonic()))
        if failures:
            raise RuntimeError(f"{len(failures)} of {len(contents)} failed, the first with {failures[0]}")
        if any(answer is None for answer in answers):
            raise TimeoutError("not all answers came in time")
        return answers


def smi(fields):
    """What nvidia-smi says of the first card; empty where there is none."""
    try:
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-i", "0"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
