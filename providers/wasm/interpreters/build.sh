#!/usr/bin/env bash
# Builds the code interpreters: `build.sh FOLDER [python] [javascript]`, by default both.
#
# FOLDER gets python.wasm (CPython 3.14, 21 MB) and javascript.wasm (QuickJS, 1 MB). The toolchains come from the
# package registries (pip, npm), each pinned by version and hash, and stay in FOLDER/toolchain. What is built from
# the same sources by the same toolchain already is left as it is. Needs python3 with venv, and node with npm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -ge 1 ]] || { sed -n 2,6p "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
languages=${*:-python javascript}

# fresh NAME FILE...: whether NAME was built from just these files.
fresh() {
  local name=$1
  shift
  [[ -s $folder/$name.wasm && $(cat "$@" | sha256sum) == "$(cat "$folder/$name.sum" 2>/dev/null)" ]]
}
# done_with NAME FILE...: the component is whole under its name before its sum says so.
done_with() {
  local name=$1
  shift
  mv "$folder/$name.new" "$folder/$name.wasm"
  cat "$@" | sha256sum >"$folder/$name.sum"
}

python() {
  local from=("$here/interpreter.wit" "$here/python/interpreter.py" "$here/python/requirements.txt")
  fresh python "${from[@]}" && return
  local venv=$folder/toolchain/python
  if ! cmp -s "$here/python/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$venv/"
  fi
  (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 "$venv/bin/componentize-py" -q -d "$here/interpreter.wit" \
    -w interpreter componentize interpreter -p . -o "$folder/python.new")
  done_with python "${from[@]}"
}

javascript() {
  local from=("$here/interpreter.wit" "$here/javascript/interpreter.js" "$here/javascript/package-lock.json")
  fresh javascript "${from[@]}" && return
  local node=$folder/toolchain/javascript
  if ! cmp -s "$here/javascript/package-lock.json" "$node/package-lock.json" || [[ ! -d $node/node_modules ]]; then
    rm -rf "$node"
    mkdir -p "$node"
    cp "$here/javascript/package.json" "$here/javascript/package-lock.json" "$node/"
    npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --silent
  fi
  "$node/node_modules/.bin/componentize-qjs" --wit "$here/interpreter.wit" --js "$here/javascript/interpreter.js" \
    -n interpreter --sync --opt-size --minify -o "$folder/javascript.new" >/dev/null
  done_with javascript "${from[@]}"
}

for language in $languages; do
  case $language in
    python | javascript) $language ;;
    *) echo "build.sh: no interpreter '$language'; there are python and javascript" >&2; exit 2 ;;
  esac
  echo "$folder/$language.wasm"
done
