"""Several processes as one run: joined when asked for, found by JAX's own cluster detection."""

import contextlib
import os
import re
import time

import jax

from mim_jax import errors
from mim_jax.errors import InputError, RunError

# What the libraries that join processes (Gloo, NCCL, JAX's own service) say of one that is gone;
# the exceptions have no type in common.
LOST = re.compile(r"gloo|nccl|connection|heartbeat|coordination|unavailable|deadline", re.I)
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
      shutdown_timeout_seconds=heartbeat,
    )
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f"--distributed: the processes of this run did not come together ({error}). Start it with "
      f"srun, mpirun, Kubernetes or on a TPU pod, where JAX finds the others automatically; or set "
      f"{ADDRESS}=HOST:PORT, {COUNT} and {INDEX} (0, 1, ...) for each process."
    ) from error


@contextlib.contextmanager
def together(heartbeat: int = 100):
  """Reports the loss of another process of the run, within a with-block, as such.

  JAX names the lost one as soon as its heartbeats are missed, and ends this process (SIGABRT); that
  is waited for. Errors: RunError if JAX does not.
  """
  try:
    yield
  except Exception as error:
    if jax.process_count() == 1 or isinstance(error, InputError) or not LOST.search(str(error)):
      raise
    errors.tell(
      "error",
      f"process {jax.process_index()} of {jax.process_count()}: another process of this "
      f"run is lost ({str(error).splitlines()[0][:200]}). JAX says within {heartbeat} s which, "
      "by number under 'unhealthy' (or 'the leader', which is process 0), and ends this one. Start "
      "all of them again: the same command continues from the last checkpoint.",
    )
    time.sleep(2 * heartbeat)
    raise RunError("a process of this run was lost; see above.") from error


def _number(name: str) -> int | None:
  text = os.environ.get(name)
  if text is not None and not text.isdigit():
    raise InputError(f"{name}: {text!r} is not a whole number.")
  return None if text is None else int(text)
