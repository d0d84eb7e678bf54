#!/bin/sh
# Everything that guards the firmware bridge beyond the unit tests of `npm test`: the C library's tests under sanitizers, fuzzers, cppcheck, sizes,
# golden bytes, and a short run of power cuts. What is not installed is named and left out; CI installs all of it:
#   apt-get install gcc clang libclang-rt-14-dev cppcheck mosquitto gcc-arm-none-eabi libnewlib-arm-none-eabi \
#     gcc-avr avr-libc arduino-core-avr
# The rest of what is promised is in `npm test` (firmware-bridge/gateway, test/e2e/firmware-bridge.test.ts): C encoder and cbor-x both ways, clock drift.
# FUZZ_SECONDS (10) and CUTS (40) make it longer. Ends with "N passed, N failed".
set -u
here=$(cd "$(dirname "$0")" && pwd)
passed=0
failed=0
step() { # name, program it needs, command...
  name=$1
  needs=$2
  shift 2
  if ! command -v "$needs" >/dev/null 2>&1; then
    echo "skipped: $name ($needs is not installed)"
    # In CI nothing is left out.
    [ "${CI:-}" = true ] && failed=$((failed + 1))
  elif "$@"; then
    passed=$((passed + 1))
  else
    echo "FAILED: $name"
    failed=$((failed + 1))
  fi
}
golden() {
  make -s -C "$here/device" build/golden && "$here/device/build/golden" | cmp - "$here/golden/golden.json" && echo 'golden bytes: the same'
}
# hw_mqtt against Mosquitto, both versions, with the connection dropped again and again.
mqtt() {
  make -s -C "$here/device" build/sim_mqtt || return 1
  port=$((20000 + $$ % 20000))
  mosquitto -p "$port" >/dev/null 2>&1 &
  broker=$!
  sleep 1
  "$here/device/build/sim_mqtt" "$port" 4 500 && "$here/device/build/sim_mqtt" "$port" 5 500
  result=$?
  kill "$broker"
  wait "$broker" 2>/dev/null
  return "$result"
}
step 'unit tests under sanitizers' cc make -s -C "$here/device" check
step 'golden bytes' cc golden
step 'MQTT, with Mosquitto' mosquitto mqtt
step 'cppcheck' cppcheck make -s -C "$here/device" lint
step 'code size' arm-none-eabi-gcc make -s -C "$here/device" size
step 'ports' avr-gcc "$here/device/ports.sh"
step 'fuzzers' clang make -s -C "$here/device" fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-10}"
step 'power cuts' cc "$here/soak.sh" "${CUTS:-40}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
