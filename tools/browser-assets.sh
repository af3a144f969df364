#!/bin/sh
# Put what the pages are made of, at the versions of the npm lock file, where the agent serves it
# and the wheel ships it: web_bridge/browser/vendor for tabs, agent/web/page/vendor for the
# dashboard. Checked by hash, so that what is shipped is what was reviewed.
#
#   browser-assets.sh             fill vendor/, and check it against vendor.sha256
#   browser-assets.sh --relock    after a change of the lock file: write vendor.sha256 anew
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source="$here/browser"
page="$here/../web_bridge/browser"
dashboard="$here/../agent/web/page"

if ! command -v npm >/dev/null 2>&1; then
    echo "browser assets: npm is missing. On Debian: apt-get install nodejs npm." >&2
    echo "browser assets: an installed wheel has them already, and needs no npm." >&2
    exit 1
fi

if [ ! -e "$source/node_modules/.ready" ] ||
    [ "$source/package-lock.json" -nt "$source/node_modules/.ready" ]; then
    (cd "$source" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    touch "$source/node_modules/.ready"
fi

rm -rf "$page/vendor"
mkdir -p "$page/vendor/onnxruntime-web" "$page/vendor/wllama"
ort="$source/node_modules/onnxruntime-web"
for file in ort.wasm.min.mjs ort.webgpu.min.mjs ort.all.min.mjs \
    ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm \
    ort-wasm-simd-threaded.asyncify.mjs ort-wasm-simd-threaded.asyncify.wasm \
    ort-wasm-simd-threaded.jsep.mjs ort-wasm-simd-threaded.jsep.wasm; do
    cp "$ort/dist/$file" "$page/vendor/onnxruntime-web/"
done
wllama="$source/node_modules/@wllama/wllama"
cp "$wllama/esm/index.min.js" "$wllama/LICENCE" "$page/vendor/wllama/"
cp "$wllama/esm/wasm/wllama.wasm" "$page/vendor/wllama/"

rm -rf "$dashboard/vendor"
mkdir -p "$dashboard/vendor"
echarts="$source/node_modules/echarts"
cp "$echarts/dist/echarts.esm.min.mjs" "$echarts/LICENSE" "$echarts/NOTICE" "$dashboard/vendor/"

for folder in "$page" "$dashboard"; do
    cd "$folder"
    if [ "${1:-}" = --relock ]; then
        find vendor -type f | LC_ALL=C sort | xargs sha256sum >vendor.sha256
    fi
    sha256sum --check --quiet vendor.sha256
done
