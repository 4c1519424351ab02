#!/usr/bin/env bash
# The playground's image, built as README says and started in the miniature:
# without a password it does not start, with one it serves.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
keeper=""
trap '[ -z "$keeper" ] || kill "$keeper" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

./build.sh --install buildah curl
./build.sh --playground
./build.sh --cargo build --quiet --locked --example cloudrun
buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs build --quiet --isolation chroot \
  --output "type=local,dest=$work/root" dist/playground >/dev/null
# The authority of the miniature is trusted in place of Mozilla's.
cloudrun=(target/debug/examples/cloudrun --root "$work/root" --proc --runsd "$work/root/runsd")

if "${cloudrun[@]}" -- /runsd -- /playground 2>"$work/refusal"; then
  echo "playground_image.sh: it started without a password" >&2
  exit 1
fi
grep -q 'set PLAYGROUND_PASSWORD' "$work/refusal"
echo "playground_image.sh: no password, no playground: ok"

mkfifo "$work/said"
"${cloudrun[@]}" --publish 0 --env PLAYGROUND_PASSWORD='correct horse' -- /runsd -- /playground >"$work/said" &
keeper=$!
read -r line <"$work/said"
url=$(sed -n 's/.*\(http:[^ ]*\).*/\1/p' <<<"$line")
# expect TEXT ARGUMENT...: asks, and fails where TEXT is not in the response.
expect() {
  local text
  text=$(curl --noproxy '*' -sS -m 60 -u 'me:correct horse' "${@:2}")
  [[ $text == *"$1"* ]] || { echo "playground_image.sh: no ${1@Q} in: $text" >&2; exit 1; }
}
json=(-H 'content-type: application/json')
expect '<title>runsd playground</title>' "$url/"
expect 'Hello from hello' "${json[@]}" -d '{"url":"http://hello","method":"GET"}' "$url/api/request"
expect '"what":"status"' "${json[@]}" -d '{"name":"hello"}' "$url/api/check"
echo "playground_image.sh: it serves: ok"
