#!/bin/sh
# Builds the program that the images carry, into a folder. The Dockerfiles run it; so can anybody in a clean clone:
#   sh docker/build.sh OUT [cargo features, e.g. cuda]
# PROFILE=1 builds twice, the second time by what the first one did under load (docker/profile.sh): up to
# an eighth less processor time a request (BENCHMARKS.md), for twice the minutes. A program that needs a GPU cannot be profiled where there is none.
# For a GPU, candle and mistral.rs are built with what providers/mistralrs/mends changes in them, so that requests run
# together; any other build of theirs answers one request at a time.
# Needs Rust and a C++ compiler, for a GPU also patch, for PROFILE=1 also bash and llvm-profdata (rustup component add
# llvm-tools). Fetches crates by name at this step only; the result needs no network.
set -eu
: "${1:?usage: sh docker/build.sh OUT [FEATURES]}"
mkdir -p "$1/bin" "$1/etc"
out=$(cd "$1" && pwd)
features=${2:-}
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
# The allocator serves pages up to the size it was built for; ARM kernels have them of 4, 16 or 64 KiB.
case $(uname -m) in aarch64) export JEMALLOC_SYS_WITH_LG_PAGE=16 ;; esac
build() { cargo build --locked --profile dist -p frontdesk-gateway ${features:+--features "$features"}; }
case ",$features," in *,cuda,*)
  # Sources at other places are another lock file, which is put back.
  lock=$(mktemp)
  cp Cargo.lock "$lock"
  trap 'cp "$lock" Cargo.lock; rm -f "$lock"' EXIT
  trap 'exit 130' INT TERM
  cargo fetch --locked
  mended=$(realpath "$target")/mended
  rm -rf "$mended"
  mkdir -p "$mended"
  for mend in providers/mistralrs/mends/*.patch; do
    source=$(basename "$mend" .patch)
    found=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -mindepth 2 -maxdepth 2 -name "$source" | head -n 1)
    grep -A 1 -x "name = \"${source%-*}\"" Cargo.lock | grep -q -x "version = \"${source##*-}\"" && [ -n "$found" ] ||
      { echo "build.sh: $mend is for another version than Cargo.lock has" >&2; exit 1; }
    cp -r "$found" "$mended/${source%-*}"
    patch -s -p1 -d "$mended/${source%-*}" <"$mend"
  done
  export FRONTDESK_ENGINE_MENDED=1
  build() {
    cargo build --offline --profile dist -p frontdesk-gateway --features "$features" \
      --config "patch.crates-io.candle-core.path='$mended/candle-core'" \
      --config "patch.crates-io.mistralrs-core.path='$mended/mistralrs-core'"
  }
  ;;
esac
if [ "${PROFILE:-0}" = 1 ]; then
  case ",$features," in *,cuda,*) echo "build.sh: a program for GPUs cannot be profiled here" >&2; exit 2 ;; esac
  profiles=$(mktemp -d)
  trap 'rm -rf "$profiles"' EXIT
  (export RUSTFLAGS="-Cprofile-generate=$profiles" && build)
  bash docker/profile.sh "$target/dist/frontdesk" "$profiles" "$target/frontdesk.profdata"
  export RUSTFLAGS="-Cprofile-use=$(realpath "$target")/frontdesk.profdata"
fi
build
install -m 0755 "$target/dist/frontdesk" "$out/bin/frontdesk"
install -m 0644 docker/frontdesk.yaml "$out/etc/frontdesk.yaml"
case ",$features," in
  *,cuda,*) echo "built $out/bin/frontdesk; it starts only where NVIDIA's driver is" ;;
  *) "$out/bin/frontdesk" version ;;
esac
