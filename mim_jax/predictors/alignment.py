"""Layers of a student made comparable to a of a teacher. Other letters as in core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import unknown
from mim_jax.layers import transformer


class Aligner(nn.Module):
  """Each teacher layer from a learned mixture of all student layers and a linear map of its own.

  A list of Latents -> [b a k+v e], class tokens first. The mixture has no softmax. It starts at
  0.01 everywhere, plus 1 at the student layer with the teacher layer's number ("own", where both
  are as deep), or as the mean ("mean"). Source: MaskAlign (arXiv 2211.08887), dynamic alignment.

  rows: numbers of the teacher's layers, as in the target; negative ones count from the end.
  """

  width: int
  rows: tuple[int, ...]
  start: str = "own"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: list[core.Latents], mask=None, context=None
  ) -> Float[Array, "b a n e"]:
    if self.start not in ("own", "mean"):
      raise unknown("predictor.start", self.start, ("own", "mean"))
    every = jnp.stack([jnp.concatenate([x.prefix, x.values], 1) for x in latents], 1)
    mixing = self.param("mixing", self._mixing, (len(self.rows), len(latents)))
    mixed = jnp.einsum("al,blnd->band", mixing.astype(every.dtype), every)
    heads = [transformer.dense(self.width, self.dtype, f"head_{i}") for i in range(len(self.rows))]
    return jnp.stack([head(mixed[:, i]) for i, head in enumerate(heads)], 1)

  def _mixing(self, key, shape, dtype=jnp.float32):
    if self.start == "mean":
      return jnp.full(shape, 1 / shape[1], dtype)
    own = [transformer.check_layer(row, shape[1]) - 1 for row in self.rows]
    return jnp.full(shape, 0.01, dtype).at[jnp.arange(shape[0]), jnp.asarray(own)].add(1.0)
