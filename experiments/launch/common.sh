# Sourced by the scripts: `run` does a command, or with DRY=1 prints it.
set -euo pipefail
run() {
  if [ -n "${DRY:-}" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}
need() {
  [ "$1" -ge "$2" ] || { echo "usage: $3" >&2; exit 2; }
}
