#!/bin/sh
# Builds the program that the images carry, into a folder. The Dockerfiles run it; so can anybody in a clean clone:
#   sh docker/build.sh OUT [cargo features, e.g. cuda]
# Needs Rust and a C++ compiler. Fetches crates by name at this step only; the result needs no network.
set -eu
: "${1:?usage: sh docker/build.sh OUT [FEATURES]}"
mkdir -p "$1/bin" "$1/etc"
out=$(cd "$1" && pwd)
features=${2:-}
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
# The allocator serves pages up to the size it was built for; ARM kernels have them of 4, 16 or 64 KiB.
case $(uname -m) in aarch64) export JEMALLOC_SYS_WITH_LG_PAGE=16 ;; esac
cargo build --locked --profile dist -p frontdesk-gateway ${features:+--features "$features"}
install -m 0755 "$target/dist/frontdesk" "$out/bin/frontdesk"
install -m 0644 docker/frontdesk.yaml "$out/etc/frontdesk.yaml"
case ",$features," in
  *,cuda,*) echo "built $out/bin/frontdesk; it starts only where NVIDIA's driver is" ;;
  *) "$out/bin/frontdesk" version ;;
esac
