#!/usr/bin/env bash
# Builds the Debian package from a built tree (npm ci): deploy/build-deb.sh [amd64|arm64|armhf] [VERSION]
# The only native part is classic-level; its prebuilt binary for the architecture comes from its npm package, so every
# architecture can be built on any machine. Prints the path of the package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arch=${1:-$(dpkg --print-architecture)}
version=${2:-$(node -p 'require("./package.json").version')}
case $arch in
  amd64) prebuilds=linux-x64 ;;
  arm64) prebuilds=linux-arm64 ;;
  armhf) prebuilds=linux-arm ;;
  *)
    echo "build-deb.sh: \"$arch\" is not one of amd64, arm64, armhf" >&2
    exit 2
    ;;
esac
if [ ! -f dist/main.js ]; then
  echo "build-deb.sh: dist/main.js is missing; run 'npm ci' first" >&2
  exit 1
fi

out=deploy/build
root=$out/root-$arch
rm -rf "$root"
home=$root/usr/lib/headwater
mkdir -p "$home" "$root/usr/bin" "$root/DEBIAN"

cp -r bin dist package.json "$home/"
ln -s ../lib/headwater/bin/headwater "$root/usr/bin/headwater"
ln -s ../lib/headwater/bin/headwater-gateway "$root/usr/bin/headwater-gateway"

# The native package and what it needs, without sources and foreign binaries.
for name in classic-level abstract-level module-error node-gyp-build level-supports level-transcoder buffer \
  base64-js ieee754 is-buffer maybe-combine-errors; do
  [ -d "node_modules/$name" ] || continue
  mkdir -p "$home/node_modules/$name"
  tar -C "node_modules/$name" --exclude=./deps --exclude=./prebuilds --exclude=./test --exclude='*.md' --exclude='*.d.ts' \
    --exclude='*.cc' --exclude='*.gyp' --exclude='*.map' --exclude=./node_modules -cf - . | tar -C "$home/node_modules/$name" -xf -
done
mkdir -p "$home/node_modules/classic-level/prebuilds"
cp -r "node_modules/classic-level/prebuilds/$prebuilds" "$home/node_modules/classic-level/prebuilds/"

# The gateway's: serialport with what it needs, as the lock file has it.
serial_packages() {
  node -e '
    const { packages } = require("./package-lock.json");
    const seen = new Set();
    const walk = (name, from) => {
      for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))) {
        const path = `${at === "" ? "" : `${at}/`}node_modules/${name}`;
        if (packages[path] === undefined) { if (at === "") return; else continue; }
        if (seen.has(path)) return;
        seen.add(path);
        return Object.keys(packages[path].dependencies ?? {}).forEach((dependency) => walk(dependency, path));
      }
    };
    walk("serialport", "");
    seen.delete("node_modules/node-addon-api");
    console.log([...seen].join("\n"));
  '
}
for path in $(serial_packages); do
  mkdir -p "$home/$path"
  tar -C "$path" --exclude=./prebuilds --exclude=./src --exclude=./node_modules --exclude='*.md' --exclude='*.d.ts' --exclude='*.gyp' \
    --exclude='*.map' -cf - . | tar -C "$home/$path" -xf -
done
mkdir -p "$home/node_modules/@serialport/bindings-cpp/prebuilds"
cp -r "node_modules/@serialport/bindings-cpp/prebuilds/$prebuilds" "$home/node_modules/@serialport/bindings-cpp/prebuilds/"

install -D -m 644 deploy/headwater.yaml "$root/etc/headwater/headwater.yaml"
install -D -m 644 deploy/headwater.service "$root/lib/systemd/system/headwater.service"
install -D -m 644 deploy/gateway.yaml "$root/etc/headwater/gateway.yaml"
install -D -m 644 deploy/headwater-gateway.service "$root/lib/systemd/system/headwater-gateway.service"
install -D -m 644 deploy/headwater.sysusers "$root/usr/lib/sysusers.d/headwater.conf"
install -D -m 644 deploy/headwater.tmpfiles "$root/usr/lib/tmpfiles.d/headwater.conf"
doc=$root/usr/share/doc/headwater
for page in README.md UPGRADING.md; do install -D -m 644 "$page" "$doc/$page"; done
# What is in it: CycloneDX, from the lock file; what the bundle holds is in there under its package name. Not with --omit dev, which
# also leaves out what a tool for development happens to share with us.
npm sbom --sbom-format cyclonedx --package-lock-only 2>/dev/null | node -e '
  const { packages } = require("./package-lock.json");
  const bill = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  const ours = new Set();
  for (const [path, { version, dev }] of Object.entries(packages)) {
    if (path !== "" && dev !== true) ours.add(`${path.slice(path.lastIndexOf("node_modules/") + 13)}@${version}`);
  }
  bill.components = bill.components.filter((one) => ours.has(one["bom-ref"]));
  const kept = new Set([bill.metadata.component["bom-ref"], ...bill.components.map((one) => one["bom-ref"])]);
  bill.dependencies = bill.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map((one) => ({ ...one, dependsOn: one.dependsOn.filter((ref) => kept.has(ref)) }));
  console.log(JSON.stringify(bill));
' | gzip -9n >"$doc/sbom.cdx.json.gz"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
install -m 644 LICENSE "$doc/copyright"
if [ -d deploy/prometheus ]; then cp -r deploy/prometheus deploy/grafana "$doc/"; fi
mkdir -p "$doc/examples"
cp -r deploy/keepalived "$doc/examples/"

find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -perm /111 -exec chmod 644 {} +

size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" deploy/debian/control >"$root/DEBIAN/control"
printf '/etc/headwater/%s\n' headwater.yaml gateway.yaml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "deploy/debian/$script" "$root/DEBIAN/$script"; done

package=$out/headwater_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
