#!/usr/bin/env bash
# Changes one expression of the sources at a time, and says which changes no unit test notices.
#
#   tests/mutants.sh [FILE...]     the files below, or these
#
# First the tests of the file's own module run, or of the one above, three seconds a mutant; what they leave is tried
# with all unit tests, a minute each, and what acts on processes with tests of the whole program, twenty seconds each.
# tests/mutants.toml has the changes that change nothing, each with its reason; target/mutants/FILE what was found.
set -euo pipefail
cd "$(dirname "$0")/.."
# What reads bytes of others, or decides something.
[ $# -gt 0 ] || set -- src/proxy/http1/{head,body}.rs src/proxy/http2/{frame,hpack}.rs src/proxy/header_policy.rs \
  src/auth/*.rs src/names/*.rs src/resolv_conf.rs src/app/supervisor.rs src/dns/message.rs \
  src/proxy/http2/hpack/{huffman,table}.rs src/resolv_conf/{backup,file,nameserver}.rs \
  src/dns/message/{codes,name,reply,response}.rs
out=$PWD/target/mutants tree=$PWD/target/mutants/tree
# The changes are made in a copy, always at the same place, so that what is compiled is compiled once.
rm -rf "$tree"
mkdir -p "$tree"
cp -r src tests Cargo.toml Cargo.lock README.md "$tree"
export CARGO_TARGET_DIR=$out/build CARGO_PROFILE_DEV_DEBUG=none

# mutate FILE TESTS OPTION... -- ARGUMENT...: tests what OPTION leaves of the file's mutants with one target of cargo's;
# fails on other errors than theirs.
mutate() {
  local file=$1 tests=$2 status=0
  shift 2
  ./build.sh --cargo mutants --dir "$tree" --in-place --output "$(found "$file")" --file "$file" --level error \
    --config tests/mutants.toml --cargo-arg=--locked --cargo-arg="$tests" \
    --minimum-test-timeout 20 --colors never --annotations none "$@" || status=$?
  case $status in 0 | 2 | 3) ;; *) exit $status ;; esac # 2: one was missed, 3: one ended by its time-out
}

# found FILE: the folder of what was found.
found() { echo "$out/${1//\//-}"; }

for file; do
  module=${file#src/} module=${module%.rs}
  grep -q 'mod tests' "$file" || module=${module%/*} # beside those of its neighbours
  rm -rf "$(found "$file")"
  echo "$file: by the tests of its module"
  mutate "$file" --bin=runsd -- -- "${module//\//::}" --skip oracle --skip random
done
survivors=0
for file; do
  missed=$(found "$file")/mutants.out/missed.txt
  if [ "$file" = src/app/supervisor.rs ] && [ -s "$missed" ]; then
    echo "$file: by tests of the whole program"
    ./build.sh --cargo build --quiet --locked --manifest-path "$tree/Cargo.toml" --example cloudrun
    RUNSD_BIN=$CARGO_TARGET_DIR/debug/runsd mutate "$file" --test=tests --iterate --timeout 60 -- -- \
      pid1:: process_group:: signals:: supervision:: user::
  elif [ -s "$missed" ]; then
    echo "$file: by all unit tests"
    mutate "$file" --bin=runsd --iterate
  fi
  survivors=$((survivors + $(wc -l <"$missed")))
done
echo "$survivors survivors"
[ $survivors = 0 ]
