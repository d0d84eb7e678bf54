#!/usr/bin/env bash
# A new user on a bare Debian: does what docs/install.md says, command by command, in a fresh root with systemd as its init
# (systemd-nspawn). Where a container cannot be booted, the unit's ExecStart is run as its user instead, and a line says so.
# Needs root, debootstrap and a Debian mirror. Ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

passed=0
failed=0
work=$(mktemp -d)
root=$work/root
nspawn=
broker=
cleanup() {
  local children=
  if [ -n "$nspawn" ]; then
    children=$(pgrep -P "$nspawn" || true)
    # SIGRTMIN+3 asks systemd to halt; the rest goes with its init.
    for child in $children; do kill -RTMIN+3 "$child" 2>/dev/null || true; done
    for _ in $(seq 100); do kill -0 "$nspawn" 2>/dev/null || break; sleep 0.1; done
    for child in $children; do kill -9 "$child" 2>/dev/null || true; done
  fi
  if [ -n "$broker" ]; then kill -9 "$broker" 2>/dev/null || true; fi
  for place in proc dev/null; do if mountpoint -q "$root/$place" 2>/dev/null; then umount "$root/$place" || true; fi; done
  rm -rf "$work"
}
trap cleanup EXIT

finish() {
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
  exit
}
leave_out() {
  if [ -n "${CI:-}" ]; then
    echo "BAD  $*"
    failed=$((failed + 1))
  else echo "LEFT OUT: the installation: $*"; fi
  finish
}
[ "$(id -u)" -eq 0 ] || leave_out "needs root"
command -v debootstrap >/dev/null || leave_out "needs debootstrap"

# The first Debian whose Node.js is new enough.
if ! debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates trixie "$root" >"$work/debootstrap.log" 2>&1; then
  tail -20 "$work/debootstrap.log"
  leave_out "debootstrap of trixie failed"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$(deploy/build-deb.sh)" "$root/root/headwater.deb"

# Its ports are the package's defaults: with this machine's network they could be taken.
for port in 1883 9092 8080; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then leave_out "port $port of this machine is in use"; fi
done

booted() {
  command -v systemd-nspawn >/dev/null || return 1
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --boot --directory "$root" --machine "headwater-$$" --register=no --keep-unit \
    --resolv-conf=off --console=pipe </dev/null >"$work/nspawn.log" 2>&1 &
  nspawn=$!
  local i state
  for ((i = 0; i < 300; i++)); do
    kill -0 "$nspawn" 2>/dev/null || return 1
    init=$(pgrep -P "$nspawn" | head -1 || true)
    if [ -n "$init" ]; then
      state=$(nsenter --target "$init" --all --root --wd=/ systemctl is-system-running 2>/dev/null || true)
      case $state in running | degraded) return 0 ;; esac
    fi
    sleep 0.2
  done
  return 1
}
if booted; then
  echo "systemd is the init of the container"
  inside() { nsenter --target "$init" --all --root --wdns=/root env HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
else
  echo "NOTE: no container with systemd as its init can be booted here: ExecStart of the unit is run as its user instead"
  cat "$work/nspawn.log" 2>/dev/null || true
  nspawn=
  mount -t proc proc "$root/proc"
  inside() { chroot "$root" env --chdir=/root HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
  # What systemctl would do with the unit.
  mkdir -p "$root/usr/local/bin"
  cat >"$root/usr/local/bin/systemctl" <<'STUB'
#!/bin/sh
pid=$(cat /run/headwater.pid 2>/dev/null)
start() {
  exec_start=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/headwater.service)
  setpriv --reuid headwater --regid headwater --clear-groups $exec_start >/run/headwater.log 2>&1 &
  echo $! >/run/headwater.pid
  for _ in $(seq 100); do grep -q '^Listening' /run/headwater.log && return 0; sleep 0.1; done
  return 1
}
case "$1 $2" in
  "is-active headwater") if kill -0 "$pid" 2>/dev/null || start; then echo active; else echo failed; exit 3; fi ;;
  "reload headwater") kill -HUP "$pid"; sleep 1 ;;
  "restart headwater") kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; start ;;
esac
STUB
  chmod +x "$root/usr/local/bin/systemctl"
fi

inside apt-get update -qq >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log"; leave_out "no Debian mirror can be reached from the container"; }

# The blocks of the page, one after the other, each as a new user would paste it.
node - "$work" <<'JS'
const { readFileSync, writeFileSync } = require('node:fs');
const page = readFileSync('docs/install.md', 'utf8');
let count = 0;
let title = '';
for (const match of page.matchAll(/^## (.+)$|^```sh\n([\s\S]*?)^```$/gm)) {
  if (match[1] !== undefined) title = match[1];
  else writeFileSync(`${process.argv[2]}/step-${String(++count).padStart(2, '0')}`, `# ${title}\n${match[2]}`);
}
if (count < 5) throw new Error(`docs/install.md has only ${count} blocks of commands`);
JS
for step in "$work"/step-*; do
  name="$(basename "$step"): $(sed -n '1s/^# //p' "$step")"
  if inside bash -euxo pipefail -c "$(cat "$step")" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "BAD  $name"
    tail -40 "$work/said" | sed 's/^/     /'
    if [ -n "$nspawn" ]; then inside journalctl --no-pager -n 30 -u headwater | sed 's/^/     /' || true; fi
  fi
done
said() { # what the page promises to be seen
  if inside bash -c "$2" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok   $1"
  else
    failed=$((failed + 1))
    echo "BAD  $1"
    tail -20 "$work/said" | sed 's/^/     /'
  fi
}
said "a login is asked for from then on" '! headwater publish plant/7/temp 1 && headwater publish plant/7/temp 1 --user "device-7:a long secret"'
if [ -n "$nspawn" ]; then
  said "the gateway's unit is there, and off" 'systemctl cat headwater-gateway && ! systemctl is-enabled headwater-gateway'
  said "the service comes back by itself after kill -9" 'systemctl kill -s KILL headwater; for i in $(seq 100); do sleep 0.2; systemctl is-active headwater && [ "$(systemctl show -P NRestarts headwater)" -ge 1 ] && exit 0; done; exit 1'
  said "doctor finds nothing that must be mended" 'headwater doctor --config /etc/headwater/headwater.yaml'
fi
finish
