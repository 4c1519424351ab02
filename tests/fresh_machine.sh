#!/usr/bin/env bash
# From nothing to running: the README's first commands on machines that have
# nothing yet, as root and as an ordinary user.
#
#   tests/fresh_machine.sh [CASE...]   all cases, or those named; --list tells their names
#
#   ROOTS=target/fresh   where the machines are made, 5 GB; the bare ones stay there for the next
#                        time, and beside them CASE.log with all that was printed
#
# Each case takes the last commit. All of them take an hour on two cores; those that build
# the program (no-lists, ordinary-user, trixie-no-lists, rustup) take most of it.
#
# A machine is a folder with a bare Debian in it (debootstrap), entered with
# mounts and processes of its own. It has the network, apt's sources and
# proxies, and the authorities that this machine trusts. The repository lies in
# a folder with a space in its name. Needs root, debootstrap and the network.
# shellcheck disable=SC2317 # the cases are called by their names
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
roots=$(realpath -m "${ROOTS-target/fresh}")

cases="no-lists in-parallel stale-lists old-compiler no-security not-root ordinary-user trixie-no-lists trixie-stale-lists rustup"

# A user who types the README's command, with no package lists at all.
no-lists() {
  machine bookworm
  root 'make demo' || fail "see its end"
  expect 'refreshes the package lists' 'compiles all of it, .*two to five minutes' 'a static PIE .*, for x86_64' \
    'Hello from hello in us-east1'
}

# Jobs of make that install at the same time wait for each other.
in-parallel() {
  machine bookworm
  root 'make -j tools testers python' || fail "see its end"
  expect "installs bind9-dnsutils" "installs buildah"
}

# Lists of months ago: without the security updates of since then, and with
# files that are no longer there.
stale-lists() {
  machine bookworm
  make_lists_stale
  root './build.sh --cargo --version && make tools' || fail "see its end"
  expect 'refreshes the package lists' 'installs .*rustc-web' "cargo $newest"
}

# An old compiler that is there is no compiler that will do.
old-compiler() {
  machine bookworm
  root 'apt-get -q update && apt-get -qy install --no-install-recommends rustc-web=1.85* cargo-web=1.85* \
    libstd-rust-web-dev=1.85* libstd-rust-web-1.85' || fail "the older compiler could not be installed"
  make_lists_stale
  user './build.sh' && fail "an ordinary user cannot install"
  expect 'rustc-web is 1.85.0' "but $oldest or later is needed" 'so, as root: apt-get update && apt-get install'
  root './build.sh --cargo --version' || fail "see its end"
  expect 'installs .*rustc-web' "cargo $newest"
}

# Where there is no compiler that will do, one sentence says so.
no-security() {
  machine bookworm
  local file
  for file in "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*; do
    case $file in
      *.sources) awk -v RS= -v ORS='\n\n' '!/bookworm-security/' "$file" >"$file.new" && mv "$file.new" "$file" ;;
      *) sed -i '/bookworm-security/d' "$file" ;;
    esac
  done
  root './build.sh' && fail "there is no such compiler"
  expect "build.sh: rustc-web is 1.85.0.*, but $oldest or later is needed, and bookworm-security is not among apt's sources"
}

# An ordinary user with nothing installed is told what root has to type.
not-root() {
  machine bookworm
  user 'make demo' && fail "an ordinary user cannot install"
  expect 'bind9-dnsutils is not installed.*so, as root: apt-get update && apt-get install bind9-dnsutils'
}

# With everything installed, an ordinary user needs nobody: also for the tests,
# in the background, without stdin or a terminal of their own, with a strict umask, few descriptors, another
# language, and all signals ignored and blocked.
ordinary-user() {
  machine bookworm
  root 'make -j tools testers python && ./build.sh --install rustc-web cargo-web rust-web-src binutils libunwind-14-dev && rm -rf target' ||
    fail "what is needed could not be installed"
  # Unit tests do without rights, without a network (but for loopback), and without dist/.
  user './build.sh --cargo fetch --locked && unshare --map-root-user --net sh -c "ip link set lo up &&
    exec unshare --map-user=1000 ./build.sh --cargo test --locked --offline --bin runsd" && [ ! -e dist ]' || fail "see its end"
  # What nohup is told by a terminal goes into nohup.out.
  # shellcheck disable=SC2016
  user 'umask 077; ulimit -Sn 256; export LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8; make -j demo &&
    { setsid --wait env --ignore-signal --block-signal nohup make -j4 test <&- || failed=yes; cat nohup.out; [ -z "${failed-}" ]; }' || fail "see its end"
  expect 'a static PIE .*, for x86_64' 'Hello from hello in us-east1' 'test result: ok'
}

trixie-no-lists() {
  machine trixie
  root 'make demo' || fail "see its end"
  expect 'refreshes the package lists' 'a static PIE .*, for x86_64' 'Hello from hello in us-east1'
}

trixie-stale-lists() {
  machine trixie
  make_lists_stale
  root './build.sh --cargo --version && make tools' || fail "see its end"
  expect 'refreshes the package lists' 'installs .*rustc-web' "cargo $newest"
}

# A compiler of rustup's is the one that is taken: whoever has none yet, or one that is
# too old, is told what brings it, and the musl target and the standard library's source
# come without a word. Debian 13 has the package.
rustup() {
  machine trixie
  root 'apt-get -q update && apt-get -qy install --no-install-recommends rustup && make tools' || fail "rustup could not be installed"
  root './build.sh' && fail "it has no compiler yet, and apt must not remove it for Debian's"
  expect "$oldest or later that can build for musl; rustc in PATH is missing: rustup update stable && rustup default stable"
  root 'rm -rf target dist'
  user 'rustup set profile minimal && rustup default 1.85' || fail "the older compiler could not be installed"
  user './build.sh' && fail "its compiler is too old"
  expect 'rustc in PATH is rustc 1\.85'
  user 'rustup update stable && rustup default stable && make demo && rustup target list --installed &&
    rustup component list --installed' || fail "see its end"
  expect '^x86_64-unknown-linux-musl' '^rust-src' 'a static PIE .*, for x86_64' 'Hello from hello in us-east1'
}

