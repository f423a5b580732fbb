# What the bench scripts share; sourced by them from the repository's root. Everything that `start` runs is ended by
# its process id when the script ends, and the folder `$dir` goes with it.

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
if [[ -z ${FRONTDESK_BIN:-} ]]; then
  cargo build --release --locked >&2
  FRONTDESK_BIN=$CARGO_TARGET_DIR/release/frontdesk
fi
if [[ -z ${BENCH_BIN:-} ]]; then
  cargo build --release --locked -p frontdesk-tests --bin bench >&2
  BENCH_BIN=$CARGO_TARGET_DIR/release/bench
fi

# DATA: where the folder is made.
dir=$(mktemp -d "${DATA:-${TMPDIR:-/tmp}}/frontdesk-bench.XXXXXX")
chmod 755 "$dir"
pids=()
# What a script ends by other means than a process id; it may define its own.
finish_more() { :; }
finish() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  finish_more
  rm -rf "$dir"
}
trap finish EXIT

# start VARIABLE COMMAND...: runs it in the background; its process id goes into VARIABLE.
start() {
  local -n into=$1
  shift
  "$@" >"$dir/$RANDOM.log" 2>&1 &
  into=$!
  pids+=("$into")
}
# listens PORT: returns once something accepts there.
listens() {
  local try
  for try in $(seq 400); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.05
  done
  echo "nothing listens on port $1 (attempt $try)" >&2
  cat "$dir"/*.log >&2
  exit 1
}
