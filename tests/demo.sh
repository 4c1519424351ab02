#!/bin/sh
# The main job of runsd, in a Cloud Run in miniature: an application that knows
# nothing of Cloud Run calls other services by name, and is let in.
#
# Outside, this script starts the miniature with itself as the application;
# in there, DEMO is set and it shows what an application sees.
set -eu

# Colours only where somebody looks, also by way of progress.py.
if [ -n "${DEMO:-}" ]; then colour=$DEMO; elif [ -t 1 ] || [ -n "${CLICOLOR_FORCE:-}" ]; then colour=yes; else colour=no; fi
if [ "$colour" = yes ]; then
  bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m')
  cyan=$(printf '\033[36m') off=$(printf '\033[0m')
else
  bold='' dim='' green='' cyan='' off=''
fi

outside() {
  here=$(cd "$(dirname "$0")" && pwd)
  cloudrun=${CLOUDRUN:-$here/../target/debug/examples/cloudrun}
  runsd=${RUNSD_BIN:-$here/../dist/runsd}
  for program in "$cloudrun" "$runsd"; do
    [ -x "$program" ] || { echo "$program is not there; run \`make demo\`" >&2; exit 1; }
  done
  printf '%s\n' "
${bold}runsd in a Cloud Run in miniature${off}
${dim}A container of service \"caller\" in us-east1, project 123456789012. Its entrypoint:${off}

    ENTRYPOINT [\"/runsd\", \"--\", \"sh\", \"/demo.sh\"]"
  exec "$cloudrun" --runsd "$runsd" --bind "$here/demo.sh:/demo.sh" --env "DEMO=$colour" \
    -- /runsd -- sh /demo.sh
}

inside() {
  steps=8 step=0
  heading 'What the application sees'
  show 'a service, by its name' curl -i http://hello
  show 'the same one in another region' curl http://hello.europe-west1
  show 'a traffic tag of it' curl http://canary---hello
  show 'a body of 50 MB there and back, streamed' sh -c 'head -c 50000000 /dev/zero | curl -T - http://echo | wc -c'
  show 'a service that is not there' curl -i http://nothing-here
  show 'one that the account may not call' curl -i http://forbidden
  show 'the metadata server, as on Compute Engine' \
    curl -H Metadata-Flavor:Google http://metadata/computeMetadata/v1/instance/region
  show 'any other name is what it always was' curl http://external.example/

  heading 'What the front end of *.run.app saw'
  stats=$(curl -s http://192.0.2.53/stats)
  section requests 'requests, by host'
  section token_fetches 'identity tokens fetched, by audience'
  section refused 'refused by it'
  section handshakes 'TLS handshakes'
  section protocols 'protocols'
  echo
  printf '%s\n\n' "${dim}The application sent no token, knew no URL, and spoke plain HTTP to localhost.${off}"
}

# show TITLE COMMAND...: the command as one would type it, and its answer.
show() {
  step=$((step + 1))
  printf '\n%s\n' "${dim}# $step of $steps: $1${off}"
  shift
  case $1 in
  sh) typed=$3 ;;
  *) typed=$* ;;
  esac
  printf '%s\n' "${green}\$${off} ${bold}$typed${off}"
  # curl as in a terminal, but without its progress bar.
  if [ "$1" = curl ]; then
    shift
    set -- curl -sS -m 60 "$@"
  else
    set -- sh -c "$(printf '%s' "$3" | sed 's/curl/curl -sS -m 60/')"
  fi
  "$@" 2>&1 | tr -d '\r' | awk '{ print "  " $0 }' || true
}

# section KEY TITLE: one map of the counts, a line for each entry.
section() {
  printf '\n  %s\n' "${cyan}$2${off}"
  printf '%s\n' "$stats" | awk -v key="\"$1\":" '
    $1 == key { inside = 1; next }
    inside && /^  }/ { exit }
    inside && !/"external/ {
      sub(/^ +"/, ""); sub(/,$/, "")
      split($0, part, /": /)
      printf "  %5d  %s\n", part[2], part[1]
    }'
}

heading() {
  printf '\n%s\n' "${bold}$1${off}"
  printf '%s\n' "${dim}$(printf '%s' "$1" | sed 's/./─/g')${off}"
}

if [ -n "${DEMO:-}" ]; then inside; else outside; fi
