#!/usr/bin/env bash
# Builds dist/runsd: one static, stripped file for x86-64 Linux.
#
#   ./build.sh                       builds, checks that it is static and small, prints its size
#   ./build.sh --sizes               ... and what the largest parts of it are
#   ./build.sh --check-reproducible  builds this commit in two folders and compares the bytes
#   ./build.sh --install PACKAGE...  installs what is missing of these Debian packages
#
# The compiler is the one that can build for musl as it stands, which after
# `rustup target add x86_64-unknown-linux-musl` is rustup's. Where there is
# none, it is Debian's, which has the standard library as source only: that is
# then built along, and linked by a wrapper made below.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")"

target=x86_64-unknown-linux-musl
limit=1600000
out=target/static # of its own, so that two standard libraries never mix
for_rustup="gcc libc6-dev binutils musl-tools ca-certificates"
for_debian="$for_rustup rustc-web cargo-web rust-web-src libunwind-14-dev"

main() {
  case "${1-}" in
    "") build ;;
    --sizes) build && sizes ;;
    --check-reproducible) check_reproducible ;;
    --install) shift && install_packages "$@" ;;
    *) die "got ${1@Q}; expected --sizes, --check-reproducible, --install or nothing" ;;
  esac
}

build() {
  [ "$(uname -sm)" = "Linux x86_64" ] || die "builds on x86-64 Linux only; this is $(uname -sm)"
  mkdir -p "$out/lib" dist
  if can_build_for_musl; then
    install_packages $for_rustup
    with_rustup_target
  else
    install_packages $for_debian
    with_debian
  fi
  # Stripped here and not by cargo: --sizes reads the names.
  strip -o dist/runsd.new "$out/$target/release/runsd"
  check dist/runsd.new
  mv dist/runsd.new dist/runsd
}

# Whether the compiler in PATH has a standard library for musl.
can_build_for_musl() {
  has_musl_std && return
  command -v rustup >/dev/null && [ "${RUSTUP_AUTO_INSTALL-1}" != 0 ] || return
  timeout 300 rustup target add "$target" && has_musl_std
}

has_musl_std() {
  local libs
  command -v cargo >/dev/null || return
  libs=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return
  compgen -G "$libs/libstd-*.rlib" >/dev/null
}

with_rustup_target() {
  limit=2000000 # its standard library comes compiled, and not for size
  compile cargo "$(rustc --print sysroot)"
}

# The unwinder is LLVM's, because gcc's libgcc_eh.a needs glibc.
with_debian() {
  local unwind
  unwind=$(compgen -G "/usr/lib/llvm-*/lib/libunwind.a" | tail -n 1) || die "no libunwind.a in /usr/lib/llvm-*/lib"
  ln -sf "$unwind" "$out/lib/libunwind.a" # alone, so that -L finds nothing else there
  fprintf_chk_c >"$out/lib/fprintf_chk.c"
  musl-gcc -Os -fno-stack-protector -fno-asynchronous-unwind-tables \
    -c "$out/lib/fprintf_chk.c" -o "$out/lib/fprintf_chk.o"

  RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc \
    compile /usr/bin/cargo /usr \
    "-Clink-self-contained=no" "-Clink-arg=-L$out/lib" "-Clink-arg=$out/lib/fprintf_chk.o" -- \
    -Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size,panic-unwind
}

# libunwind.a was compiled for glibc with _FORTIFY_SOURCE; this is all it asks for.
fprintf_chk_c() {
  cat <<'END'
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *f, int flag, const char *format, ...) {
  va_list args;
  (void)flag;
  va_start(args, format);
  int n = vfprintf(f, format, args);
  va_end(args);
  return n;
}
END
}

