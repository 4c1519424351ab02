#!/usr/bin/env bash
# What `make release` has put into dist/, used as people use it: by podman, runc
# and gVisor's runsc, as a base to copy from, and for the other architecture.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=runsd-$version
work=$(mktemp -d)
in_storage=(podman --root "$work/storage" --runroot "$work/run" --storage-driver vfs --cgroup-manager cgroupfs)
with_runc=("${in_storage[@]}" --runtime runc)
with_runsc=("${in_storage[@]}" --runtime /usr/bin/runsc --runtime-flag=ignore-cgroups --runtime-flag=network=none)

# What needs no rights that a machine may withhold: networks, higher limits.
# By --interactive stdin is a pipe: runsc gives all three to another user, and would give it this machine's /dev/null.
modest=(--interactive --network=none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000)

./build.sh --install busybox-static podman python3 qemu-user-static runc runsc skopeo

sums() {
  (cd dist && sha256sum --quiet --check "$name"*.sha256)
}

# What the README adds by its address is one of these files.
addressed() {
  local address
  address=$(sed -n 's/.*`ADD .* \(https:[^ ]*\) .*/\1/p' README.md)
  [ "${address%/*}" = "https://github.com/ahmetb/runsd/releases/download/v$version" ]
  grep -q "^[0-9a-f]\{64\}  ${address##*/}$" "dist/${address##*/}.sha256"
}

# Each knows which architecture it is for, and each is whole.
binaries() {
  [[ $("dist/$name-linux-amd64" -version) == *"runsd $version"* ]] &&
    [[ $(qemu-aarch64-static "dist/$name-linux-arm64" -version) == *"runsd $version"* ]]
}

# What an SBOM names has its licence.
licences() {
  python3 - dist/"$name"-linux-*.cdx.json "dist/$name-licenses.txt" <<'END'
import json, sys
*boms, licences = sys.argv[1:]
text = open(licences).read()
for bom in boms:
    components = json.load(open(bom))["components"]
    names = {component["name"] for component in components}
    assert {"rust-std", "rustls", "ring", "libc", "webpki-roots"} <= names, names
    for component in components:
        assert f"\n{component['name']} {component['version']}: " in text, component["name"]
assert "/home/" not in text and "Apache License" in text
END
}

# COPY --from=…, as in the README, and then what container runtimes make of it.
image() {
  "${with_runc[@]}" load --quiet --input "dist/$name-oci.tar" >/dev/null
  mkdir "$work/context"
  cp /bin/busybox "$work/context/"
  printf '%s\n' "FROM localhost/runsd:$version AS runsd" 'FROM scratch' \
    'COPY --from=runsd /runsd /runsd' 'COPY busybox /bin/busybox' \
    'ENTRYPOINT ["/runsd", "--", "/bin/busybox"]' >"$work/context/Dockerfile"
  "${with_runc[@]}" build --quiet --isolation chroot --tag app "$work/context" >/dev/null
  by "${with_runc[@]}"
}

# Cloud Run's first generation is gVisor.
gvisor() {
  local owner
  owner=$(stat -c %u /dev/null)
  by "${with_runsc[@]}"
  [ "$(stat -c %u /dev/null)" = "$owner" ]
}

# by PODMAN...: as off Cloud Run, as on it, and on its own.
by() {
  local said
  [ "$("$@" run --rm "${modest[@]}" app echo started by runsd)" = "started by runsd" ]
  said=$("$@" run --rm "${modest[@]}" --env K_SERVICE=app app nslookup hello 2>/dev/null)
  [[ $said == *"Name:"*"hello.run.internal"*"Address: 127.0.0.1"* ]]
  [[ "$("$@" run --rm "${modest[@]}" "localhost/runsd:$version" -version)" == "runsd $version"* ]]
}

# What the README has pushed to a registry, pushed to a folder.
pushed() {
  local push
  push=$(sed -n 's/.*`\(skopeo copy --all .*\) docker:.*/\1/p' README.md)
  (cd dist && $push "oci:$work/registry:$version") >/dev/null
  # An index of two, and a manifest, a configuration and a layer for each.
  [ "$(find "$work/registry/blobs" -type f | wc -l)" = 7 ]
}

# The archive has one image for each, with nothing in it but /runsd.
both_architectures() {
  local arch layer
  for arch in amd64 arm64; do
    skopeo copy --quiet --override-arch $arch "oci-archive:dist/$name-oci.tar" "dir:$work/$arch"
    layer=$(sed -n 's/.*"layers":\[{[^]]*"digest":"sha256:\([0-9a-f]*\)".*/\1/p' "$work/$arch/manifest.json")
    [ "$(tar -tzf "$work/$arch/$layer")" = runsd ]
    tar -xzf "$work/$arch/$layer" -C "$work/$arch"
    cmp "$work/$arch/runsd" "dist/$name-linux-$arch"
    [ "$(stat -c %a "$work/$arch/runsd")" = 755 ]
  done
}

# The whole of it again, of the same commit, in another folder and by another caller:
# each file has the same bytes, the SBOMs and the image with them.
again() {
  local folder="$work/another folder" log="$work/again.log" sums
  git diff --quiet HEAD -- || { echo "release.sh: there are changes that are not committed" >&2; return 1; }
  git clone --quiet . "$folder"
  mkdir -p "$folder/target/release-tools"
  cp -r target/release-tools/bin "$folder/target/release-tools/"
  (umask 077 && TZ=Asia/Kolkata LC_ALL=C.UTF-8 "$folder/.ci/release" >"$log" 2>&1) || { tail "$log" >&2; return 1; }
  sums=$(cat dist/"$name"*.sha256)
  [ "$(cat "$folder"/dist/"$name"*.sha256)" = "$sums" ]
  (cd "$folder/dist" && sha256sum --quiet --check <<<"$sums")
}

current=
trap 'rm -rf "$work"; [ -z "$current" ] || echo "release.sh: $current: failed" >&2' EXIT
tests="sums addressed binaries licences image gvisor pushed both_architectures again"
for current in $tests; do
  "$current"
  echo "release.sh: $current: ok"
done
current=
echo "$(wc -w <<<"$tests") passed, 0 failed"
