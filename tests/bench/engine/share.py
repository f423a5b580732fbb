"""What the gateway adds to an answer of the local engine: the same request through the gateway, and straight to its worker.

Why: the engine is the gateway's own, so nobody else is to blame for the way between them. One gateway runs one worker (demo
model, temperature 0); blocks of requests through the gateway and past it, on the worker's own socket, take turns, so what the
machine does meanwhile touches both alike. With `--hop` a reference hop, which parses no answer, stands before the gateway on a
side of its own: what handing on costs a process on this machine, whatever it does besides. Invariants: all sides answer the
same tokens or the run fails; processor time is of the gateway (or of the hop) alone, without the worker's, less what it uses
while another side is asked; every process started is ended.

    python3 share.py --bin FRONTDESK [--hop BENCH] [--rounds 15] [--block 8] [--device cuda]
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
    providers = {"inference": [{"id": "local", "type": "mistralrs", "config": worker}]}
    # "mock" is what the hop calls every model.
    return json.dumps({"providers": providers, "models": [{"id": "mock", "targets": [{"model": "local/m"}]}]})


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
                self.address = line.split("ready ")[1].strip()
                host, port = self.address.removeprefix("http://").rsplit(":", 1)
                self.client = connected(socket.AF_INET, (host, int(port)))
                return self
        raise RuntimeError(f"the gateway ended with status {self.process.wait()} before it was ready")

    def __exit__(self, *_):
        end(self.process)

    def worker(self):
        """A connection to the worker: its command line names its socket."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = " ".join(read(task / "children") for task in tasks.iterdir()).split()
        for child in children:
            arguments = read(Path(f"/proc/{child}/cmdline")).split("\0")
            if "--socket" in arguments:
                return connected(socket.AF_UNIX, arguments[arguments.index("--socket") + 1])
        raise RuntimeError("the gateway has no worker")


class Hop:
    """`bench hop --mode splice` before a gateway."""

    def __init__(self, binary, upstream):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [binary, "hop", "--port", str(self.port), "--mode", "splice", "--upstream", upstream]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError):
                self.client = connected(socket.AF_INET, ("127.0.0.1", self.port))
                return self
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError("the hop did not listen")

    def __exit__(self, *_):
        end(self.process)


def end(process):
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def processor(process):
    """Microseconds of processor time of all its threads: to the nanosecond, where `stat` counts in ticks of 10 ms."""
    tasks = Path(f"/proc/{process.pid}/task")
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


def checked(sides, tokens, stream):
    """Asks all sides once, to warm them up and to see that they say the same, and as much as was asked for."""
    said = {name: words(ask(connection, model, tokens, stream)[2]) for name, (connection, model) in sides.items()}
    if len(set(said.values())) > 1:
        raise RuntimeError(f"not one answer: {said}")
    connection, model = sides["straight"]
    _, _, whole = ask(connection, model, tokens, False)
    made = json.loads(whole)["usage"]["completion_tokens"]
    if made != tokens:
        raise RuntimeError(f"asked for {tokens} tokens, and the answer ended after {made}")


def block(watched, side, count, shape):
    """A block of requests to one side: their times, and the processor time of each process watched meanwhile."""
    before = [processor(process) for process in watched]
    times = [ask(*side, *shape)[:2] for _ in range(count)]
    time.sleep(SETTLED)
    return times, [processor(process) - was for process, was in zip(watched, before)]


def measure(sides, watched, shape, rounds, count):
    """One figure a round, in microseconds: what the gateway adds to the first byte and to the end, its processor time, the
    straight answer's time, and the hop's processor time (0 without one)."""
    checked(sides, *shape)
    time.sleep(SETTLED)
    added = []
    for number in range(rounds):
        turns = list(sides) if number % 2 else list(reversed(sides))
        seen = {name: block(watched, sides[name], count, shape) for name in turns}
        (ours, used), (direct, idle) = seen["gateway"], seen["straight"]
        first, whole = (statistics.median(t[at] for t in ours) - statistics.median(t[at] for t in direct) for at in (0, 1))
        hop = (seen["hop"][1][1] - idle[1]) / count if "hop" in seen else 0
        added.append((first, whole, (used[0] - idle[0]) / count, statistics.median(t[1] for t in direct), hop))
    return list(zip(*added))


def shown(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def main():
    arguments = argparse.ArgumentParser(description="What the gateway adds to an answer of the local engine.")
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--hop", metavar="BENCH", help="the program `bench`: its reference hop is measured beside")
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--block", type=int, default=8, help="requests to one side before the other has its turn")
    arguments.add_argument("--device", help="where the worker computes: cuda, for instance")
    arguments.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the worker")
    given = arguments.parse_args()
    written = config(given.device, dict(pair.split("=", 1) for pair in given.env))
    load = " ".join(read(Path("/proc/loadavg")).split()[:3])
    print(f"{os.cpu_count()} cores, load {load}, {given.rounds} rounds of {given.block} requests a side; µs, median (least–most).\n")
    print("| answer | tokens | straight | added to the first byte | added to the end | gateway's processor | a hop's processor | goal |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with contextlib.ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory())
        gateway = running.enter_context(Gateway(given.bin, folder, written))
        ask(gateway.client, "local/m", SHORT, False)  # the engine has loaded once this is answered
        sides = {"gateway": (gateway.client, "local/m"), "straight": (gateway.worker(), "m")}
        watched = [gateway.process]
        if given.hop:
            hop = running.enter_context(Hop(given.hop, gateway.address))
            sides["hop"] = (hop.client, "m")
            watched.append(hop.process)
        for name, stream in [("streamed", True), ("whole", False)]:
            middle = {}
            for tokens in (SHORT, LONG):
                first, whole, used, direct, hop = measure(sides, watched, (tokens, stream), given.rounds, given.block)
                middle[tokens] = [statistics.median(values) for values in (whole, used, hop)]
                goal = GOAL_REQUEST + GOAL_TOKEN * tokens
                cells = [name, tokens, shown(direct), shown(first), shown(whole), shown(used), shown(hop), goal]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            wall, used, hop = ((one - other) / (LONG - SHORT) for one, other in zip(middle[LONG], middle[SHORT]))
            print(f"| {name}, a token more | | | | {wall:.2f} | {used:.2f} | {hop:.2f} | {GOAL_TOKEN} |", flush=True)


if __name__ == "__main__":
    main()
