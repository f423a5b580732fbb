"""Turns while their PostgreSQL crashes again and again: nothing that was acknowledged is lost, everything accepted ends.

`python3 tests/bench/restarts.py --seconds 120 --every 10 --parallel 16` with FRONTDESK_BIN and SCRIPTED_BIN; the suite's
own, of a fixed size, is tests/conformance/test_postgres_restarts.py.

A client streams a turn, notes every event it was shown, and picks the stream up by its key and its last event's number
whenever it breaks off, as docs/turns.md tells clients to. Invariants that are checked: what was shown before a crash is
in the rows after it, word for word; every turn that was shown ends as completed; a key never stands for two turns.
"""

import argparse
import json
import os
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


def script(scripted):
    """The scripted upstream answers in pieces, for as long as anybody asks."""
    scripted.script([{"when": {}, "times": 1_000_000, "reply": {"text": WORDS, "piece": 8}}])


class Client(threading.Thread):
    """Asks one turn after the other until it is told to stop; then finishes the one it is at."""

    def __init__(self, frontdesk, agent, number, stop):
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=frontdesk.url, headers={"authorization": f"Bearer {frontdesk.key}"}, timeout=30, trust_env=False)
        self.agent, self.number, self.stop = agent, number, stop
        # Path and id of each turn, and its events by their numbers.
        self.turns = []
        self.broken = 0
        self.wrong = None

    def run(self):
        try:
            n = 0
            while not self.stop.is_set():
                self.turns.append(self.turn(self.session(), f"client-{self.number}-{n}"))
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

    def turn(self, path, key):
        events, ended = {}, []

        def ask():
            headers = {"idempotency-key": key}
            if events:
                headers["last-event-id"] = str(max(events))
            body = {"messages": [{"role": "user", "content": "Where is my parcel?"}], "stream": True}
            with self.http.stream("POST", path, json=body, headers=headers) as answer:
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
                        if event["event"]["payload"]["event_type"] == "turn_complete":
                            ended.append(event)
            return events if ended else None

        self.until("the end of a turn", ask)
        ids = {e["event"]["payload"]["turn_id"] for e in events.values() if "turn_id" in e["event"]["payload"]}
        ids |= {ended[0]["event"]["payload"]["turn"]["turn_id"]}
        assert len(ids) == 1, f"{key} stands for {ids}"
        return path, ids.pop(), key, events

    def check(self):
        """Reads every turn again, from its first event."""
        for path, turn_id, key, events in self.turns:
            turn = self.http.get(f"{path}/{turn_id}").raise_for_status().json()
            assert turn["frontdesk"]["state"] == "completed", turn
            seen = dict(events)
            events.clear()
            again = self.turn(path, key)
            assert again[1] == turn_id and again[3] == seen, f"{key}: what was shown is not what is kept"


def run(frontdesk, folder, url, parallel, enough, pause):
    """Crashes the PostgreSQL in `folder`, waiting by `pause`, until `enough(crashes, turns)`; how it went."""
    agent = frontdesk.http.post("/v1/agents", json={"agent_config": {"model": "up/scripted", "instructions": "Be brief."}}).json()["agent_id"]
    stop = threading.Event()
    clients = [Client(frontdesk, agent, number, stop) for number in range(parallel)]
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
        "crashes": crashes, "turns": len(all_turns), "events": sum(len(events) for _, _, _, events in all_turns),
        "asked_again": sum(client.broken for client in clients), "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    for client in clients:
        client.check()
    return went


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--every", type=float, default=10)
    options.add_argument("--parallel", type=int, default=16)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        home.chmod(0o755)
        folder = home / "postgres"
        url = postgres.start(folder, durable=True)
        scripted = conftest.Program([os.environ["SCRIPTED_BIN"], "--port", "0", "--with-parent"])
        try:
            script(conftest.Scripted(scripted.url))
            entry = f'{{ id: up, type: openai, config: {{ base_url: "{scripted.url}/v1", api_key: upstream-key }} }}'
            program = conftest.configured(home, [entry], log="warn", database=url)
            try:
                end = time.monotonic() + options.seconds
                frontdesk = conftest.Frontdesk(program.url, conftest.KEY)
                print(json.dumps(run(frontdesk, folder, url, options.parallel, lambda *_: time.monotonic() > end, lambda _: time.sleep(options.every))))
            finally:
                program.stop()
        finally:
            scripted.stop()
            postgres.stop(folder)


if __name__ == "__main__":
    main()
