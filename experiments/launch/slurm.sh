#!/usr/bin/env bash
#SBATCH --job-name=mim-jax
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
# One process a GPU; JAX finds the coordinator in Slurm's variables.
. "${LAUNCH:-${SLURM_SUBMIT_DIR:-.}/experiments/launch}/common.sh"
need $# 2 "sbatch --nodes=N $0 CONFIG FOLDER [--config.KEY=VALUE ...]"
config=$1 folder=$2; shift 2
run srun --kill-on-bad-exit=1 \
  mim-jax train --distributed --config="$config" --workdir="$folder" "$@"
