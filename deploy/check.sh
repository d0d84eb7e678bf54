#!/usr/bin/env bash
# Tests what deploy/ makes, on any Debian as root: the unit file, the alert rules, the dashboard, and the package's whole
# life in a chroot: install, publish, upgrade with data and an edited configuration, remove, purge. Ends with
# "N passed, N failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0
failed=0
work=$(mktemp -d)
root=$work/root
broker=
cleanup() {
  if [ -n "$broker" ]; then kill -9 "$broker" 2>/dev/null || true; fi
  if mountpoint -q "$root/proc" 2>/dev/null; then umount "$root/proc"; fi
  rm -rf "$work"
}
trap cleanup EXIT

ok() {
  passed=$((passed + 1))
  echo "ok   $*"
}
bad() {
  failed=$((failed + 1))
  echo "BAD  $*"
}
check() { # name command...
  local name=$1
  shift
  # Not in a subshell: what a step sets, the next one uses.
  if "$@" >"$work/said" 2>&1; then ok "$name"; else
    bad "$name"
    tail -30 "$work/said" | sed 's/^/     /'
  fi
}

# --- unit file
verify_unit() {
  # verify wants the program and the user to exist: here they do under other names.
  sed -e 's,^ExecStart=/usr/bin/[a-z-]*,ExecStart=/bin/true,' -e '/^User=/d' -e '/^Group=/d' -e '/^Documentation=/d' \
    "deploy/$1.service" >"$work/$1.service"
  local said
  said=$(systemd-analyze verify --man=no "$work/$1.service" 2>&1 | grep -F "$1.service" || true)
  [ -z "$said" ] || {
    echo "$said"
    return 1
  }
}
exposure() {
  systemd-analyze security --no-pager --offline=yes --threshold=20 "deploy/$1.service" | tail -1
}
for unit in headwater headwater-gateway; do
  check "$unit.service is valid" verify_unit "$unit"
  check "its exposure is at most 2.0" exposure "$unit"
  exposure "$unit" || true
done

# --- alert rules and dashboard
if command -v promtool >/dev/null; then
  check "the alert rules load" promtool check rules deploy/prometheus/*.yaml
elif [ -n "${CI:-}" ]; then
  bad "promtool is missing"
else
  echo "LEFT OUT: alert rules: promtool is missing (apt-get install prometheus)"
fi
known_metrics() { # every metric named in rules and dashboard is one that a broker shows
  node - "$1" <<'JS'
const { readFileSync } = require('node:fs');
const page = new Set([...readFileSync(process.argv[2], 'utf8').matchAll(/^# TYPE (\S+)/gm)].map((m) => m[1]));
const text = readFileSync('deploy/prometheus/headwater-alerts.yaml', 'utf8') + readFileSync('deploy/grafana/headwater.json', 'utf8');
JSON.parse(readFileSync('deploy/grafana/headwater.json', 'utf8'));
const used = new Set([...text.matchAll(/\bheadwater_[a-z0-9_]+/g)].map((m) => m[0].replace(/_(bucket|sum|count)$/, '')));
const missing = [...used].filter((name) => !page.has(name));
if (missing.length > 0) { console.log(`not shown by the broker: ${missing.join(', ')}`); process.exit(1); }
console.log(`${used.size} metrics`);
JS
}

# --- the package in a chroot
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  if [ -n "${CI:-}" ]; then bad "the package test needs root and debootstrap"; else echo "LEFT OUT: package: needs root and debootstrap"; fi
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
  exit
fi

version=$(node -p 'require("./package.json").version')
here=$(dpkg --print-architecture)
new=$(deploy/build-deb.sh "$here" "$version")
old=$(deploy/build-deb.sh "$here" 0.0.9~previous)
for arch in amd64 arm64 armhf; do check "the package for $arch is built" deploy/build-deb.sh "$arch"; done
size=$(dpkg-deb --field "$new" Installed-Size)
if [ "$size" -le 25600 ]; then ok "installed size $size KiB is at most 25 MiB"; else bad "installed size $size KiB is above 25 MiB"; fi

software_bill() { # names every package that is bundled or shipped, with its version, and none that is only for development
  dpkg-deb --fsys-tarfile "$new" | tar -xO ./usr/share/doc/headwater/sbom.cdx.json.gz | gunzip >"$work/sbom.json"
  node - "$work/sbom.json" <<'JS'
const { readFileSync } = require('node:fs');
const { bomFormat, components } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
const named = new Map(components.map(({ name, group, version }) => [group ? `${group}/${name}` : name, version]));
const problems = Object.keys(dependencies).filter((name) => !/^\d/.test(named.get(name) ?? '')).map((name) => `${name} is missing`);
problems.push(...['vitest', 'esbuild', 'typescript', 'kafkajs'].filter((name) => named.has(name)).map((name) => `${name} is for development only`));
if (bomFormat !== 'CycloneDX') problems.push(`the format is ${bomFormat}`);
if (problems.length > 0) { console.log(problems.join('\n')); process.exit(1); }
console.log(`${named.size} packages`);
JS
}
check "the bill of materials is complete" software_bill

suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
debootstrap --variant=minbase --include=libstdc++6,libatomic1 "${suite:-bookworm}" \
  "$root" >"$work/debootstrap.log" 2>&1 || {
  tail -20 "$work/debootstrap.log"
  bad "debootstrap"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  exit 1
}
mount -t proc proc "$root/proc"
# This machine's node, as the package that headwater depends on.
nodejs=$work/nodejs
mkdir -p "$nodejs/DEBIAN" "$nodejs/usr/bin"
cp "$(node -p process.execPath)" "$nodejs/usr/bin/node"
printf 'Package: nodejs\nVersion: %s\nArchitecture: %s\nMaintainer: test <test@localhost>\nDescription: node of the test machine\n' \
  "$(node -p 'process.version.slice(1)')" "$(dpkg --print-architecture)" >"$nodejs/DEBIAN/control"
dpkg-deb --build "$nodejs" "$root/nodejs.deb" >/dev/null
cp "$old" "$root/old.deb"
cp "$new" "$root/new.deb"
in_root() { chroot "$root" "$@"; }

serve() { # starts the installed broker as its user and waits for it
  : >"$work/serve.out"
  # The chroot's own shell ends with the broker: its process id is the one to stop.
  chroot --userspec=headwater:headwater "$root" /usr/bin/headwater serve --config /etc/headwater/headwater.yaml \
    --mqtt 127.0.0.1:0 --kafka 127.0.0.1:0 --http 127.0.0.1:0 >"$work/serve.out" 2>&1 &
  broker=$!
  local i
  for ((i = 0; i < 100; i++)); do
    if grep -q '^Listening: ' "$work/serve.out"; then
      local line
      line=$(grep '^Listening: ' "$work/serve.out")
      mqtt=$(sed -E 's/.*\bmqtt ([^,]+).*/\1/' <<<"$line")
      kafka=$(sed -E 's/.*\bkafka ([^,]+).*/\1/' <<<"$line")
      http=$(sed -E 's/.*\bhttp ([^,]+).*/\1/' <<<"$line")
      return 0
    fi
    kill -0 "$broker" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/serve.out"
  return 1
}
halt() {
  kill -TERM "$broker"
  wait "$broker"
  broker=
}
publish() { in_root /usr/bin/headwater publish plant/7/temp "$1" --mqtt "$mqtt"; }
reads() { # expects exactly these values
  local got
  got=$(in_root /usr/bin/headwater consume mqtt --from-beginning --exit-at-end --bootstrap "$kafka")
  [ "$got" = "$1" ] || {
    printf 'expected: %s\ngot: %s\n' "$1" "$got"
    return 1
  }
}

