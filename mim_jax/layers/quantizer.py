"""Vector quantizer. Letters: b batch, n tokens, d width, k codes, c their width, v = b n."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError
from mim_jax.layers import basic, init
from mim_jax.ops import vector_quantization

STATE = "codebook"  # the collection that holds the codes


class Coded(NamedTuple):
  """The output of a quantizer.

  Attributes:
    values: [b n c] float32, the chosen codes; their gradient goes straight through to the latents.
    ids: [b n] int32, which codes were chosen.
    distance: [b n] float32, mean square over c between latent and code (commitment).
    perplexity: how many codes are in use, counted by entropy, in this batch.
    usage: share of the codes that were chosen in this batch.
  """

  values: Array
  ids: Array
  distance: Array
  perplexity: Array
  usage: Array


class Quantizer(nn.Module):
  """Vector quantizer: the nearest of `codes` vectors in a small code space, [b n d] -> Coded.

  Linear, tanh, linear down to `width`, in float32. The codes are state, not parameters: after each
  training step they follow the vectors that chose them. With `unit` vectors and codes have length 1
  and a code turns towards their mean direction (VQ-KD, BEiT v2 section 2.2); without, it is a
  running mean (VQ-VAE, appendix A.1).

  A code that no vector of the batch chose, and whose running count (1 is its even share) is below
  `dead`, becomes a vector of the batch, at most the share `revive` of all codes in a step. Counts
  start at `dead`, so that in the first steps the codes settle on the data (the reference does so
  by k-means). This needs a "dropout" key. `kernel_init`: a word of `layers.init`.
  """

  codes: int
  width: int
  unit: bool = True
  decay: float = 0.99
  dead: float = 0.03
  revive: float = 0.125
  kernel_init: str = "normal"

  @nn.compact
  def __call__(
    self, latents: Float[Array, "b n d"], valid: Bool[Array, "b n"] | None = None
  ) -> Coded:
    """`valid`: which latents are real; the codes follow no others, nor are these counted."""
    if not (0 <= self.revive <= 1 and 0 < self.decay < 1 and self.dead > 0):
      raise InputError(
        f"quantizer: revive={self.revive} is a share in [0, 1], decay={self.decay} lies in (0, 1), "
        f"dead={self.dead} is positive."
      )
    z = self._project(latents)
    state = self._book()
    flat = jax.lax.stop_gradient(z.reshape(-1, self.width))
    codes = jax.lax.stop_gradient(state["codes"].value)
    ids = vector_quantization.nearest(flat, codes)
    chosen = codes[ids].reshape(z.shape)
    distance = jnp.mean(jnp.square(z - chosen), -1)
    chose, away = ids, jax.lax.stop_gradient(distance).reshape(-1)
    if valid is not None:
      real = valid.reshape(-1)  # a number behind all codes is dropped
      chose, away = jnp.where(real, ids, self.codes), jnp.where(real, away, 0.0)
      flat = jnp.where(real[:, None], flat, 0.0)
    count, sums = vector_quantization.totals(flat, chose, self.codes)
    if self.is_mutable_collection(STATE) and not self.is_initializing():
      self._follow(state, count, sums)
      self._revive(state, count, flat, away)
    values = z + jax.lax.stop_gradient(chosen - z)
    used = jnp.mean((count > 0).astype(jnp.float32))
    return Coded(
      values, ids.reshape(z.shape[:2]), distance, vector_quantization.perplexity(count), used
    )

  def _project(self, latents) -> Float[Array, "b n c"]:
    kernel = init.kernel(self.kernel_init)
    x = basic.dense(latents.shape[-1], "float32", "hidden", kernel_init=kernel)(latents)
    z = basic.dense(self.width, "float32", "down", kernel_init=kernel)(jnp.tanh(x))
    return vector_quantization.unit(z) if self.unit else z

  def _book(self) -> dict:
    """Makes the state: codes, their running counts, without `unit` running sums of vectors."""

    def start():
      drawn = jax.random.normal(self.make_rng("params"), (self.codes, self.width))
      return vector_quantization.unit(drawn) if self.unit else drawn * self.width**-0.5

    state = {"codes": self.variable(STATE, "codes", start)}
    state["usage"] = self.variable(STATE, "usage", lambda: jnp.full((self.codes,), self.dead))
    if not self.unit:
      codes = state["codes"].value
      state["sums"] = self.variable(STATE, "sums", lambda: self.dead * codes)
    return state

  def _follow(self, state, count, sums):
    """Updates codes and counts by EMA; counts are in units of a code's even share."""
    even, usage = self.codes / jnp.sum(count), state["usage"]
    usage.value = self.decay * usage.value + (1 - self.decay) * count * even
    if self.unit:
      state["codes"].value = vector_quantization.turned(
        state["codes"].value, count, sums, self.decay
      )
      return
    state["sums"].value = self.decay * state["sums"].value + (1 - self.decay) * sums * even
    state["codes"].value = vector_quantization.averaged(usage.value, state["sums"].value)

  def _revive(self, state, count, flat, distance):
    """Restarts dead codes as vectors of the batch."""
    most = round(self.revive * self.codes)
    if not most or not self.has_rng("dropout"):
      return
    dead = (state["usage"].value < self.dead) & (count == 0)
    revived, drawn = vector_quantization.replacements(
      self.make_rng("dropout"), distance, dead, most
    )
    fresh = {"codes": flat[drawn], "usage": jnp.full((self.codes,), self.dead)}
    fresh["sums"] = self.dead * fresh["codes"]
    for name, held in state.items():
      where = revived[:, None] if held.value.ndim == 2 else revived
      held.value = jnp.where(where, fresh[name], held.value)
