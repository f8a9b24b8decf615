#!/usr/bin/env bash
# A queued resource on Cloud TPU; once it is there, the same command on each of its hosts.
. "$(dirname "$0")/common.sh"
need $# 5 "$0 NAME ZONE TYPE CONFIG FOLDER [--config.KEY=VALUE ...]   (TYPE as in v5litepod-256)"
name=$1 zone=$2 kind=$3 config=$4 folder=$5; shift 5
run gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
  --accelerator-type="$kind" --runtime-version="${RUNTIME:-v2-alpha-tpuv5-lite}" ${SPOT:+--spot}
until [ -n "${DRY:-}" ] || gcloud compute tpus queued-resources describe "$name" --zone="$zone" \
  --format='value(state.state)' | grep -q ACTIVE; do sleep 60; done
words=$(printf '%q ' mim-jax train --distributed --config="$config" --workdir="$folder" "$@")
run gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$words"
