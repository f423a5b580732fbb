#!/usr/bin/env bash
# Builds a Rust tool component: bash build.sh [CRATE_DIR]   (default: shop-tools beside this script)
#
# Writes CRATE_DIR/../<package>.wasm and CRATE_DIR/built.json {source_hash, wit_hash, wasm_hash, toolchain,
# date}. A test recomputes the hashes, so a changed source without a new build fails.
#
# With `rustup target add wasm32-unknown-unknown` any Rust does. This script needs no rustup: the compiler is
# that of toolchain.sh, and jco from npm turns the core module into a component. Nothing here runs at test or
# start time: the built file is in the repository.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
crate=$(cd "${1:-$here/shop-tools}" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/frontdesk
chain=$cache/guest-toolchain
package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -1)

bash "$here/toolchain.sh" "$chain"
jco=$chain/node_modules/.bin/jco
if [ ! -x "$jco" ]; then
  npm install --no-audit --no-fund --prefix "$chain" @bytecodealliance/jco@1.35.0
fi

# --- core module, component ---------------------------------------------------------------------------
target=$cache/guest-target
(cd "$crate" && RUSTC="$chain/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$target" \
  CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$chain/wasm-ld" \
  cargo build -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown --release)
"$jco" new "$target/wasm32-unknown-unknown/release/${package//-/_}.wasm" -o "$crate/../$package.wasm"

# --- the record: hash of the hash list, sorted by path -------------------------------------------------
source_hash=$(cd "$crate" && find Cargo.toml Cargo.lock src -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
wit_hash=$(sha256sum "$here/../../../../providers/wasm/wit/tool.wit" | cut -d' ' -f1)
wasm_hash=$(sha256sum "$crate/../$package.wasm" | cut -d' ' -f1)
printf '{\n  "source_hash": "%s",\n  "wit_hash": "%s",\n  "wasm_hash": "%s",\n  "toolchain": "%s, wasm32-unknown-unknown, %s",\n  "date": "%s"\n}\n' \
  "$source_hash" "$wit_hash" "$wasm_hash" "$("$chain/rustc" --version)" "jco $("$jco" --version)" "$(date -u +%F)" > "$crate/built.json"
cat "$crate/built.json"
