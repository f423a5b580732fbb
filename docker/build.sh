#!/bin/sh
# Builds the program that the images carry, into a folder. The Dockerfiles run it; so can anybody in a clean clone:
#   sh docker/build.sh OUT [cargo features, e.g. cuda]
# Needs Rust and a C compiler. Fetches crates by name at this step only; the result needs no network.
set -eu
out=${1:?usage: docker/build.sh OUT [FEATURES]}
features=${2:-}
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --profile dist -p frontdesk-gateway ${features:+--features "$features"}
mkdir -p "$out/bin" "$out/etc"
install -m 0755 "$target/dist/frontdesk" "$out/bin/frontdesk"
install -m 0644 docker/frontdesk.yaml "$out/etc/frontdesk.yaml"
"$out/bin/frontdesk" version