check "nodejs for the chroot" in_root dpkg -i /nodejs.deb
check "install" in_root dpkg -i /old.deb
check "the user exists" in_root getent passwd headwater
check "the data directory belongs to it" test "$(in_root stat -c %U:%a /var/lib/headwater)" = headwater:750
check "the command runs" in_root headwater version
check "the configuration is valid" in_root headwater config check /etc/headwater/headwater.yaml
check "the service starts as its user" serve
check "publish" publish first
check "read" reads first
check "the service stops" halt

echo "# edited by the administrator" >>"$root/etc/headwater/headwater.yaml"
check "upgrade" in_root dpkg -i /new.deb
check "the edited configuration is kept" grep -q "edited by the administrator" "$root/etc/headwater/headwater.yaml"
check "the upgraded service starts on the data" serve
check "what was stored before the upgrade is read" reads first
check "publish after the upgrade" publish second
check "both are read" reads $'first\nsecond'
curl -fsS "http://$http/metrics" >"$work/metrics" 2>/dev/null || node -e "fetch('http://$http/metrics').then(async r => process.stdout.write(await r.text()))" >"$work/metrics"
check "rules and dashboard use metrics that exist" known_metrics "$work/metrics"
check "the upgraded service stops" halt

check "remove" in_root dpkg -r headwater
check "removed: the command is gone" test ! -e "$root/usr/bin/headwater"
check "removed: data and configuration stay" test -d "$root/var/lib/headwater" -a -f "$root/etc/headwater/headwater.yaml"
check "install again" in_root dpkg -i /new.deb
check "the data is still there: start" serve
check "the data is still there: read" reads $'first\nsecond'
check "stop" halt
check "purge" in_root dpkg -P headwater
leftovers() {
  local found
  found=$(find "$root" -xdev -path "$root/proc" -prune -o -iname '*headwater*' -print | grep -v '/var/lib/dpkg/\|/var/log/' || true)
  [ -z "$found" ] || {
    echo "$found"
    return 1
  }
  ! in_root getent passwd headwater
}
check "purged: nothing is left" leftovers

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
