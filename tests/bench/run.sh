#!/usr/bin/env bash
# What Frontdesk adds on this machine: interleaved rounds of direct, nginx, hop-peek, hop-splice, LiteLLM and ours,
# tables in Markdown on standard output.  bash tests/bench/run.sh > tables.md
#
# Rows of one round run right after each other, so ratios within a round hold on a busy machine; the
# figure is the median over the rounds. Every program it starts is ended by its process id.
#
# Variables: ROUNDS (7), SECS per row (4), CONC ("1 16 64"), SSE_CONC ("1 16"), PROMPTS (bytes of the messages of
# a request; "700", and "700 16000 150000" shows what a byte costs; streams have the first of them), ROWS (those
# wanted beside direct, "nginx hop-peek hop-splice litellm ours"), IDLE (1000 streams), READY_RUNS (9), FRONTDESK_BIN, BENCH_BIN
# (built in release if absent), NGINX (nginx; a row less without it), LITELLM (the program; a row less without it: its proxy
# with one worker and a master key; its books need a database of their own and are not kept).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

source tests/bench/common.sh
# What is started inherits it: a stream is two connections.
ulimit -n 16384 2>/dev/null || true
nginx=${NGINX:-$(command -v nginx || true)}
rounds=${ROUNDS:-7} secs=${SECS:-4} conc=${CONC:-1 16 64} sse_conc=${SSE_CONC:-1 16} prompts=${PROMPTS:-700}
finish_more() { [[ ! -s $dir/nginx.pid ]] || kill "$(cat "$dir/nginx.pid")" 2>/dev/null || true; }

# Ports follow one base; BASE_PORT moves them all.
base=${BASE_PORT:-19100}
plain=$base paced=$((base + 1)) held=$((base + 2))
start _mock_plain "$BENCH_BIN" mock --port "$plain"
start _mock_paced "$BENCH_BIN" mock --port "$paced" --chunks 32 --chunk-us 20000
start _mock_held "$BENCH_BIN" mock --port "$held" --chunks 1 --hold 60
for port in $plain $paced $held; do listens "$port"; done

# Row name → port of its plain, paced and held side, and its process ids.
declare -A on_plain=([direct]=$plain) on_paced=([direct]=$paced) on_held=([direct]=$held) pid_of=([direct]=$_mock_plain)
declare -A pid_paced=([direct]=$_mock_paced) pid_held=([direct]=$_mock_held)
rows=(direct)

