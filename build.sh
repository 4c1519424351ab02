#!/usr/bin/env bash
# Builds dist/runsd: one static, stripped file for Linux.
#
#   ./build.sh                       builds for this machine, checks that it is static and small
#   ./build.sh --sizes               builds, and says what the largest parts of it are
#   ./build.sh --check-reproducible  builds this commit in two folders and compares the bytes
#   ./build.sh --unit-tests [...]    runs the unit tests, under qemu for another machine
#   ./build.sh --playground          builds, and puts an image with the playground together in dist/playground
#   ./build.sh --target ARCH [...]   the same for x86_64 or aarch64: dist/runsd-ARCH on another machine
#   ./build.sh --install PACKAGE...  installs or upgrades these Debian packages, where that is needed
#   ./build.sh --cargo ARGUMENT...   runs a cargo that is new enough; installs one, where that is needed
#
# Cargo.toml says the oldest compiler that will do (rust-version). The compiler
# is the one in PATH that can build for musl, which is rustup's after
# `rustup target add x86_64-unknown-linux-musl && rustup component add rust-src`.
# Where there is none, it is Debian's, linked by what `with_debian` puts together.
#
# The standard library is built along from its source: as rustup has it, it reads
# debug information for backtraces and is made for speed, which is 250 kB.
set -euo pipefail
export LC_ALL=C
umask 022 # what is built is for all users, those of an image too
cd "$(dirname "$0")"

limit=2000000
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
out=target/static # of its own, so that two standard libraries never mix
for_tests=()
for_any=(gcc libc6-dev binutils ca-certificates)

main() {
  aim "$(uname -m)"
  if [ "${1-}" = --target ]; then
    aim "${2-}"
    shift 2
  fi
  case "${1-}" in
    "") build ;;
    --sizes) build; sizes ;;
    --playground) build; playground ;;
    --unit-tests) shift && unit_tests "$@" ;;
    --check-reproducible) check_reproducible ;;
    --install) shift && install_packages "$@" ;;
    --cargo) shift && run_cargo "$@" ;;
    *) die "got ${1@Q}; expected --sizes, --playground, --unit-tests, --check-reproducible, --target, --install, --cargo or nothing" ;;
  esac
}

# aim ARCH: sets what depends on the machine that is built for.
aim() {
  [ "$(uname -s)" = Linux ] || die "builds on Linux only; this is $(uname -s)"
  case "$1" in
    x86_64 | amd64) arch=x86_64 debian_arch=amd64 ;;
    aarch64 | arm64) arch=aarch64 debian_arch=arm64 ;;
    *) die "builds for x86_64 and aarch64; got ${1@Q}" ;;
  esac
  target=$arch-unknown-linux-musl
  lib=$out/lib-$arch # relative: cargo hashes flags, and so the folder would show
  if [ "$arch" = "$(uname -m)" ]; then
    cross="" binary=dist/runsd
  else
    cross=$arch-linux-gnu- binary=dist/runsd-$arch
  fi
}

build() {
  local sums
  mkdir -p "$lib" dist
  # Before the compiler reads the sources: a later change is not in the binary.
  sums=$(source_sums)
  run_cargo_for_musl build --release --locked --bin runsd
  # Stripped here and not by cargo: --sizes reads the names.
  "${cross}strip" -o "$binary.new" "$out/$target/release/runsd"
  check "$binary.new"
  mv "$binary.new" "$binary"
  printf '%s\n' "$sums" "$(sha256sum "$binary")" >"$binary.built-from"
}

# What tests/playground/Dockerfile wants beside it.
playground() {
  run_cargo_for_musl build --release --locked --example playground
  mkdir -p dist/playground
  "${cross}strip" -o dist/playground/playground "$out/$target/release/examples/playground"
  cp "$binary" dist/playground/runsd
  cp tests/playground/Dockerfile dist/playground/
  echo "dist/playground: an image's files, for $arch"
}

unit_tests() {
  mkdir -p "$lib"
  [ -z "$cross" ] || install_packages qemu-user-static
  with_test_crate=,test for_tests=(-- "$@")
  run_cargo_for_musl test --locked --bin runsd
}

