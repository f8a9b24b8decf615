"""Depthwise convolution, for CPUs too. Letters: b batch, h w sites, c channels, k side."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def convolve(
  x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], *_, **__
) -> Float[Array, "b h w c"]:
  """Convolves each channel by its own kernel of odd side, zero-padded to n sites, in x's type.

  What flax.linen.Conv takes as `conv_general_dilated`; its further arguments say the same. On a CPU
  it is a sum over the taps: XLA's compiler has slow loops for it there, and makes the gradient of
  the kernel by a dense convolution, of c times the work.
  """
  return _convolve(x, kernel)


@jax.custom_vjp
def _convolve(x, kernel):
  return jax.lax.platform_dependent(x, kernel, cpu=_by_taps, default=_by_xla)


def _forward(x, kernel):
  return _convolve(x, kernel), (x, kernel)


def _backward(kept, gradient):
  x, kernel = kept
  to_kernel = jax.lax.platform_dependent(
    x, kernel, gradient, cpu=_to_kernel_by_taps, default=_to_kernel_by_xla
  )
  return _convolve(gradient, kernel[::-1, ::-1]), to_kernel


_convolve.defvjp(_forward, _backward)


def _by_taps(x, kernel):
  (_, h, w, c), k, wide = x.shape, kernel.shape[0], _padded(x, kernel)
  factors = kernel.astype(jnp.float32).reshape(k, k, 1, 1, 1, c)
  taps = ((i, j) for i in range(k) for j in range(k))
  return sum(wide[:, i : i + h, j : j + w] * factors[i, j] for i, j in taps).astype(x.dtype)


def _to_kernel_by_taps(x, kernel, gradient):
  """Sums the kernel's gradient row by row in a loop: all taps at once would compile for long."""
  (_, h, w, _), k, wide = x.shape, kernel.shape[0], _padded(x, kernel)
  gradient = gradient.astype(jnp.float32)

  def row(_, i):
    rows = jax.lax.dynamic_slice_in_dim(wide, i, h, 1)
    return None, jnp.stack([jnp.sum(rows[:, :, j : j + w] * gradient, (0, 1, 2)) for j in range(k)])

  return jax.lax.scan(row, None, jnp.arange(k))[1][:, :, None].astype(kernel.dtype)


def _padded(x, kernel):
  """Pads k // 2 zeros on all sides, float32."""
  side = (kernel.shape[0] // 2,) * 2
  return jnp.pad(x.astype(jnp.float32), ((0, 0), side, side, (0, 0)))


def _by_xla(x, kernel):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    [(kernel.shape[0] // 2,) * 2] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def _to_kernel_by_xla(x, kernel, gradient):
  return jax.linear_transpose(lambda kernel: _by_xla(x, kernel), kernel)(gradient)[0]
