"""Turns while their PostgreSQL crashes again and again: nothing that was acknowledged is lost, everything accepted ends.

`python3 tests/bench/restarts.py --seconds 120 --every 10 --parallel 16` with FRONTDESK_BIN and SCRIPTED_BIN; the suite's
own, of a fixed size, is tests/conformance/test_postgres_restarts.py.

A client streams a turn, notes every event it was shown, and picks the stream up by its key and its last event's number
whenever it breaks off, as docs/turns.md tells clients to. Each turn calls two tools that have an effect in a ledger
outside: `book` may be called again by the same key, `refund` may not.
Invariants that are checked: what was shown before a crash is in the rows after it, word for word; every turn that was
shown ends as completed; a key never stands for two turns; an effect happened once, or the turn's model was told that its
outcome is unknown; a stream that is picked up behind any of its numbers has the same bytes.
"""

import argparse
import collections
import http.server
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

import conftest
import postgres

# A net under a turn that never comes to its end, seconds.
PATIENCE_S = 120
WORDS = "The parcel left our house this morning and should be with you on Thursday."


UNKNOWN = "may have done its work"
TOOLS = ["book", "refund"]


def script(scripted):
    """The scripted upstream asks for both tools, then answers in pieces, for as long as anybody asks."""
    calls = [{"name": name, "arguments": {"body": {"order": "{last_user_number}"}}} for name in TOOLS]
    scripted.script([
        {"when": {"last_role": "tool"}, "times": 1_000_000, "reply": {"text": WORDS, "piece": 8}},
        {"when": {}, "times": 1_000_000, "reply": {"tool_calls": calls}},
    ])  # fmt: skip


class Ledger(http.server.ThreadingHTTPServer):
    """Counts effects by tool and order; `book` has its effect once for each `Idempotency-Key`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Entry)
        self.lock, self.effects, self.keys, self.calls = threading.Lock(), collections.Counter(), set(), 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def document(self):
        """What is imported: of the two only `book` takes a key, which makes it one that may be called again."""
        body = {"required": True, "content": {"application/json": {"schema": {"type": "object", "properties": {"order": {"type": "string"}}}}}}
        key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
        path = lambda name, more: {"post": {"operationId": name, "requestBody": body, "parameters": more}}  # noqa: E731
        paths = {"/book": path("book", [key]), "/refund": path("refund", [])}
        return {"openapi": "3.1.0", "info": {"title": "Ledger", "version": "1"}, "servers": [{"url": self.url}], "paths": paths}

    def stop(self):
        self.shutdown()
        self.server_close()


class Entry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))["order"]
        tool, key = self.path.removeprefix("/"), self.headers.get("idempotency-key")
        with self.server.lock:
            self.server.calls += 1
            if tool != "book" or key not in self.server.keys:
                self.server.effects[tool, order] += 1
            self.server.keys.add(key)
        said = b'{"done": true}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


class Client(threading.Thread):
    """Asks one turn after the other until it is told to stop; then finishes the one it is at."""

    def __init__(self, frontdesk, agent, number, stop, orders):
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=frontdesk.url, headers={"authorization": f"Bearer {frontdesk.key}"}, timeout=30, trust_env=False)
        self.agent, self.number, self.stop, self.orders = agent, number, stop, orders
        # Path and id of each turn, and its events by their numbers.
        self.turns = []
        self.broken = 0
        self.wrong = None

    def run(self):
        try:
            n = 0
            while not self.stop.is_set():
                self.turns.append(self.turn(self.session(), f"client-{self.number}-{n}", next(self.orders)))
                n += 1
        except Exception as error:  # noqa: BLE001 - told by whoever waits for this thread
            self.wrong = error

    def until(self, what, ask):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                answer = ask()
                if answer is not None:
                    return answer
            except httpx.TransportError:
                pass
            self.broken += 1
            time.sleep(0.05)
        raise AssertionError(f"{what} does not come")

    def session(self):
        def ask():
            answer = self.http.post(f"/v1/agents/{self.agent}/session", json={"session_name": "restarts"})
            assert answer.status_code in (200, 503, 504), answer.text
            return answer.json()["session_id"] if answer.status_code == 200 else None

        return f"/v1/agents/{self.agent}/session/{self.until('a session', ask)}/turn"

    def asking(self, path, key, order, after=None):
        body = {"messages": [{"role": "user", "content": f"Where is my parcel {order}?"}], "stream": True}
        headers = {"idempotency-key": key} | ({} if after is None else {"last-event-id": str(after)})
        return self.http.stream("POST", path, json=body, headers=headers)

    def turn(self, path, key, order):
        events, ended = {}, []

        def ask():
            with self.asking(path, key, order, max(events, default=None)) as answer:
                if answer.status_code != 200:
                    said = answer.read().decode()
                    # 409: the first of two that asked by this key has not answered yet.
                    assert answer.status_code in (409, 503, 504), said
                    return None
                number = None
                for line in answer.iter_lines():
                    if line.startswith("id:"):
                        number = int(line[3:])
                    elif line.startswith("data:") and number is not None:
                        event = json.loads(line[5:])
                        assert events.setdefault(number, event) == event, f"{key}: event {number} was another before"
                        number = None
                        assert "event" in event, f"{key}: {event}"
                        if event["event"]["payload"]["event_type"] == "turn_complete":
                            ended.append(event)
            return events if ended else None

        self.until("the end of a turn", ask)
        ids = {e["event"]["payload"]["turn_id"] for e in events.values() if "turn_id" in e["event"]["payload"]}
        ids |= {ended[0]["event"]["payload"]["turn"]["turn_id"]}
        assert len(ids) == 1, f"{key} stands for {ids}"
        return path, ids.pop(), key, order, events

    def check(self, ledger, effects):
        """Reads every turn again, from its first event, and sets its calls against the ledger."""
        for path, turn_id, key, order, seen in self.turns:
            turn = self.http.get(f"{path}/{turn_id}").raise_for_status().json()
            assert turn["frontdesk"]["state"] == "completed", turn
            again = self.turn(path, key, order)
            assert again[1] == turn_id and again[4] == seen, f"{key}: what was shown is not what is kept"
            told = {r["tool_name"]: str(r["content"]) for s in turn["steps"] if s["step_type"] == "tool_execution" for r in s["tool_responses"]}
            assert sorted(told) == TOOLS, turn
            for tool, said in told.items():
                happened = ledger.effects[tool, str(order)]
                unknown = UNKNOWN in said
                assert happened == 1 or (unknown and happened == 0), f"{key}: {tool} happened {happened} times: {said}"
                assert unknown or "done" in said, f"{key}: {said}"
                effects["unknown" if unknown else "once"] += 1

    def from_every_number(self, path, _, key, order, events):
        """Picks a turn's stream up behind each of its numbers; how many."""
        def read(after):
            with self.asking(path, key, order, after) as answer:
                return answer.read()

        frames = read(None).split(b"\n\n")[:-1]
        assert len(frames) == len(events), f"{key}: {len(frames)} frames, {len(events)} numbers"
        for at, n in enumerate(sorted(events), 1):
            assert read(n) == b"".join(frame + b"\n\n" for frame in frames[at:]), f"{key}: behind {n}"
        return len(events)