# compile CARGO SYSROOT [RUSTFLAG...] [-- CARGO-ARGUMENT...]
compile() {
  local cargo=$1 sysroot=$2 flags=()
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do flags+=("$1") && shift; done
  [ $# -eq 0 ] || shift
  local home=${CARGO_HOME:-$HOME/.cargo}
  # No folder of this machine may show in the bytes.
  flags+=(
    "--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust"
    "--remap-path-prefix=$(realpath -m "$sysroot/lib/rustlib/src/rust")=/rust"
    "--remap-path-prefix=$home=/cargo"
    "--remap-path-prefix=$PWD=/runsd"
    "-Clink-arg=-Wl,--build-id=none" "-Cforce-frame-pointers=yes"
    # At a fixed address and in two segments: to relocate 48 kB at each start
    # and to map two segments more is a seventh of what runsd adds to one.
    "-Crelocation-model=static" "-Clink-arg=-Wl,-z,noseparate-code" "-Clink-arg=-Wl,-z,norelro"
  )
  # shellcheck disable=SC2030
  (
    export CARGO_ENCODED_RUSTFLAGS RUNSD_COMMIT
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
    RUNSD_COMMIT=$(commit)
    export CARGO_TARGET_DIR=$PWD/$out
    export CARGO_PROFILE_RELEASE_STRIP=false
    export CC_x86_64_unknown_linux_musl=musl-gcc
    # ring's C never unwinds, so it needs no tables for it.
    export CFLAGS_x86_64_unknown_linux_musl="-fno-asynchronous-unwind-tables -ffile-prefix-map=$home=/cargo"
    "$cargo" build --release --locked --bin runsd --target "$target" "$@"
  )
}

# The commit for -version; nothing outside a git checkout.
commit() {
  local hash
  hash=$(git rev-parse --short=10 HEAD 2>/dev/null) || return 0
  git diff --quiet HEAD -- 2>/dev/null || hash+=-dirty
  echo "$hash"
}

check() {
  local size
  size=$(stat -c %s "$1")
  readelf -hW "$1" | grep -q 'Type: *EXEC' || die "runsd has to be relocated at each start"
  ! readelf -lW "$1" | grep -q INTERP || die "runsd wants an interpreter; it has to be static"
  ! readelf -dW "$1" | grep -q NEEDED || die "runsd wants shared libraries; it has to be static"
  ! readelf -SW "$1" | grep -q '\.symtab' || die "runsd is not stripped"
  readelf -SW "$1" | grep -q '\.eh_frame ' || die "runsd cannot unwind"
  "$1" -version >/dev/null || die "runsd -version fails"
  [ "$size" -le $limit ] || die "runsd has $size bytes; $limit are allowed"
  echo "dist/runsd: $size bytes, static"
}

# Bytes by crate, as far as symbols have names; the rest by section. What has no
# crate in its name is known by the archive it comes from.
sizes() {
  local file=$out/$target/release/runsd
  {
    nm -C "$out/$target"/release/deps/libring-*.rlib 2>/dev/null |
      awk 'NF == 3 && !/::/ { print "from", $3, "ring (C and assembly)" }'
    nm -C "$out"/lib/libunwind.a 2>/dev/null | awk 'NF == 3 && !/::/ { print "from", $3, "libunwind" }'
    # An address counts once: musl has several names for one function.
    nm -CS -t d "$file" | sed -nE 's/^([0-9]+) 0*([0-9]+) [^bB] (.*)/\2 \3\t\1/p' | sort -t "$(printf '\t')" -u -k 2
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
  size -A -d "$file" | awk '$2 + 0 > 2000 && $3 > 0 { printf "%9d  %s\n", $2, $1 }' | sort -rn
}

check_reproducible() {
  local tmp
  tmp=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$tmp'" EXIT
  git clone -q . "$tmp/one"
  git clone -q . "$tmp/another-with-a-longer-name"
  "$tmp/one/build.sh"
  # Its crates come from another folder, too.
  mkdir "$tmp/cargo-home"
  cp "${CARGO_HOME:-$HOME/.cargo}"/config.toml "$tmp/cargo-home" 2>/dev/null || true
  CARGO_HOME=$tmp/cargo-home "$tmp/another-with-a-longer-name/build.sh"
  cmp "$tmp/one/dist/runsd" "$tmp/another-with-a-longer-name/dist/runsd" || die "two builds of one commit differ"
  echo "two builds of $(git rev-parse --short=10 HEAD) are the same, byte for byte"
}

install_packages() {
  local missing=() package
  if ! command -v dpkg-query >/dev/null; then
    echo "build.sh: not a Debian, so taken for granted: what Debian calls $*" >&2
    return
  fi
  for package in "$@"; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing packages; as root: apt-get install ${missing[*]}"
  echo "installing ${missing[*]}"
  apt_install "${missing[@]}" >/dev/null 2>&1 || { apt-get -qq update && apt_install "${missing[@]}" >/dev/null; }
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
    install -y --no-install-recommends "$@"
}

die() {
  echo "build.sh: $*" >&2
  exit 1
}

main "$@"
