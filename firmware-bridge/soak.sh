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
rm -rf "$build/dist"
cp -R dist package.json "$build/"
npx esbuild gateway="$here/gateway/main.ts" soak="$here/gateway/sim/soak.ts" \
  measure="$here/gateway/sim/measure.ts" --outdir="$build/dist" --bundle --splitting --format=esm --minify-syntax --minify-whitespace \
  --platform=node --target=node20 --log-level=error --external:serialport --external:cbor-extract --external:bufferutil \
  --external:utf-8-validate --allow-overwrite \
  --banner:js="import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);"
[ "${1:-}" != measure ] || exec node "$build/dist/measure.js" "$build" "$build/dist"
exec node "$build/dist/soak.js" "${1:-2000}" "${2:-$(date +%s)}" "$build" "$build/dist"
