#!/usr/bin/env bash
# A Rust compiler for wasm32-unknown-unknown where rustup's target cannot be fetched: bash toolchain.sh FOLDER
#
# Debian's rustc-web packages, unpacked (not installed) into FOLDER, whole or not at all: FOLDER/rustc and FOLDER/wasm-ld.
# They bring the sources of the standard library and not the library, so cargo builds it:
#   RUSTC=FOLDER/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort \
#   CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=FOLDER/wasm-ld cargo build --target wasm32-unknown-unknown
set -euo pipefail

chain=$1
if [ ! -x "$chain/rustc" ]; then
  rm -rf "$chain.new" && mkdir -p "$chain.new/debs"
  (cd "$chain.new/debs" && apt-get download \
    rustc-web libstd-rust-web-1.96 libstd-rust-web-dev rust-web-src libllvm22 lld-22)
  for deb in "$chain.new"/debs/*.deb; do dpkg -x "$deb" "$chain.new/root"; done
  rm -r "$chain.new/debs"
  for tool in rustc wasm-ld; do
    cat > "$chain.new/$tool" <<'WRAPPER'
#!/usr/bin/env bash
root=$(cd "$(dirname "$0")" && pwd)/root/usr
export LD_LIBRARY_PATH=$root/lib:$root/lib/x86_64-linux-gnu:$root/lib/llvm-22/lib
tool=$(basename "$0")
for bin in "$root/lib/llvm-22/bin/$tool" "$root/bin/$tool"; do
  [ -x "$bin" ] && exec "$bin" "$@"
done
echo "$tool is not in $root" >&2
exit 1
WRAPPER
    chmod +x "$chain.new/$tool"
  done
  rm -rf "$chain" && mv "$chain.new" "$chain"
fi
