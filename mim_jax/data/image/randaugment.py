"""RandAugment on the device, of images in 0..255. Letters: b batch, h w c, r grey values.

Each change is Pillow's, without rounding to whole numbers between them; one strength an image.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.data.image import colour

FILL = 128.0  # what comes in from outside of the image
_MOST = 10.0  # the magnitude to which the ranges below belong


def rand_augment(
  key: Array,
  image: Float[Array, "b h w c"],
  *,
  count: int = 2,
  magnitude: float = 9.0,
  std: float = 0.5,
  chance: float = 0.5,
) -> Float[Array, "b h w c"]:
  """Applies `count` random changes to each image, each from CHANGES and made with this chance.

  magnitude: of each, normally distributed with this std and clipped to 0..10. Source: Cubuk et al.,
  arXiv 1909.13719, with the ranges of timm's "rand-m9-mstd0.5-inc1" that MAE fine-tunes with, whose
  chance is 1/2.
  """
  for one in jax.random.split(key, count):
    keys = jax.random.split(one, 4)
    b = (image.shape[0],)
    strength = magnitude + std * jax.random.normal(keys[0], b)
    strength = jnp.clip(strength, 0.0, _MOST) / _MOST
    sign = jnp.where(jax.random.bernoulli(keys[1], 0.5, b), 1.0, -1.0)
    which = jax.random.randint(keys[2], b, 0, len(CHANGES))
    made = jax.vmap(_change)(which, image, strength, sign)
    image = colour.sometimes(keys[3], chance, made, image)
  return image


def _change(which, image, strength, sign):
  """Changes one image [h w c] in the way number `which`."""

  def alone(change):
    return lambda: change(image[None], strength[None], sign[None])[0]

  return jax.lax.switch(which, [alone(change) for change in CHANGES.values()])


def autocontrast(image: Float[Array, "b h w c"]) -> Array:
  """Stretches each channel so that its darkest value is 0 and its brightest 255."""
  low, high = (jnp.expand_dims(f(image, (1, 2)), (1, 2)) for f in (jnp.min, jnp.max))
  span = jnp.where(high > low, high - low, 1.0)
  return jnp.where(high > low, (image - low) * (255.0 / span), image)


def equalize(image: Float[Array, "b h w c"]) -> Array:
  """Equalizes each channel's histogram of rounded grey values."""
  return jax.vmap(jax.vmap(_equalized, in_axes=-1, out_axes=-1))(image)


def _equalized(channel: Float[Array, "h w"]) -> Array:
  values = jnp.clip(jnp.round(channel), 0, 255).astype(jnp.int32)
  counts = jnp.zeros(256, jnp.int32).at[values.reshape(-1)].add(1)
  last = counts[255 - jnp.argmax(counts[::-1] > 0)]
  step = (values.size - last) // 255
  before = jnp.cumsum(counts) - counts
  table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255).astype(channel.dtype)
  return jnp.where(step > 0, table[values], channel)


def posterize(image: Float[Array, "b h w c"], bits: Float[Array, "b"]) -> Array:
  """Keeps only the highest `bits` of each value."""
  step = jnp.exp2(8.0 - bits)[:, None, None, None]
  return jnp.floor(jnp.round(image) / step) * step


def solarize_add(image: Float[Array, "b h w c"], more: Float[Array, "b"]) -> Array:
  """Raises values below 128 by `more`, clipped."""
  return jnp.where(image < 128.0, jnp.clip(image + more[:, None, None, None], 0.0, 255.0), image)


def sharpness(image: Float[Array, "b h w c"], factor: Float[Array, "b 1 1 1"]) -> Array:
  """Scales values away from a smoothed image by a factor, clipped; pixels at the border stay."""
  h, w = image.shape[1:3]
  near = sum(
    (image[:, i : h - 2 + i, j : w - 2 + j] for i in range(3) for j in range(3)),
    jnp.zeros_like(image[:, 2:, 2:]),
  )
  smooth = (near + 4.0 * image[:, 1:-1, 1:-1]) / 13.0
  smooth = image.at[:, 1:-1, 1:-1].set(smooth)
  return jnp.clip(smooth + factor * (image - smooth), 0.0, 255.0)