run_cargo_for_musl() {
  flags=() c_flags=() settings=() arguments=("$@")
  if can_build_for_musl; then
    with_rustup_target
  else
    with_debian
  fi
}

# The sums of all that a binary is made from. Tests compare them, and the
# binary's own, with what is there: see tests/harness.rs.
source_sums() {
  find src Cargo.toml Cargo.lock build.sh -type f -print0 | sort -z | xargs -0 sha256sum
}

# Whether the compiler in PATH is new enough and has what a program for musl is
# linked with, and the source of the standard library.
can_build_for_musl() {
  is_new_enough cargo && is_new_enough rustc || return
  has_musl_and_source && return
  command -v rustup >/dev/null && [ "${RUSTUP_AUTO_INSTALL-1}" != 0 ] || return
  timeout 300 rustup target add "$target" && timeout 300 rustup component add rust-src && has_musl_and_source
}

has_musl_and_source() {
  local libs
  libs=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return
  [ -f "$libs/self-contained/libc.a" ] && [ -f "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]
}

# Whether this program of Rust is there and as new as Cargo.toml wants it.
is_new_enough() {
  local version
  version=$("$1" --version 2>/dev/null | awk '{ print $2 }') || return
  [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]
}

# With all signals as they are by default: what nohup ignores, and a shell for
# what runs in the background, would be ignored by all that cargo starts.
run_cargo() {
  if ! is_new_enough cargo || ! is_new_enough rustc; then
    may_take_debians
    install_packages "${for_any[@]}" "rustc-web>=$oldest" "cargo-web>=$oldest"
    export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc
  fi
  exec env --default-signal cargo "$@"
}

with_rustup_target() {
  local cc=${cross}gcc
  if [ -z "$cross" ]; then
    cc="musl-gcc"
    install_packages "${for_any[@]}" musl-tools
  else
    install_packages "${for_any[@]}" "$(cross_gcc)" "libc6-dev-$debian_arch-cross"
    settings+=("$(cargo_variable LINKER)=$cc")
  fi
  settings+=("CC_${target//-/_}=$cc")
  [ "$arch" = x86_64 ] || link_with "$(rustc --print target-libdir --target "$target")/self-contained"
  # Its standard library has musl and LLVM's libunwind in it.
  part rust-std "$(rustc --version | awk '{ print $2 }')" "(MIT OR Apache-2.0) AND Apache-2.0 WITH LLVM-exception" \
    "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" >"$lib/parts"
  compile cargo "$(rustc --print sysroot)"
}

# Debian's compiler cannot be had elsewhere, nor beside Debian's package rustup, which
# apt would remove for it.
may_take_debians() {
  ! command -v dpkg-query >/dev/null || [ -n "$(installed_version rustup)" ] || return 0
  die "needs a compiler of $oldest or later that can build for musl;" \
    "rustc in PATH is $(rustc --version 2>/dev/null || echo missing): rustup update stable && rustup default stable &&" \
    "rustup target add $target && rustup component add rust-src"
}

# The unwinder is LLVM's, because gcc's libgcc_eh.a needs glibc.
with_debian() {
  local unwinder=libunwind-19-dev rust=()
  may_take_debians
  ! grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release || unwinder=libunwind-14-dev
  rust=("rustc-web>=$oldest" "cargo-web>=$oldest" "rust-web-src>=$oldest")
  if [ -z "$cross" ]; then
    install_packages "${for_any[@]}" musl-tools "${rust[@]}" $unwinder
    # Alone in a folder, so that -L finds nothing else there.
    cp "/usr/lib/llvm-${unwinder//[!0-9]/}/lib/libunwind.a" "$lib/"
    musl_gcc="musl-gcc"
    link_with /usr/lib/$arch-linux-musl
  else
    install_packages "${for_any[@]}" "$(cross_gcc)" "${rust[@]}"
    fetch_foreign musl-dev $unwinder
    cp "$foreign/usr/lib/llvm-${unwinder//[!0-9]/}/lib/libunwind.a" "$lib/"
    like_musl_gcc
  fi
  # The library's source has to be of the compiler's version.
  install_packages "rust-web-src>=$(upstream_version rustc-web)" "rustc-web>=$(upstream_version rust-web-src)"
  {
    part rust-std "$(upstream_version rust-web-src)" "MIT OR Apache-2.0" /usr/lib/rustlib/src/rust/COPYRIGHT
    part musl "$(version_of musl-dev)" MIT "${foreign-}/usr/share/doc/musl-dev/copyright"
    part libunwind "$(version_of $unwinder)" "Apache-2.0 WITH LLVM-exception" "${foreign-}/usr/share/doc/$unwinder/copyright"
  } >"$lib/parts"
  $musl_gcc "${c_flags[@]}" -Os -fno-stack-protector -fno-asynchronous-unwind-tables \
    -ffunction-sections -c src/sys/fortify.c -o "$lib/fortify.o"
  settings+=("CC_${target//-/_}=$musl_gcc" RUSTC=/usr/bin/rustc)
  flags=("-Clink-arg=-L$lib" "-Clink-arg=$lib/fortify.o" "${flags[@]}")
  compile /usr/bin/cargo /usr
}

# Debian has no musl-gcc for another architecture. This is how it would compile.
like_musl_gcc() {
  musl_gcc=${cross}gcc
  # Absolute, for C is compiled in the folder of its crate.
  c_flags=(-nostdinc "-isystem$PWD/$foreign/usr/include/$arch-linux-musl"
    "-isystem$($musl_gcc -print-file-name=include)" -mno-outline-atomics)
  link_with "$foreign/usr/lib/$arch-linux-musl"
}

# link_with FOLDER: links what is in musl's folder as gcc's -static-pie does for
# glibc. musl-gcc takes the start of a program that has a dynamic linker, and rustc
# asks for a fixed address on aarch64; of what gcc is told, the last holds.
link_with() {
  local gcc=${cross}gcc word
  flags+=("-Clink-self-contained=no" "-Clink-arg=-L$1")
  for word in -nostdlib -static-pie "$1/rcrt1.o" "$1/crti.o" "$($gcc -print-file-name=crtbeginS.o)" \
    -Wl,-Bstatic -lc -lgcc "$($gcc -print-file-name=crtendS.o)" "$1/crtn.o"; do
    flags+=("-Clink-arg=$word")
  done
  settings+=("$(cargo_variable LINKER)=$gcc")
}

upstream_version() { installed_version "$1" | sed 's/[+-].*//'; }

# part NAME VERSION LICENCE FILE: what is linked in beside crates, for the SBOM.
part() { printf '%s\t%s\t%s\t%s\n' "$@"; }

# The version of a package that is installed, or unpacked into `foreign`.
version_of() {
  if [ -n "${foreign-}" ]; then
    sed -n "s/^$1 //p" "$foreign/versions"
  else
    installed_version "$1"
  fi
}

cargo_variable() { echo "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_$1"; }
cross_gcc() { echo "gcc-${arch//_/-}-linux-gnu"; }

# compile CARGO SYSROOT: with the flags, settings and arguments put together above.
compile() {
  local cargo=$1 sysroot=$2 home=${CARGO_HOME:-$HOME/.cargo} crates
  # No folder of this machine may show in the bytes.
  flags+=(
    "--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust"
    "--remap-path-prefix=$(realpath -m "$sysroot/lib/rustlib/src/rust")=/rust"
    "--remap-path-prefix=$home=/cargo"
    "--remap-path-prefix=$PWD=/runsd"
    "-Clink-arg=-Wl,--build-id=none" "-Cforce-frame-pointers=yes"
    # A static PIE: it runs at an address that the kernel draws at each start, and
    # what is relocated there is read-only before main. Only code is executable.
    "-Crelocation-model=pie" "-Ctarget-feature=+crt-static" "-Crelro-level=full"
    "-Clink-arg=-Wl,-z,separate-code,-z,noexecstack,-z,text"
  )
  # A registry's folder is named after its address and a hash, and is there once
  # a crate was fetched from it. Of two that fit, the compiler takes the last.
  "$cargo" fetch --quiet --locked --target "$target"
  for crates in "$home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${crates%/}=/cargo")
  done
  # ring's C never unwinds, so it needs no tables for it.
  c_flags+=(-fno-asynchronous-unwind-tables "-ffile-prefix-map=$home=/cargo")
  settings+=(
    "CFLAGS_${target//-/_}=${c_flags[*]@Q}" CC_SHELL_ESCAPED_FLAGS=1
    "CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")"
    "RUNSD_COMMIT=$(commit)" "CARGO_TARGET_DIR=$PWD/$out" CARGO_PROFILE_RELEASE_STRIP=false
  )
  [ -z "$cross" ] || settings+=("$(cargo_variable RUNNER)=qemu-$arch-static")
  announce
  # The switch for -Z: a stable compiler takes it from nowhere else.
  env "${settings[@]}" RUSTC_BOOTSTRAP=1 "$cargo" "${arguments[@]}" --target "$target" \
    -Z "build-std=std,panic_unwind${with_test_crate-}" -Z "build-std-features=optimize_for_size,panic-unwind" "${for_tests[@]}"
}

