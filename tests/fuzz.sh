#!/usr/bin/env bash
# Fuzzes one target of tests/fuzz for so many seconds, on all cores.
#
#   tests/fuzz.sh TARGET SECONDS [SANITIZER]     SANITIZER: none, or address
#
# Its corpus grows in target/fuzz/corpus; an input on which it failed is kept in
# target/fuzz/failures, and becomes a seed in tests/fuzz/seeds once it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 seconds=$2 sanitizer=${3-none}
out=$PWD/target/fuzz
mkdir -p "$out/corpus/$target" "$out/failures"
# libFuzzer's instrumentation is not in a stable compiler's promises, but in the compiler.
export RUSTC_BOOTSTRAP=1
export LSAN_OPTIONS=suppressions=$PWD/tests/fuzz/leaks.supp
echo "compiles: two minutes on two cores the first time"
./build.sh --cargo fuzz build --fuzz-dir tests/fuzz --target-dir "$out/$sanitizer" -s "$sanitizer" -O -a "$target"
options=("-max_total_time=$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
  "-artifact_prefix=$out/failures/$target-" "-fork=$(nproc)" -ignore_crashes=0)
[ ! -e "tests/fuzz/$target.dict" ] || options+=("-dict=tests/fuzz/$target.dict")
exec "$out/$sanitizer/x86_64-unknown-linux-gnu/release/$target" "${options[@]}" "$out/corpus/$target" "tests/fuzz/seeds/$target"
