#!/bin/sh
# Power cuts at random on every side of the way from flash to log: soak.sh [CUTS] [SEED]. 2,000 cuts take about half an hour.
# Needs cc and a built broker (npm run build), of which it takes a copy.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
build="$here/device/build"
make -s -C "$here/device" build/sim_device build/sim_line
cd "$root"
[ -f dist/main.js ] || npm run -s build
# A copy of its own: a run is not disturbed when dist is built again.
copy="$build/run-$$/dist"
trap 'rm -rf "$build/run-$$"' EXIT
mkdir -p "$build/run-$$"
cp -R dist bin package.json "$build/run-$$/"
ln -s "$root/node_modules" "$build/run-$$/node_modules"
npx esbuild gateway="$here/gateway/main.ts" soak="$here/gateway/sim/soak.ts" \
  measure="$here/gateway/sim/measure.ts" --outdir="$copy" --bundle --splitting --format=esm --minify-syntax --minify-whitespace \
  --platform=node --target=node20 --log-level=error --external:serialport --external:cbor-extract --external:bufferutil \
  --external:utf-8-validate --allow-overwrite \
  --banner:js="import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);"
if [ "${1:-}" = measure ]; then
  node "$copy/measure.js" "$build" "$copy" "${2:-}"
else
  node "$copy/soak.js" "${1:-2000}" "${2:-$(date +%s)}" "$build" "$copy"
fi