announce() {
  local work="what changed, and links: one to two minutes on two cores"
  if [ ! -d "$out/$target/release/deps" ]; then
    work="all of it, the standard library too: two to five minutes on two cores"
  fi
  say "compiles $work"
}

# The commit for -version; nothing outside a git checkout.
commit() {
  local hash
  hash=$(git rev-parse --short=10 HEAD 2>/dev/null) || return 0
  git diff --quiet HEAD -- 2>/dev/null || hash+=-dirty
  echo "$hash"
}

check() {
  local size sections
  size=$(stat -c %s "$1")
  check_hardened "$1"
  sections=$(readelf -SW "$1")
  [[ $sections != *.symtab* ]] || die "runsd is not stripped"
  [[ $sections == *'.eh_frame '* ]] || die "runsd cannot unwind"
  [ -n "$cross" ] || "$1" -version >/dev/null || die "runsd -version fails"
  [ "$size" -le $limit ] || die "runsd has $size bytes; $limit are allowed"
  echo "$binary: $size bytes, a static PIE with full RELRO, for $arch"
}

# check_hardened FILE: by what readelf says, it is as `compile` asks for.
check_hardened() {
  local header segments dynamic
  header=$(readelf -hW "$1") segments=$(readelf -lW "$1") dynamic=$(readelf -dW "$1")
  has "$header" 'Type: +DYN' || die "runsd has a fixed address; it has to be a PIE"
  has "$dynamic" 'FLAGS_1\).* PIE' || die "runsd is not marked as a PIE"
  ! has "$segments" 'INTERP' || die "runsd wants an interpreter; it has to be static"
  ! has "$dynamic" 'NEEDED' || die "runsd wants shared libraries; it has to be static"
  has "$segments" 'GNU_RELRO' || die "what is relocated stays writable; RELRO is missing"
  has "$dynamic" 'FLAGS_1\).* NOW' || die "RELRO is not full; -z now is missing"
  ! has "$dynamic" 'TEXTREL' || die "relocations write to code (TEXTREL)"
  has "$segments" 'GNU_STACK.* RW +0x' || die "the stack is executable, or its segment is missing"
  ! has "$segments" 'LOAD.* (RWE|WE) ' || die "a segment is writable and executable"
  # Type, offset, two addresses, two sizes, flags: only what holds .text may be executable.
  [ "$(grep -cE '^ +LOAD.* R E ' <<<"$segments")" = 1 ] || die "not one segment is code, but several or none"
  ! has "$segments" '^ +[0-9]+ .*(\.text.*\.rodata|\.rodata.*\.text|\.text.*\.eh_frame)' ||
    die "code and constants share a segment"
}

