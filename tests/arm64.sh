#!/usr/bin/env bash
# The arm64 binary, on an x86-64 machine: what needs no privileges, under qemu.
#
#   tests/arm64.sh             unit tests, and whole-program tests without a miniature
#
# qemu is not a kernel, and what is skipped cannot come right under it.
set -euo pipefail
cd "$(dirname "$0")/.."

unit_tests=(
  # It has no sock_diag(7): socket(2) says EPROTONOSUPPORT.
  --skip client_that_closed_differs_from_one_that_half_closed
  --skip a_client_that_closes_cancels_the_wait
  --skip a_half_closed_client_still_waits_for_its_response
  # It has so many seconds, of which qemu takes several times as many.
  --skip thousands_of_members_and_fields_take_linear_time
)
program_tests=(
  # To it, a child that shares our memory is a fork: no errno comes back.
  --skip a_command_that_cannot_be_run_is_127_or_126_and_a_sentence
  # It has two real-time signals fewer: 35 and 36 are 33 and 34 to the program.
  --skip every_real_time_signal_reaches_the_app_each_time
  --skip a_death_by_signal_is_128_and_its_number
  # It keeps no record of signals that are ignored.
  --skip the_app_finds_what_it_would_find_without_us
)

under_qemu=$(mktemp)
trap 'rm -f "$under_qemu"' EXIT
printf '#!/bin/sh\nexec qemu-aarch64-static %q "$@"\n' "$PWD/dist/runsd-aarch64" >"$under_qemu"
chmod 755 "$under_qemu"

./build.sh --install qemu-user-static
./build.sh --target aarch64
./build.sh --target aarch64 --unit-tests "${unit_tests[@]}"
PLAIN_RUNSD=$under_qemu ./build.sh --cargo test --locked --test tests -- plain:: supervision:: "${program_tests[@]}"
