"""Tables in Markdown from the JSON lines of tests/bench/turns.sh: the median over the rounds (least to most)."""

import json
import statistics
import sys


def shown(values, digits=2):
    values = sorted(values)
    middle = statistics.median(values)
    if values[0] == values[-1]:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({values[0]:,.{digits}f}–{values[-1]:,.{digits}f})"


def mib(line, name):
    return f"{line[name]:.1f} MiB"


def table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|---|" + "--:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    lines = [json.loads(line) for line in sys.stdin if line.strip()]
    turns = [line for line in lines if "parts_ms" in line]
    floors = [line for line in lines if line["label"].endswith("-floor")]
    rows = []
    for lane, conc in dict.fromkeys((line["label"], line["conc"]) for line in turns):
        own = [line for line in turns if (line["label"], line["conc"]) == (lane, conc)]
        bare = [line for line in floors if (line["label"], line["conc"]) == (f"{lane}-floor", conc)]
        of = lambda name, some=own: [line[name] for line in some]  # noqa: E731
        # A turn's model calls are there without us too.
        added = lambda name, some=own: [line[name] - line[f"direct_{name}"] for line in some]  # noqa: E731
        times = [line["p50_ms"] / floor["p50_ms"] for line, floor in zip(own, bare, strict=False) if floor["p50_ms"]]
        rows.append([
            lane, str(conc), shown(of("per_second"), 0), shown(of("p50_ms")), shown(of("p99_ms")),
            shown(of("direct_p50_ms")), shown(added("p50_ms")), shown(added("p99_ms")), shown(of("cpu_ms")), shown(of("commits"), 0),
            shown(of("per_second", bare), 0), shown(of("p50_ms", bare)), shown(of("p99_ms", bare)), shown(times) if times else "–",
        ])  # fmt: skip
    table(
        ["turns with one tool call", "at once", "turns/s", "p50 ms", "p99 ms", "its two model calls bare, p50", "added p50", "added p99", "processor ms", "commits", "floor: units/s", "p50 ms", "p99 ms", "× floor"],
        rows,
    )
    rows = []
    for lane in dict.fromkeys(line["label"] for line in turns):
        # Of turns one behind the other.
        single = [line for line in turns if (line["label"], line["conc"]) == (lane, 1)]
        if not single:
            continue
        parts = list(dict.fromkeys(part for line in single for part in line["parts_ms"]))
        whole = statistics.median(line["parts_ms"]["whole"] for line in single)
        for part in sorted(parts, key=lambda part: part == "whole"):
            times = [line["parts_ms"][part] for line in single if part in line["parts_ms"]]
            rows.append([f"{lane}: {part}", shown(times), f"{100 * statistics.median(times) / whole:.0f} %"])
        alone = [floor for floor in floors if (floor["label"], floor["conc"]) == (f"{lane}-floor", 1)]
        if alone:
            bare = statistics.median(floor["p50_ms"] for floor in alone)
            rows.append([f"{lane}: of all that, its commits done bare", shown([floor["p50_ms"] for floor in alone]), f"{100 * bare / whole:.0f} %"])
    # A step's time has its own commits in it.
    table(["where a single turn's time goes", "ms", "share"], rows)
    parked = [line for line in lines if "kib_per_turn" in line]
    if parked:
        table(
            ["parked turns", "turns", "RssAnon before", "after", "per turn", "RSS after"],
            [[l["label"], str(l["turns"]), mib(l, "before_mib"), mib(l, "after_mib"), f"{l['kib_per_turn']:.2f} KiB", mib(l, "resident_mib")] for l in parked],
        )
    streams = [line for line in lines if "most_mib" in line]
    if streams:
        table(
            ["live streams", "streams", "events", "RssAnon before", "most", "RSS at most", "processor s"],
            [[l["label"], str(l["streams"]), str(l["events"]), mib(l, "before_mib"), mib(l, "most_mib"), mib(l, "most_resident_mib"), f"{l['cpu_s']:.1f}"] for l in streams],
        )


if __name__ == "__main__":
    main()
