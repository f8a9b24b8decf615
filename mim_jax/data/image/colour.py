"""Colour augmentations on the device, of images in 0..255. Letters: b batch, h w c.

Each as Pillow or torchvision does it, without rounding to whole numbers. A factor or turn is given
for each image, [b 1 1 1].
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def jitter(
  key: Array, image: Float[Array, "b h w c"], strength: tuple[float, float, float, float]
) -> Float[Array, "b h w c"]:
  """Changes brightness, contrast, saturation and hue at random, in an order drawn for each image.

  strength: factors are uniform in [1 - s, 1 + s], at least 0; the hue's turn in [-s, s] of a whole
  one. Images without three channels have no saturation and no hue. As torchvision's ColorJitter.
  """
  keys = jax.random.split(key, 5)
  one = (image.shape[0], 1, 1, 1)

  def spread(i):
    return strength[i] * (2.0 * jax.random.uniform(keys[1 + i], one) - 1.0)

  def factor(i):
    return jnp.maximum(1.0 + spread(i), 0.0)

  changes = [lambda x: brightness(x, factor(0)), lambda x: contrast(x, factor(1))]
  if image.shape[-1] == len(LUMA):
    changes += [lambda x: saturation(x, factor(2)), lambda x: turned(x, spread(3))]
  order = jnp.argsort(jax.random.uniform(keys[0], (image.shape[0], len(changes))), axis=1)
  for turn in range(len(changes)):
    chosen = order[:, turn].reshape(one)
    made = [change(image) for change in changes]
    image = jnp.select([chosen == i for i in range(len(made) - 1)], made[:-1], made[-1])
  return image


def brightness(image: Float[Array, "b h w c"], factor: Float[Array, "b 1 1 1"]) -> Array:
  """Scales values away from black by a factor, clipped at 255."""
  return jnp.clip(image * factor, 0.0, 255.0)


def contrast(image: Float[Array, "b h w c"], factor: Float[Array, "b 1 1 1"]) -> Array:
  """Scales values away from the mean grey of the image by a factor, clipped."""
  return _away(image, jnp.mean(grey(image), (1, 2, 3), keepdims=True), factor)


def saturation(image: Float[Array, "b h w c"], factor: Float[Array, "b 1 1 1"]) -> Array:
  """Scales values away from grey by a factor, clipped."""
  return _away(image, grey(image), factor)


def grey(image: Float[Array, "b h w c"]) -> Array:
  """Converts to grey (ITU-R 601) in all channels; other than colour images are unchanged."""
  if image.shape[-1] != len(LUMA):
    return image
  weights = jnp.asarray(LUMA, jnp.float32)[None, None, None]
  return jnp.broadcast_to(jnp.sum(image * weights, -1, keepdims=True), image.shape)


def turned(image: Float[Array, "b h w 3"], turn: Float[Array, "b 1 1 1"]) -> Array:
  """Rotates the hue by a fraction of a whole turn; saturation and value, in HSV, stay."""
  high, low = jnp.max(image, -1), jnp.min(image, -1)
  span = high - low
  red, green, blue = jnp.moveaxis(image, -1, 0)
  safe = jnp.where(span > 0, span, 1.0)
  sector = jnp.where(
    red == high,
    (green - blue) / safe,
    jnp.where(green == high, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
  )
  # Of the hue's six sectors: a channel is full for two of them, and falls and rises in one each.
  place = sector[..., None] + 6.0 * turn + jnp.asarray([0.0, 4.0, 2.0])[None, None, None]
  away = jnp.clip(jnp.abs(jnp.mod(place, 6.0) - 3.0) - 1.0, 0.0, 1.0)
  return low[..., None] + span[..., None] * away


def solarize(image: Float[Array, "b h w c"], threshold: float = 128.0) -> Array:
  """Inverts pixels from `threshold` on."""
  return jnp.where(image >= threshold, 255.0 - image, image)


def blur(image: Float[Array, "b h w c"], std: Float[Array, "b"], most: float) -> Array:
  """Blurs each image by a Gaussian of its own std, up to `most` pixels; edges are repeated."""
  reach = math.ceil(3 * most)
  taps = jnp.arange(-reach, reach + 1, dtype=jnp.float32)[None]
  weights = jnp.exp(-0.5 * jnp.square(taps / std[:, None]))
  weights = weights / jnp.sum(weights, 1, keepdims=True)
  for axis in (1, 2):
    sides = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
    wide, length = jnp.pad(image, sides, mode="edge"), image.shape[axis]
    shifted = (jax.lax.slice_in_dim(wide, i, i + length, axis=axis) for i in range(2 * reach + 1))
    image = sum(
      (x * weights[:, i, None, None, None] for i, x in enumerate(shifted)), jnp.zeros_like(image)
    )
  return image


def sometimes(
  key: Array, chance, changed: Float[Array, "b h w c"], image: Float[Array, "b h w c"]
) -> Float[Array, "b h w c"]:
  """Replaces each image by `changed` with this chance."""
  drawn: Bool[Array, "b 1 1 1"] = jax.random.bernoulli(key, chance, (image.shape[0], 1, 1, 1))
  return jnp.where(drawn, changed, image)


def _away(image, origin, factor):
  return jnp.clip(origin + factor * (image - origin), 0.0, 255.0)
