#!/usr/bin/env bash
# One or more slices of a GKE cluster through XPK, started again when they are preempted.
. "$(dirname "$0")/common.sh"
need $# 6 "$0 NAME CLUSTER TYPE SLICES CONFIG FOLDER [--config.KEY=VALUE ...]   (TYPE as in v5litepod-256)"
name=$1 cluster=$2 kind=$3 slices=$4 config=$5 folder=$6; shift 6
words=$(printf '%q ' mim-jax train --distributed --config="$config" --workdir="$folder" "$@")
run xpk workload create --workload="$name" --cluster="$cluster" --tpu-type="$kind" \
  --num-slices="$slices" --max-restarts="${RESTARTS:-100}" --command="$words"