if [[ -n $nginx ]]; then
  sed -e "s|@DIR@|$dir|g; s|@PLAIN@|$plain|; s|@PACED@|$paced|; s|@HELD@|$held|" \
    -e "s|@LISTEN_PLAIN@|$((base + 10))|; s|@LISTEN_PACED@|$((base + 11))|; s|@LISTEN_HELD@|$((base + 12))|" \
    tests/bench/nginx.conf.in >"$dir/nginx.conf"
  "$nginx" -c "$dir/nginx.conf"
  listens $((base + 10))
  on_plain[nginx]=$((base + 10)) on_paced[nginx]=$((base + 11)) on_held[nginx]=$((base + 12))
  worker=$(cat /proc/"$(cat "$dir/nginx.pid")"/task/*/children)
  worker=${worker%% *}
  pid_of[nginx]=$worker pid_paced[nginx]=$worker pid_held[nginx]=$worker
  rows+=(nginx)
else
  echo "run.sh: no nginx here (Debian package nginx-light): its rows are missing" >&2
fi

next=$((base + 20))
for mode in peek splice; do
  for side in plain paced held; do
    start _hop "$BENCH_BIN" hop --port $next --mode "$mode" --upstream "http://127.0.0.1:${!side}"
    listens $next
    case $side in
      plain) on_plain[hop-$mode]=$next pid_of[hop-$mode]=$_hop ;;
      paced) on_paced[hop-$mode]=$next pid_paced[hop-$mode]=$_hop ;;
      held) on_held[hop-$mode]=$next pid_held[hop-$mode]=$_hop ;;
    esac
    next=$((next + 1))
  done
  rows+=("hop-$mode")
done

# Ours: one server, one provider per upstream, everything on that is on by default.
key=frontdesk-bench-admin-key
{
  echo "providers:"
  echo "  inference:"
  for side in plain paced held; do
    echo "    - { id: $side, type: openai, config: { base_url: \"http://127.0.0.1:${!side}/v1\", api_key: none } }"
  done
  echo "models:"
  for side in plain paced held; do echo "  - { id: bench-$side, targets: [ { model: $side/mock } ] }"; done
  [[ -z ${DATABASE_URL:-} ]] || echo "database_url: \"$DATABASE_URL\""
} >"$dir/frontdesk.yaml"
ours=$((base + 40))
start _ours env FRONTDESK_ADMIN_KEY=$key "$FRONTDESK_BIN" up --config "$dir/frontdesk.yaml" \
  --listen "127.0.0.1:$ours" --data-dir "$dir/data"
listens $ours
on_plain[ours]=$ours on_paced[ours]=$ours on_held[ours]=$ours
pid_of[ours]=$_ours pid_paced[ours]=$_ours pid_held[ours]=$_ours
rows+=(ours)
# LiteLLM: one proxy, its model names and key like ours.
if [[ -n ${LITELLM:-} ]]; then
  {
    echo "model_list:"
    for side in plain paced held; do
      echo "  - { model_name: bench-$side, litellm_params: { model: openai/mock, api_base: \"http://127.0.0.1:${!side}/v1\", api_key: none } }"
    done
    echo "general_settings: { master_key: $key }"
  } >"$dir/litellm.yaml"
  start _lite env NO_PROXY=127.0.0.1 LITELLM_TELEMETRY=False "$LITELLM" --config "$dir/litellm.yaml" --host 127.0.0.1 \
    --port $((base + 41)) --num_workers 1 --telemetry False
  listens $((base + 41))
  on_plain[litellm]=$((base + 41)) on_paced[litellm]=$((base + 41)) on_held[litellm]=$((base + 41))
  pid_of[litellm]=$_lite pid_paced[litellm]=$_lite pid_held[litellm]=$_lite
  rows+=(litellm)
fi

if [[ -n ${ROWS:-} ]]; then
  mapfile -t rows < <(printf '%s\n' "${rows[@]}" | grep -Fx -f <(tr ' ' '\n' <<<"direct $ROWS"))
fi

# model ROW SIDE: what a client of that row calls the model.
model() { case $1 in ours | litellm) echo "bench-$2" ;; *) echo mock ;; esac; }
# header ROW: a JSON body needs none but a key.
header() { case $1 in ours | litellm) echo "Authorization: Bearer $key" ;; *) echo "X-None: 1" ;; esac; }

lines=$dir/lines.jsonl
started=$SECONDS
for ((round = 0; round < rounds; round++)); do
  for prompt in $prompts; do
    for c in $conc; do
      for row in "${rows[@]}"; do
        "$BENCH_BIN" load --url "http://127.0.0.1:${on_plain[$row]}/v1/chat/completions" --label "$row" --round $round \
          --prompt-bytes "$prompt" --conc "$c" --secs "$secs" --pid "${pid_of[$row]}" --model "$(model "$row" plain)" \
          --header "$(header "$row")" >>"$lines"
      done
    done
  done
  for c in $sse_conc; do
    for row in "${rows[@]}"; do
      "$BENCH_BIN" load --stream --url "http://127.0.0.1:${on_paced[$row]}/v1/chat/completions" --label "$row" --round $round \
        --prompt-bytes "${prompts%% *}" --conc "$c" --secs "$secs" --pid "${pid_paced[$row]}" \
        --model "$(model "$row" paced)" --header "$(header "$row")" >>"$lines"
    done
  done
  echo "run.sh: round $((round + 1)) of $rounds done, $((SECONDS - started)) s" >&2
done

for row in "${rows[@]:1}"; do
  "$BENCH_BIN" idle --url "http://127.0.0.1:${on_held[$row]}/v1/chat/completions" --label "$row" --streams "${IDLE:-1000}" \
    --pid "${pid_held[$row]}" --model "$(model "$row" held)" --header "$(header "$row")" >>"$lines"
done
"$BENCH_BIN" ready --binary "$FRONTDESK_BIN" --label ours --runs "${READY_RUNS:-9}" >>"$lines"

echo "$(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg), $rounds rounds of $secs s per row; median (smallest–largest)."
"$BENCH_BIN" table <"$lines"
