"""The pre-training loss on held-out samples. Letters: b batch."""

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core

SAMPLES = 1024  # at most, of each side
SEED = 20_000  # of crops and masks; no run has it


def held_out(loss, state, data, batch_size: int, total_steps: int) -> dict[str, float | int]:
  """Measures the loss: {"test", "train": mean over n samples of each, "samples": n}.

  loss: (params, raw batch, Step, teacher, stats) -> (scalar, metrics). Batch number i has key
  number i of a fixed seed, so that crops and masks are the same for both sides and at every call.
  Images that do not fill a batch are left out.
  """
  count = min(len(data.train), len(data.test), SAMPLES)
  size = min(batch_size, 256, count)
  batches = count // size
  progress = jnp.minimum(state.step.astype(jnp.float32) / total_steps, 1.0)

  @jax.jit
  def one(state, batch, key):
    step = core.Step(key, state.step, progress)
    return loss(state.params, batch, step, state.teacher, state.stats)[0]

  sides = {}
  for name in ("test", "train"):
    source = getattr(data, name)
    indices = np.linspace(0, len(source) - 1, batches * size).astype(int)
    keys = jax.random.split(jax.random.key(SEED), batches)
    rows = indices.reshape(size, batches).T  # every batch from everywhere: classes may be in order
    losses = [one(state, source[r], key) for r, key in zip(rows, keys, strict=True)]
    sides[name] = float(np.mean(jax.device_get(losses)))
  return {**sides, "samples": batches * size}