has() { grep -qE "$2" <<<"$1"; }

# Bytes by crate, as far as symbols have names; the rest by section. What has no
# crate in its name is known by the archive it comes from.
sizes() {
  local file=$out/$target/release/runsd
  set +e +o pipefail # nm fails at what is no object file
  {
    "${cross}nm" -C "$out/$target"/release/deps/libring-*.rlib 2>/dev/null |
      awk 'NF == 3 && !/::/ { print "from", $3, "ring (C and assembly)" }'
    "${cross}nm" -C "$lib"/libunwind.a 2>/dev/null | awk 'NF == 3 && !/::/ { print "from", $3, "libunwind" }'
    # An address counts once: musl has several names for one function.
    "${cross}nm" -CS -t d "$file" | sed -nE 's/^([0-9]+) 0*([0-9]+) [^bB] (.*)/\2 \3\t\1/p' | sort -t "$(printf '\t')" -u -k 2
  } | awk '
    $1 == "from" { archive[$2] = substr($0, length($1 $2) + 3); next }
    {
      sub(/\t.*/, "")
      size = $1; name = substr($0, length($1) + 2)
      symbol = name
      sub(/^core::ptr::drop_in_place(::h[0-9a-f]+)?(::)?</, "", name) # whose drop it is
      sub(/^vtable for /, "", name)
      while (sub(/^(<|&|\*|\[|\(|dyn |mut |const |_?<)/, "", name)) {}
      if (symbol in archive) crate = archive[symbol]
      else if (match(name, /^[A-Za-z_0-9]+(::|\[)/)) { crate = name; sub(/(::|\[).*/, "", crate) }
      else crate = "musl"
      bytes[crate] += size
    }
    END { for (crate in bytes) printf "%9d  %s\n", bytes[crate], crate }' | sort -rn | head -n 20
  echo "  of which, and beside it, by section:"
  "${cross}size" -A -d "$file" | awk '$2 + 0 > 2000 && $3 > 0 { printf "%9d  %s\n", $2, $1 }' | sort -rn
}

check_reproducible() {
  local tmp
  git diff --quiet HEAD -- || die "there are changes that are not committed; two builds of a commit are compared"
  build
  tmp=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$tmp'" EXIT
  git clone -q . "$tmp/another folder with a longer name"
  # Its crates come from another folder, too.
  mkdir "$tmp/cargo-home"
  cp "${CARGO_HOME:-$HOME/.cargo}"/config.toml "$tmp/cargo-home" 2>/dev/null || true
  CARGO_HOME=$tmp/cargo-home "$tmp/another folder with a longer name/build.sh" --target "$arch"
  cmp "$binary" "$tmp/another folder with a longer name/$binary" || die "two builds of one commit differ"
  echo "two builds of $(git rev-parse --short=10 HEAD) for $arch are the same, byte for byte"
}

# install_packages PACKAGE[>=VERSION]...: brings what is missing or too old.
install_packages() {
  local wanted=() names=() why=() package lack
  if ! command -v dpkg-query >/dev/null; then
    for package in "$@"; do require_program "${package%%>=*}"; done
    return
  fi
  for package in "$@"; do
    lack=$(lacks "$package" "$(installed_version "${package%%>=*}")" "not installed") || continue
    wanted+=("$package") names+=("${package%%>=*}") why+=("$lack")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  local command="apt-get update && apt-get install ${names[*]}"
  [ "$(id -u)" = 0 ] || die "$(printf '%s; ' "${why[@]}")so, as root: $command"
  refresh_lists
  for package in "${wanted[@]}"; do
    if lack=$(lacks "$package" "$(candidate_version "${package%%>=*}")" "not among the packages"); then
      die "$lack$(source_hint) (apt-get update: ${refreshed-done within the last hour})"
    fi
  done
  say "installs ${names[*]} ($(apt_get install --assume-no "${names[@]}" 2>/dev/null |
    sed -n 's/^Need to get \(.*\) of archives.*/\1 to download/p' || true))"
  apt_get install -y "${names[@]}" >target/apt-get.log 2>&1 || {
    tail -n 5 target/apt-get.log >&2
    die "apt-get install failed, as said above; once that is mended: $command"
  }
}

# lacks PACKAGE[>=VERSION] VERSION ABSENT: what is wrong with having this version, if anything.
lacks() {
  local name=${1%%>=*} least=""
  [ "$name" = "$1" ] || least=${1#*>=}
  if [ -z "$2" ]; then
    echo "$name is $3${least:+ ($least or later is needed)}"
  elif [ -n "$least" ] && dpkg --compare-versions "$2" lt "$least"; then
    echo "$name is $2, but $least or later is needed"
  else
    return 1
  fi
}

installed_version() {
  dpkg-query -Wf '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p' | head -n 1
}

candidate_version() {
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)' || true
}

# Newer compilers come to a stable Debian with its security updates.
source_hint() {
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  [[ $(apt-cache policy) == *"$codename-security"* ]] || echo ", and $codename-security is not among apt's sources"
}

# Lists may be months old and name files that are gone. Once in an hour is enough.
refresh_lists() {
  local log=target/apt-get-update.log
  mkdir -p target
  [ -z "$(find target -maxdepth 1 -name apt-lists -mmin -60)" ] || return 0
  say "refreshes the package lists"
  refreshed="done"
  for _ in {1..60}; do
    if apt_get update >"$log" 2>&1 && ! grep -q '^[EW]: Failed' "$log"; then
      touch target/apt-lists
      return
    fi
    # Another of make's jobs is at it.
    grep -q 'Could not get lock' "$log" || break
    sleep 1
  done
  refreshed="failed with $(grep -m 1 '^[EW]:' "$log" || true)"
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 --no-install-recommends "$@"
}

# fetch_foreign PACKAGE...: unpacks packages of another architecture into a
# folder, which is then `foreign`. They are not installed: that would be for root,
# who would first have to have the machine know the architecture, and libunwind's
# own have one file in common.
fetch_foreign() {
  foreign=$out/foreign-$arch
  [ "$(cat "$foreign/packages" 2>/dev/null)" != "$*" ] || return 0
  local apt=$PWD/$out/apt-$arch package
  local own=(-o "APT::Architecture=$debian_arch" -o "APT::Architectures=$debian_arch"
    -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt" -o APT::Sandbox::User=root)
  say "fetches $* for $debian_arch"
  rm -rf "$foreign" "$apt"
  mkdir -p "$foreign" "$apt/lists/partial" "$apt/archives/partial"
  touch "$apt/status"
  if ! (apt_get "${own[@]}" update && cd "$apt" && apt_get "${own[@]}" download "$@") >"$apt/log" 2>&1; then
    tail -n 5 "$apt/log" >&2
    die "cannot fetch $* for $debian_arch, as said above"
  fi
  for package in "$apt"/*.deb; do
    dpkg-deb -x "$package" "$foreign"
    # shellcheck disable=SC2016
    dpkg-deb --show --showformat '${Package} ${Version}\n' "$package" >>"$foreign/versions"
  done
  echo "$*" >"$foreign/packages"
}

# require_program PACKAGE: where there is no Debian, by what the package is for.
require_program() {
  local program=$1 pair
  case $1 in *-dev | *-dev-*-cross | ca-certificates | *-src) return ;; esac
  for pair in $programs; do
    [ "${pair%=*}" != "$1" ] || program=${pair#*=}
  done
  command -v "$program" >/dev/null ||
    die "there is no $program in PATH; here it may come by another name than Debian's: apt-get install $1"
}

# What packages are wanted for, where it is not called as they are.
programs="bind9-dnsutils=dig binutils=strip busybox-static=busybox cargo-web=cargo chromium-driver=chromedriver dnsmasq-base=dnsmasq
  golang-go=go iproute2=ip musl-tools=musl-gcc nghttp2-client=nghttp nghttp2-proxy=nghttpx nginx-light=nginx
  nodejs=node procps=ps python3-venv=python3 rust-web-clippy=cargo-clippy rustc-web=rustc rustfmt-web=rustfmt
  util-linux=unshare"

say() { echo "build.sh: $*"; }

die() {
  echo "build.sh: $*" >&2
  exit 1
}

main "$@"; exit # with the line, so that an edit meanwhile is not run