main() {
  local names=${*:-$cases} name
  if [ "${1-}" = --list ]; then
    tr ' ' '\n' <<<"$cases"
    return
  fi
  [ "$(id -u)" = 0 ] || fail "needs root, to enter another root"
  command -v debootstrap >/dev/null || fail "needs debootstrap: apt-get install debootstrap"
  oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  newest='1\.[0-9]*\.' # whatever the lists have by now; cargo itself says when it is too old
  mkdir -p "$roots"
  for name in $names; do
    case " $cases " in *" $name "*) ;; *) fail "no case is called ${name@Q}; there are $cases" ;; esac
    printf '\n== %s\n' "$name"
    log=$roots/$name.log
    : >"$log"
    "$name"
    rm -rf "$root"
    echo "== $name: as it should be"
  done
  printf '\n%s passed, 0 failed\n' "$(wc -w <<<"$names")"
}

# machine CODENAME: a new bare Debian, which is then `root`.
machine() {
  local bare=$roots/$1.bare
  [ -d "$bare" ] || {
    debootstrap --variant=minbase --include=make "$1" "$bare.new" "$(mirror)" >>"$log" 2>&1 || fail "no bare $1; see $log"
    rm -rf "$bare.new"/var/lib/apt/lists/* "$bare.new"/var/cache/apt/archives/*.deb
    mv "$bare.new" "$bare"
  }
  root=$roots/root
  rm -rf "$root"
  cp -a "$bare" "$root"
  like_this_machine "$1"
  chroot "$root" useradd --create-home someone
  git clone --quiet --no-hardlinks "$repository" "$root/home/someone/a folder"
  chroot "$root" chown -R someone: "/home/someone/a folder"
}

# Where this machine has its own packages from.
mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk '$2 !~ /-/ { print $1; exit }'
}

# How packages and crates are reached from here.
like_this_machine() {
  local own file
  own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d
  for file in /etc/apt/{sources.list,sources.list.d,apt.conf,apt.conf.d,auth.conf.d,keyrings} \
    /etc/{resolv.conf,hosts,pip.conf} /usr/local/share/ca-certificates "${CARGO_HOME:-$HOME/.cargo}/config.toml"; do
    [ -e "$file" ] || continue
    mkdir -p "$root$(dirname "$file")"
    cp -a --no-target-directory "$file" "$root$file"
  done
  mkdir -p "$root/etc/apt/sources.list.d"
  touch "$root/etc/apt/sources.list"
  # Debian's own sources, and no others.
  grep -rLE "\\b$own\\b" "$root"/etc/apt/sources.list.d | xargs -r rm || true # it fails where it finds none
  find "$root"/etc/apt/sources.list* -type f -exec sed -i "s/\\b$own\\b/$1/g" {} +
}

# As if the lists were of another day.
make_lists_stale() {
  root 'apt-get -q update'
  local list
  rm -f "$root"/var/lib/apt/lists/*security*
  # The index of the lists, too, or the lists would be taken for today's.
  sed -i -E 's/^ [0-9a-f]{8}/ 00000000/' "$root"/var/lib/apt/lists/*InRelease
  touch -d 2025-01-01 "$root"/var/lib/apt/lists/*InRelease
  for list in "$root"/var/lib/apt/lists/*_Packages*; do
    chroot "$root" /usr/lib/apt/apt-helper cat-file "${list#"$root"}" |
      sed -E '/^Filename: /s/(musl-tools|curl)_/\1_0+/' >"$root/tmp/list"
    rm "$list"
    mv "$root/tmp/list" "${list%.*}"
  done
}

# What the two type, in the repository.
root() { typed root "$1"; }
user() { typed someone "$1"; }

typed() {
  echo "$1\$ $2" | tee -a "$log"
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child bash -c '
    set -e
    # No chroot: who is in one may make no user namespace.
    mount --bind "$0" "$0"
    cd "$0"
    mount --rbind /dev dev
    mount --rbind /sys sys
    mount -t proc proc proc
    mount -t tmpfs -o mode=1777 tmpfs tmp
    pivot_root . mnt
    umount -l /mnt
    # No exec: as PID 1, su would stop passing output on when an orphan ends.
    status=0
    su --login "$1" --shell /bin/bash --pty --command "$2" || status=$?
    exit "$status"' \
    "$root" "$1" "export ${passed[*]@Q}; cd '/home/someone/a folder' && $2" >>"$log" 2>&1 </dev/null
}

# Proxies and authorities named in the environment; nothing else goes along.
mapfile -t passed < <(env | grep -E '^([a-zA-Z_]+_proxy|[A-Z_]*(CERT|CA_BUNDLE)[A-Z_]*)=' || true)
passed+=("GIT_CONFIG_COUNT=1" "GIT_CONFIG_KEY_0=safe.directory" "GIT_CONFIG_VALUE_0=*")

# expect PATTERN...: each has been printed in this case.
expect() {
  local pattern
  for pattern in "$@"; do
    grep -qe "$pattern" "$log" || fail "not seen: $pattern"
  done
}

fail() {
  echo "fresh_machine.sh: $*${log:+; see $log}" >&2
  exit 1
}

main "$@"; exit # with the line, so that an edit meanwhile is not run
