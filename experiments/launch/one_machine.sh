#!/usr/bin/env bash
# One process on all devices here, started again after a hang (3) or a kill until it is done.
. "$(dirname "$0")/common.sh"
need $# 2 "$0 CONFIG FOLDER [--config.KEY=VALUE ...]"
config=$1 folder=$2; shift 2
for attempt in $(seq "${ATTEMPTS:-10}"); do
  code=0
  run mim-jax train --config="$config" --workdir="$folder" "$@" || code=$?
  case $code in
    0 | 1 | 2 | 130 | 143) exit $code ;;  # done, needs a person, or was told to stop
  esac
  echo "attempt $attempt ended with code $code; starting again" >&2
done
exit 1