def rotated(image: Float[Array, "b h w c"], degrees: Float[Array, "b"]) -> Array:
  """Rotates counter-clockwise about the middle."""
  turn = jnp.deg2rad(degrees)
  cos, sin = jnp.cos(turn), jnp.sin(turn)
  return _moved(image, jnp.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2))


def sheared(image: Float[Array, "b h w c"], along_x: Array, along_y: Array) -> Array:
  """Shears: pixel (x, y) comes from (x + along_x y, y + along_y x), from the upper left corner on.

  [b].
  """
  one = jnp.ones_like(along_x)
  return _moved(image, jnp.stack([one, along_x, along_y, one], -1).reshape(-1, 2, 2), middle=False)


def translated(image: Float[Array, "b h w c"], along_x: Array, along_y: Array) -> Array:
  """Translates: pixel (x, y) comes from (x + along_x w, y + along_y h).

  Fractions of the sides, [b].
  """
  shift = jnp.stack([along_x * image.shape[2], along_y * image.shape[1]], -1)
  whole = jnp.broadcast_to(jnp.eye(2), (image.shape[0], 2, 2))
  return _moved(image, whole, shift, middle=False)


def _moved(image, matrix, shift=None, middle=True):
  """Samples bilinearly at matrix [b 2 2] (x, y) + shift [b 2], FILL where that lies outside."""
  h, w = image.shape[1:3]
  rows, columns = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (h, w))
  y, x = jnp.meshgrid(rows, columns, indexing="ij")
  centre = jnp.asarray([w / 2, h / 2]) * float(middle)
  place = jnp.stack([x, y], -1) - centre[None, None]  # [h w 2]
  found = jnp.einsum("bij,hwj->bhwi", matrix, place, precision=jax.lax.Precision.HIGHEST)
  found = found + centre[None, None, None]
  if shift is not None:
    found = found + shift[:, None, None]
  return jax.vmap(_bilinear)(image, found)


def _bilinear(image: Float[Array, "h w c"], place: Float[Array, "h w 2"]) -> Array:
  h, w = image.shape[:2]
  x, y = place[..., 0], place[..., 1]
  inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
  x, y = x - 0.5, y - 0.5
  left, top = jnp.floor(x), jnp.floor(y)

  def at(row, column):
    rows = jnp.clip(row, 0, h - 1).astype(jnp.int32)
    return image[rows, jnp.clip(column, 0, w - 1).astype(jnp.int32)]

  right, down = (x - left)[..., None], (y - top)[..., None]
  above = at(top, left) * (1 - right) + at(top, left + 1) * right
  below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
  return jnp.where(inside[..., None], above * (1 - down) + below * down, FILL)


def _factor(strength, sign):
  return (1.0 + 0.9 * strength * sign)[:, None, None, None]


def _by_factor(change):
  return lambda image, strength, sign: change(image, _factor(strength, sign))


def _solarized(image, strength, sign):
  threshold = (256.0 - jnp.floor(256.0 * strength))[:, None, None, None]
  return jnp.where(image >= threshold, 255.0 - image, image)


def _zeros(x):
  return jnp.zeros_like(x)


# (image [b h w c], strength [b] in 0..1, sign [b]) -> changed image.
CHANGES = dict(
  autocontrast=lambda image, strength, sign: autocontrast(image),
  equalize=lambda image, strength, sign: equalize(image),
  invert=lambda image, strength, sign: 255.0 - image,
  rotate=lambda image, strength, sign: rotated(image, 30.0 * strength * sign),
  posterize=lambda image, strength, sign: posterize(image, 4.0 - jnp.floor(4.0 * strength)),
  solarize=_solarized,
  solarize_add=lambda image, strength, sign: solarize_add(image, jnp.floor(110.0 * strength)),
  saturation=_by_factor(colour.saturation),
  contrast=_by_factor(colour.contrast),
  brightness=_by_factor(colour.brightness),
  sharpness=_by_factor(sharpness),
  shear_x=lambda image, strength, sign: sheared(image, 0.3 * strength * sign, _zeros(sign)),
  shear_y=lambda image, strength, sign: sheared(image, _zeros(sign), 0.3 * strength * sign),
  translate_x=lambda image, strength, sign: translated(image, 0.45 * strength * sign, _zeros(sign)),
  translate_y=lambda image, strength, sign: translated(image, _zeros(sign), 0.45 * strength * sign),
)
