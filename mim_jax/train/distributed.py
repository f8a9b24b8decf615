"""Several processes as one run: started when asked for, found by JAX's own cluster detection."""

import os

import jax

from mim_jax.errors import InputError

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def start(asked: bool, heartbeat: int = 100) -> None:
  """Joins the other processes of the run, if `asked` or if JAX_COORDINATOR_ADDRESS is set.

  Who they are JAX finds out (Slurm, Open MPI, Kubernetes, Cloud TPU), or the variables
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say. One that gives no sign for
  `heartbeat` seconds ends all. Errors: InputError.
  """
  if not asked and ADDRESS not in os.environ:
    return
  try:
    jax.distributed.initialize(
      num_processes=_number(COUNT),
      process_id=_number(INDEX),
      heartbeat_timeout_seconds=heartbeat,
    )
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f"--distributed: the processes of this run did not come together ({error}). Start it with "
      f"srun, mpirun, Kubernetes or on a TPU pod, where JAX finds the others by itself; or set "
      f"{ADDRESS}=HOST:PORT, {COUNT} and {INDEX} (0, 1, ...) for each process."
    ) from error


def _number(name: str) -> int | None:
  text = os.environ.get(name)
  if text is not None and not text.isdigit():
    raise InputError(f"{name}: {text!r} is not a whole number.")
  return None if text is None else int(text)
