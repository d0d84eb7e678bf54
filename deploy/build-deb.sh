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

install -D -m 644 deploy/headwater.yaml "$root/etc/headwater/headwater.yaml"
install -D -m 644 deploy/headwater.service "$root/lib/systemd/system/headwater.service"
install -D -m 644 deploy/headwater.sysusers "$root/usr/lib/sysusers.d/headwater.conf"
install -D -m 644 deploy/headwater.tmpfiles "$root/usr/lib/tmpfiles.d/headwater.conf"
doc=$root/usr/share/doc/headwater
for page in README.md UPGRADING.md; do install -D -m 644 "$page" "$doc/$page"; done
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
install -m 644 LICENSE "$doc/copyright"
if [ -d deploy/prometheus ]; then cp -r deploy/prometheus deploy/grafana "$doc/"; fi

find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -perm /111 -exec chmod 644 {} +

size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" deploy/debian/control >"$root/DEBIAN/control"
echo /etc/headwater/headwater.yaml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "deploy/debian/$script" "$root/DEBIAN/$script"; done

package=$out/headwater_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
