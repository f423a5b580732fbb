#!/usr/bin/env bash
# Puts an instrumented frontdesk under the load of tests/bench and merges what it noted into one profile:
#   bash docker/profile.sh PROGRAM NOTES OUT.profdata
# NOTES is the folder that PROGRAM was built to write to (-Cprofile-generate). What comes of it: BENCHMARKS.md.
# LLVM_PROFDATA names the tool; without it the toolchain's own, else the one on the path.
set -euo pipefail
program=$(realpath "${1:?usage: docker/profile.sh PROGRAM NOTES OUT.profdata}") notes=$(realpath "$2") out=$(realpath "$3")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
own=$(find "$(rustc --print sysroot)" -name llvm-profdata -print -quit)
tool=${LLVM_PROFDATA:-${own:-llvm-profdata}}
"$tool" --version >/dev/null || { echo "profile.sh: no llvm-profdata: rustup component add llvm-tools" >&2 && exit 1; }

# Plain and streamed answers, one and sixteen at a time, of two sizes, and idle streams: 12 s in all.
FRONTDESK_BIN=$program ROUNDS=1 SECS=3 CONC="1 16" SSE_CONC="1 16" PROMPTS="700 16000" ROWS=ours IDLE=200 READY_RUNS=1 \
  bash tests/bench/run.sh >&2
"$tool" merge -o "$out" "$notes"
echo "profile.sh: $(du -h "$out" | cut -f1) of profile" >&2
