"""Several layers of the encoder, each with a decoder and targets of its own (LocalMIM, arXiv
2303.05251). Letters as in core; s cells.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.core import Mask, Outcome, Step, weighted_mean
from mim_jax.errors import InputError
from mim_jax.layers import basic, init
from mim_jax.layers.position_embeddings import Positions, SinCos
from mim_jax.ops import gather, gelu, grids, patches


def predict_multiscale(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  layers: tuple[int, ...],
  targets: dict,
  loss: Callable,
) -> Outcome:
  """Predicts fine targets from low layers and coarse ones from high layers; adds their losses.

  entry: of the batch. layers: which latents the predictor gets (1 = after the first block), one for
  each of `targets`, in the order of their names. Cells may be smaller or larger than a patch, and
  one counts as much as the share of it that is masked.
  Source: LocalMIM (arXiv 2303.05251).
  """
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v]
  predictions = parts.predictor(parts.encoder(tokens, drawn, layers), drawn)  # list of [b 1 s e]
  predictions = dict(zip(sorted(targets), predictions, strict=True))
  wanted = {name: targets[name](batch, teachers)[:, None] for name in predictions}  # [b 1 s e]
  losses = {}
  for name, prediction in predictions.items():
    weight = hidden_share(drawn, wanted[name].shape[2])[:, None]  # [b 1 s]
    losses[name] = weighted_mean(loss(prediction, wanted[name]), weight)
  total = sum(losses.values(), start=jnp.float32(0.0))
  return Outcome(total, losses, drawn, predictions, wanted)


def hidden_share(drawn: Mask, cells: int):
  """Measures how much of each of `cells` on the grid is not visible, in [0, 1]: [b cells].

  It is 0 where any of a cell is padding: what should be predicted there is not all real.
  """
  n = drawn.positions.shape[1]
  scale = (cells / n) ** 0.5
  hidden = 1.0 - gather.member(drawn.visible, n, drawn.valid).astype(jnp.float32)
  share = grids.rescale(hidden[..., None], drawn.grid, scale)[..., 0]
  if drawn.present is None:
    return share
  missing = 1.0 - drawn.present.astype(jnp.float32)
  return jnp.where(grids.rescale(missing[..., None], drawn.grid, scale)[..., 0] > 0, 0.0, share)


class MultiScale(nn.Module):
  """One decoder a tapped layer (LocalMIM, arXiv 2303.05251): list of Latents -> list of [b 1 s e].

  scales: cells a patch side, for each of the layers, lowest first: 4, 2, 1, or 0.5 for a cell of
  2 x 2 patches. target_widths: e of each. stack: a layers.Stack that all decoders are like. All but
  the last Latents get a norm of their own here, the last comes with the encoder's.
  """

  width: int
  scales: tuple[int | float, ...]
  target_widths: tuple[int, ...]
  stack: nn.Module
  positions: Positions = SinCos()

  @nn.compact
  def __call__(self, latents: list[core.Latents], mask: core.Mask, context=None) -> list[Array]:
    if not len(latents) == len(self.scales) == len(self.target_widths):
      raise InputError(
        f"predictor: {len(latents)} layers, {len(self.scales)} scales, {len(self.target_widths)} "
        "target_widths. Give objective.layers, objective.targets, predictor.scales and "
        "predictor.target_widths as many entries each."
      )
    dtype, found = self.stack.dtype, []
    for i, (tap, scale, e) in enumerate(zip(latents, self.scales, self.target_widths, strict=True)):
      if i < len(latents) - 1:
        norm = basic.norm(dtype, f"norm_{i}")
        tap = core.Latents(norm(tap.values), norm(tap.prefix))
      own = self.stack.clone(parent=None, name=None)
      x = FullDecoder(self.width, own, self.positions, name=f"decoder_{i}")(tap, mask)
      x = Head(scale, e, dtype, name=f"head_{i}")(x, mask.grid)
      found.append(x[:, None])
    return found


class FullDecoder(nn.Module):
  """A transformer on all patches, mask tokens where none is visible: Latents -> [b n width].

  Nothing attends to patches that do not exist.
  """

  width: int
  stack: nn.Module
  positions: Positions = SinCos()

  @nn.compact
  def __call__(self, latents: core.Latents, mask: core.Mask) -> Float[Array, "b n d"]:
    b, n = mask.positions.shape[:2]
    k, dtype = latents.prefix.shape[1], self.stack.dtype
    seen = basic.dense(self.width, dtype, "embed")(
      jnp.concatenate([latents.prefix, latents.values], 1)
    )
    token = self._draw("mask_token", (1, 1, self.width))
    x = jnp.broadcast_to(token.astype(seen.dtype), (b, n, self.width))
    # Entries that only fill up the draw point behind the end, where a scatter drops them.
    index = mask.visible if mask.valid is None else jnp.where(mask.valid, mask.visible, n)
    x = gather.place(seen[:, k:], index, x)
    code = self.positions.code(self._draw, mask.positions, mask.grid, self.width)
    x = x if code is None else x + code.astype(x.dtype)
    real = mask.present
    if real is not None:
      real = jnp.concatenate([jnp.ones((b, k), bool), real], 1)
    x = self.stack(jnp.concatenate([seen[:, :k], x], 1), real)
    return basic.norm(dtype, "norm")(x[:, k:])

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    return self.param(name, init.token(start or self.stack.kernel_init), shape)


class Head(nn.Module):
  """Brings patches [b n d] on a grid to cells [b s e], a scale of 4, 2, 1 or 0.5 cells a side."""

  scale: int | float
  target_width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], grid: tuple[int, ...]) -> Float[Array, "b s e"]:
    if self.scale not in (4, 2, 1, 0.5):
      raise InputError(f"predictor.scales: {self.scale} is not one of 4, 2, 1, 0.5")
    d = x.shape[-1]
    if self.scale == 0.5:
      x = grids.rescale(x, grid, 0.5)
    if self.scale >= 2:
      x = Upsample(d // 2, self.dtype, name="up_0")(x, grid)
    if self.scale == 4:
      x = gelu.gelu(basic.norm(self.dtype, "norm")(x))
      x = Upsample(d // 4, self.dtype, name="up_1")(x, (2 * grid[0], 2 * grid[1]))
    drawn = init.fan_in(x.shape[-1])
    return basic.dense(self.target_width, self.dtype, "out", kernel_init=drawn, bias_init=drawn)(x)


class Upsample(nn.Module):
  """A transposed 2 x 2 convolution of stride 2: [b n d] on a grid -> [b 4n width], row by row."""

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], grid: tuple[int, ...]) -> Float[Array, "b s e"]:
    drawn = init.fan_in(4 * self.width)
    parts = basic.dense(4 * self.width, self.dtype, "parts", kernel_init=drawn, use_bias=False)(x)
    fine = patches.unpatchify(parts, tuple(grid), 2).reshape(x.shape[0], -1, self.width)
    bias = self.param("bias", drawn, (self.width,))
    return fine + bias.astype(fine.dtype).reshape(1, 1, -1)