# What `conftest.configured` needs beside the model, so that an agent's tools reach the ledger.
TOOLING = {"tools": ["{ id: openapi, type: openapi }"], "inside": ["127.0.0.1"]}


def provider(scripted):
    return f'{{ id: up, type: openai, config: {{ base_url: "{scripted.url}/v1", api_key: upstream-key }} }}'


def run(frontdesk, ledger, folder, url, parallel, enough, pause, again=100):
    """Crashes the PostgreSQL in `folder`, waiting by `pause`, until `enough(crashes, turns)`; how it went.
    `again`: of how many turns the stream is read behind every number."""
    group = {"toolgroup_id": "ledger", "provider_id": "openapi", "args": {"document": ledger.document()}}
    assert (made := frontdesk.http.post("/v1/toolgroups", json=group)).is_success, made.text
    config = {"model": "up/scripted", "instructions": "Be brief.", "toolgroups": ["ledger"]}
    agent = frontdesk.http.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
    stop, orders = threading.Event(), itertools.count(100_000)
    clients = [Client(frontdesk, agent, number, stop, orders) for number in range(parallel)]
    start, crashes = time.monotonic(), 0
    for client in clients:
        client.start()
    while not enough(crashes, sum(len(client.turns) for client in clients)):
        assert any(client.is_alive() for client in clients), [client.wrong for client in clients]
        pause(clients)
        postgres.crash(folder, url)
        crashes += 1
    stop.set()
    for client in clients:
        client.join(PATIENCE_S)
        assert not client.is_alive() and client.wrong is None, client.wrong
    all_turns = [turn for client in clients for turn in client.turns]
    went = {
        "crashes": crashes, "turns": len(all_turns), "events": sum(len(turn[-1]) for turn in all_turns),
        "asked_again": sum(client.broken for client in clients), "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    effects = collections.Counter()
    for client in clients:
        client.check(ledger, effects)
    assert sum(ledger.effects.values()) <= 2 * len(all_turns), "effects of no turn"
    some = random.Random(2026).sample(all_turns, min(again, len(all_turns)))
    picked_up = sum(clients[0].from_every_number(*turn) for turn in some)
    return went | {"effects": dict(effects), "called": ledger.calls, "behind_every_number": picked_up}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--every", type=float, default=10)
    options.add_argument("--parallel", type=int, default=16)
    options.add_argument("--again", type=int, default=1000, help="turns whose stream is read behind every number")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        home.chmod(0o755)
        folder = home / "postgres"
        url = postgres.start(folder, durable=True)
        scripted, ledger = conftest.Program([os.environ["SCRIPTED_BIN"], "--port", "0", "--with-parent"]), Ledger()
        try:
            script(conftest.Scripted(scripted.url))
            program = conftest.configured(home, [provider(scripted)], log="warn", database=url, **TOOLING)
            try:
                end = time.monotonic() + options.seconds
                frontdesk = conftest.Frontdesk(program.url, conftest.KEY)
                enough, pause = lambda *_: time.monotonic() > end, lambda _: time.sleep(options.every)
                print(json.dumps(run(frontdesk, ledger, folder, url, options.parallel, enough, pause, options.again)))
            finally:
                program.stop()
        finally:
            scripted.stop()
            ledger.stop()
            postgres.stop(folder)


if __name__ == "__main__":
    main()
