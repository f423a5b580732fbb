"""What the gateway adds to an answer of the local engine: the same request through the gateway, and straight to its worker.

Why: the engine is the gateway's own, so nobody else is to blame for the way between them. One gateway runs one worker (demo
model, temperature 0); blocks of requests through the gateway and past it, on the worker's own socket, take turns, so what the
machine does meanwhile touches both alike. Invariants: both sides answer the same tokens or the run fails; processor time is
the gateway's alone, without the worker's, less what it uses while the other side is asked; every process started is ended.

    python3 share.py --bin FRONTDESK [--rounds 15] [--block 8] [--device cuda]
"""
import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent.parent / "services/gateway/demo/model"
KEY = "frontdesk-bench-admin-key"
SHORT, LONG = 1, 128
# The goal: microseconds a request, and a token more.
GOAL_REQUEST, GOAL_TOKEN = 15, 1
# What a request leaves to do after its answer (books, log lines) is done by then.
SETTLED = 0.15


def config(device, environment):
    """One worker with the demo model. JSON is YAML."""
    worker = {"models": [{"id": "m", "path": str(DEMO)}], "environment": environment}
    if device:
        worker["device"] = device
    return json.dumps({"providers": {"inference": [{"id": "local", "type": "mistralrs", "config": worker}]}})


def connected(family, address):
    connection = socket.socket(family)
    connection.settimeout(120)
    connection.connect(address)
    if family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Gateway:
    """`frontdesk up` with the demo model in a worker."""

    def __init__(self, binary, folder, written):
        file = Path(folder) / "frontdesk.yaml"
        file.write_text(written)
        command = [binary, "up", "--config", str(file), "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
        environment = {**os.environ, "FRONTDESK_ADMIN_KEY": KEY}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        for line in self.process.stdout:
            if "ready http://" in line:
                host, port = line.split("ready http://")[1].strip().rsplit(":", 1)
                self.client = connected(socket.AF_INET, (host, int(port)))
                return self
        raise RuntimeError(f"the gateway ended with status {self.process.wait()} before it was ready")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def worker(self):
        """A connection to the worker: its command line names its socket."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = " ".join(read(task / "children") for task in tasks.iterdir()).split()
        for child in children:
            arguments = read(Path(f"/proc/{child}/cmdline")).split("\0")
            if "--socket" in arguments:
                return connected(socket.AF_UNIX, arguments[arguments.index("--socket") + 1])
        raise RuntimeError("the gateway has no worker")

    def processor(self):
        """Microseconds of processor time of all its threads: to the nanosecond, where `stat` counts in ticks of 10 ms."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((read(task / "schedstat") or "0").split()[0]) for task in tasks.iterdir()) / 1000


def read(path):
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def ask(connection, model, tokens, stream):
    """Asks once: microseconds to the first byte of the body, to its end, and the body."""
    said = "red green blue " * (3 if tokens == SHORT else 60)
    body = {"model": model, "temperature": 0, "max_tokens": tokens, "stream": stream}
    body["messages"] = [{"role": "user", "content": f'Say "{said.strip()}"'}]
    body = json.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    began = time.perf_counter()
    connection.sendall(request)  # in one piece: a second packet would be the client's cost, seen as the gateway's
    with http.client.HTTPResponse(connection, method="POST") as response:
        response.begin()
        pieces = [response.read1()]
        first = time.perf_counter()
        while piece := response.read1():
            pieces.append(piece)
        ended = time.perf_counter()
    answer = b"".join(pieces).decode()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {answer}")
    return (first - began) * 1e6, (ended - began) * 1e6, answer


def words(answer):
    """The text of an answer, streamed or whole."""
    if not answer.startswith("data:"):
        return json.loads(answer)["choices"][0]["message"]["content"]
    events = [line[5:].strip() for line in answer.splitlines() if line.startswith("data:")]
    choices = [c for e in events if e != "[DONE]" for c in json.loads(e)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def checked(gateway, worker, tokens, stream):
    """Asks both sides once, to warm them up and to see that they say the same, and as much as was asked for."""
    _, _, ours = ask(gateway.client, "local/m", tokens, stream)
    _, _, direct = ask(worker, "m", tokens, stream)
    if words(ours) != words(direct):
        raise RuntimeError(f"the gateway answered {words(ours)!r}, its worker {words(direct)!r}")
    _, _, whole = ask(worker, "m", tokens, False)
    made = json.loads(whole)["usage"]["completion_tokens"]
    if made != tokens:
        raise RuntimeError(f"asked for {tokens} tokens, and the answer ended after {made}")


def block(gateway, connection, model, count, shape):
    """A block of requests to one side: their times, and the gateway's processor time meanwhile."""
    before = gateway.processor()
    times = [ask(connection, model, *shape)[:2] for _ in range(count)]
    time.sleep(SETTLED)
    return times, gateway.processor() - before


def measure(gateway, worker, shape, rounds, count):
    """Added microseconds: to the first byte, to the end, of processor time; one figure a round."""
    checked(gateway, worker, *shape)
    time.sleep(SETTLED)
    added = []
    for number in range(rounds):
        sides = [(gateway.client, "local/m"), (worker, "m")]
        seen = {}
        for connection, model in sides if number % 2 else reversed(sides):
            seen[model] = block(gateway, connection, model, count, shape)
        (ours, used), (direct, idle) = seen["local/m"], seen["m"]
        first, whole = (statistics.median(t[at] for t in ours) - statistics.median(t[at] for t in direct) for at in (0, 1))
        added.append((first, whole, (used - idle) / count, statistics.median(t[1] for t in direct)))
    return list(zip(*added))


def shown(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def main():
    arguments = argparse.ArgumentParser(description="What the gateway adds to an answer of the local engine.")
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--block", type=int, default=8, help="requests to one side before the other has its turn")
    arguments.add_argument("--device", help="where the worker computes: cuda, for instance")
    arguments.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the worker")
    given = arguments.parse_args()
    written = config(given.device, dict(pair.split("=", 1) for pair in given.env))
    load = " ".join(read(Path("/proc/loadavg")).split()[:3])
    print(f"{os.cpu_count()} cores, load {load}, {given.rounds} rounds of {given.block} requests a side; µs, median (least–most).\n")
    print("| answer | tokens | straight | added to the first byte | added to the end | gateway's processor | goal |\n|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, Gateway(given.bin, folder, written) as gateway:
        ask(gateway.client, "local/m", SHORT, False)  # the engine has loaded once this is answered
        worker = gateway.worker()
        for name, stream in [("streamed", True), ("whole", False)]:
            middle = {}
            for tokens in (SHORT, LONG):
                first, whole, used, direct = measure(gateway, worker, (tokens, stream), given.rounds, given.block)
                middle[tokens] = statistics.median(whole), statistics.median(used)
                goal = GOAL_REQUEST + GOAL_TOKEN * tokens
                cells = [name, tokens, shown(direct), shown(first), shown(whole), shown(used), goal]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            wall, used = ((middle[LONG][at] - middle[SHORT][at]) / (LONG - SHORT) for at in (0, 1))
            print(f"| {name}, a token more | | | | {wall:.2f} | {used:.2f} | {GOAL_TOKEN} |", flush=True)


if __name__ == "__main__":
    main()
