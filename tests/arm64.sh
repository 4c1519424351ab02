#!/usr/bin/env bash
# The arm64 binary, on an x86-64 machine: what needs no privileges, under qemu.
#
#   tests/arm64.sh             unit tests, and whole-program tests without a miniature
#
# qemu is not a kernel. Four tests cannot come right under it: to qemu a child
# that shares our memory is a fork (no reason why a command could not be run), it
# has two real-time signals fewer, and it keeps no record of ignored ones. A
# fourth has ten seconds for a flood that takes longer.
set -euo pipefail
cd "$(dirname "$0")/.."

under_qemu=$(mktemp)
trap 'rm -f "$under_qemu"' EXIT
printf '#!/bin/sh\nexec qemu-aarch64-static %q "$@"\n' "$PWD/dist/runsd-aarch64" >"$under_qemu"
chmod 755 "$under_qemu"

./build.sh --install qemu-user-static
./build.sh --target aarch64
./build.sh --target aarch64 --unit-tests --skip abuse_ends_with_its_code
RUNSD_PLAIN=$under_qemu ./build.sh --cargo test --locked --test tests -- plain:: supervision:: \
  --skip a_command_that_cannot_be_run_is_127_or_126_and_a_sentence \
  --skip a_death_by_signal_is_128_and_its_number \
  --skip the_app_finds_what_it_would_find_without_us
