"""The train loop. It knows no method: an experiment gives it update and data."""

import contextlib
import pathlib
import signal
import threading
import time

import jax
import numpy as np

from mim_jax.errors import InputError
from mim_jax.train import checkpoint, mesh, metrics


def train(experiment, workdir: pathlib.Path, stop_at: int | None = None):
  """Trains to the last step, from the newest checkpoint if there is one: (state, facts of this
  call).

  With `stop_at` it saves and returns after that step, as at a signal.

  Errors: NonFiniteError names the step; InputError for what the user can mend.
  """
  settings = experiment.config.train
  total = experiment.total_steps
  with contextlib.closing(checkpoint.Checkpoints(workdir / "checkpoints", settings.keep)) as saves:
    # The state, new or as it was left, and the data from the same place.
    batches = experiment.batches()
    abstract = experiment.abstract_state()
    if saves.latest() is None:
      state = experiment.init(jax.random.key(experiment.config.seed))
    else:
      state, extra = saves.restore(abstract)
      check_dataset(extra, experiment.fingerprint(), len(experiment.data.train))
      batches.set_state(extra["data"])
    start = int(state.step)
    facts = dict(
      step=start, start=start, signal=0, flops=None, compile_seconds=0.0, train_seconds=0.0
    )
    if start >= total:
      return state, facts

    # One compilation: a compiled program refuses any other shape, so there can be no second one.
    began = time.monotonic()
    batch = next(batches)
    program = compile_update(experiment, abstract, batch)
    facts.update(flops=flops(program), compile_seconds=time.monotonic() - began)

    # The steps. The device works on one while the host fetches the next batch.
    began = time.monotonic()
    with (
      metrics.Meter(workdir, start, total, settings.batch_size) as meter,
      stopping() as stop,
      jax.transfer_guard("disallow"),
    ):
      for step in range(start + 1, total + 1):
        state, measured = program(state, mesh.to_devices(batch, experiment.mesh))
        meter.advance()
        last = step in (total, stop_at) or bool(stop.signal)
        if step % settings.log_every == 0 or step == total:
          meter.log(step, dict(measured, skipped=batches.skipped))
        if step % settings.checkpoint_every == 0 or last:
          metrics.check_finite(jax.device_get(state.bad_step))
          of = dict(dataset=experiment.fingerprint(), images=len(experiment.data.train))
          saves.save(step, state, dict(of, data=batches.get_state()))
        if last:
          break
        batch = next(batches)
    facts.update(
      step=step,
      train_seconds=time.monotonic() - began,
      signal=stop.signal,
      skipped=batches.skipped,
    )
  return state, facts


def compile_update(experiment, abstract, batch: dict):
  """The update compiled for this state and batch, state donated, metrics replicated."""
  place = mesh.batch_sharding(experiment.mesh)
  rows = experiment.config.train.batch_size
  specs = {
    k: jax.ShapeDtypeStruct((rows, *np.shape(v)[1:]), np.asarray(v).dtype, sharding=place)
    for k, v in batch.items()
  }
  shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
  step = jax.jit(experiment.update, donate_argnums=0, out_shardings=(shardings, None))
  return step.lower(abstract, specs).compile()


def flops(program) -> float | None:
  """Floating-point operations of one step, over all devices, by XLA's count; None if unknown."""
  analysis = program.cost_analysis() if program is not None else None
  return float(analysis["flops"]) * jax.device_count() if analysis and "flops" in analysis else None


def check_dataset(saved: dict, fingerprint: str, images: int) -> None:
  """Refuses to resume on other data than that of the checkpoint whose JSON data is `saved`."""
  if saved["dataset"] != fingerprint:
    raise InputError(
      f"data: the training set has changed since the checkpoint ({saved.get('images', '?')} "
      f"images, fingerprint {saved['dataset']} then; {images} images, {fingerprint} now), so the "
      "sample order can't be continued. Restore the data, or choose another --workdir."
    )


class _Stop:
  """The number of the signal that asked to stop, 0 while there is none."""

  signal = 0


@contextlib.contextmanager
def stopping():
  """Notes the first SIGTERM or SIGINT in `.signal`; a second one acts at once."""
  stop, before = _Stop(), {}

  def ask(number, frame):
    stop.signal = number
    print(f"\n{signal.Signals(number).name}: finishing this step, then saving.", flush=True)
    signal.signal(number, before[number])

  if threading.current_thread() is threading.main_thread():
    before = {n: signal.signal(n, ask) for n in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield stop
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
