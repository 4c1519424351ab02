#!/bin/sh
# An entrypoint as those of nginx and of many databases are: what is in a folder
# is run or read first, then the command takes this script's place.
set -e
: "${ENTRYPOINT_D:=/docker-entrypoint.d}"
if [ "$1" = nginx ] && [ -d "$ENTRYPOINT_D" ]; then
  for file in "$ENTRYPOINT_D"/*; do
    case $file in
      *.envsh)
        # shellcheck source=/dev/null
        . "$file"
        ;;
      *.sh) "$file" ;;
    esac
  done
fi
exec "$@"
