#!/usr/bin/env bash
# libFuzzer over the readers of services/wire: `bash tests/fuzz/run.sh SECONDS [READER...]`, all readers where none is named.
#
# The stable compiler is enough: libFuzzer needs to see the paths of the program, not a sanitizer. What is built and
# found lies under target/fuzz (or CARGO_TARGET_DIR); an input that breaks a promise is written to its `found` folder.
set -euo pipefail
seconds=${1:?usage: run.sh SECONDS [READER...]}
shift
cd "$(dirname "${BASH_SOURCE[0]}")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')

cargo build --release --locked --bin seeds
readers=$("$CARGO_TARGET_DIR/release/seeds" "$CARGO_TARGET_DIR/corpus")
# With --target the flags are for the program alone, not for build scripts and macros.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
  cargo build --release --locked --target "$host" --bin readers
mkdir -p "$CARGO_TARGET_DIR/found"
for reader in ${@:-$readers}; do
  echo "== $reader"
  FUZZ_READER=$reader "$CARGO_TARGET_DIR/$host/release/readers" "$CARGO_TARGET_DIR/corpus/$reader" \
    -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$CARGO_TARGET_DIR/found/$reader-" -verbosity=0
done
