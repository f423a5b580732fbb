"""What the first request after a start waits for its first token, with the engine's warm-up and without it.

Why: the warm-up costs every start a little so that no customer pays for it; this says how much either is. Workers start in
turn, with and without, so that both see the same machine. Needs nothing but Python.

    python3 warm_up.py --bin FRONTDESK [--model FOLDER] [--rounds 9]
"""
import argparse
import statistics
import time

from table import DEMO, Engine


def first_token(engine):
    """Milliseconds from asking to the first piece of a streamed answer that has text."""
    body = {"model": "m", "stream": True, "temperature": 0, "max_tokens": 8,
            "messages": [{"role": "user", "content": 'Say "red green blue"'}]}  # fmt: skip
    began = time.monotonic()
    connection = engine.request("POST", "/v1/chat/completions", body)
    answer = connection.getresponse()
    while line := answer.readline():
        if b'"content":"' in line and b'"content":""' not in line:
            took = (time.monotonic() - began) * 1000
            answer.read()
            connection.close()
            return took
    raise RuntimeError("no text")


def shown(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main():
    arguments = argparse.ArgumentParser(description="The first token after a start, with and without a warm-up.")
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--model", default=str(DEMO))
    arguments.add_argument("--rounds", type=int, default=9)
    given = arguments.parse_args()
    took = {"true": ([], [], []), "false": ([], [], [])}
    for _ in range(given.rounds):
        for warm, (starts, firsts, seconds) in took.items():
            began = time.monotonic()
            with Engine(given.bin, [{"id": "m", "path": given.model}], "--warm-up", warm) as engine:
                starts.append((time.monotonic() - began) * 1000)
                firsts.append(first_token(engine))
                seconds.append(first_token(engine))
    print("| warm-up | start to ready, ms | first token of the first request, ms | of the second, ms |\n|---|--:|--:|--:|")
    for warm, name in [("true", "on"), ("false", "off")]:
        print("| " + " | ".join([name, *map(shown, took[warm])]) + " |")


if __name__ == "__main__":
    main()
