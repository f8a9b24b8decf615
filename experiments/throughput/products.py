"""The matrix products of a training step, alone, in JAX and in PyTorch: what no step goes below.

Letters: t tokens of a batch, i and o widths in and out, b images x heads, q queries, n keys, e
width of a head.
"""

import collections
import functools
import time

# Of one linear layer: output, gradient of its input, gradient of its kernel.
LINEAR = ("ti,io->to", "to,io->ti", "ti,to->io")
# Of one attention: logits and values' sum, each forward and twice as much backward.
ATTENTION = ("bqe,bne->bqn", "bqn,bne->bqe", "bqn,bqe->bne")


def of_step(kind: str, size: str, batch: int, image: int, patch: int) -> collections.Counter:
  """How often each (equation, shape, shape) occurs in a step of MAE, or of a ViT on all tokens."""
  from mim_jax.configs import recipe
  from mim_jax.masks import uniform

  n, e = (image // patch) ** 2, patch**2 * 3
  body, found = recipe.SIZES[size], collections.Counter()
  d = body["width"]
  linear(found, batch * n, e, d)
  del found[LINEAR[1], (batch * n, d), (e, d)]  # images need no gradient
  if kind == "ViT":
    stack(found, batch, 1 + n, **body)
    linear(found, batch, d, 1000)
    return found
  decoder = recipe.DECODERS.get(size, dict(width=512, depth=8, heads=16))
  v = uniform.visible_count(n, 0.75)
  stack(found, batch, 1 + v, **body)
  linear(found, batch * (1 + v), d, decoder["width"])
  stack(found, batch, 1 + n, **decoder)
  linear(found, batch * (n - v), decoder["width"], e)
  return found


def linear(found, t: int, i: int, o: int, times: int = 1) -> None:
  """Adds the products of a linear layer."""
  sizes = dict(t=t, i=i, o=o)
  for equation in LINEAR:
    found[equation, *shapes(equation, sizes)] += times


def stack(found, batch: int, n: int, *, width: int, depth: int, heads: int) -> None:
  """Adds the products of `depth` transformer blocks."""
  for i, o in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
    linear(found, batch * n, i, o, depth)
  sizes = dict(b=batch * heads, q=n, n=n, e=width // heads)
  for equation in ATTENTION:
    found[equation, *shapes(equation, sizes)] += 2 * depth


def shapes(equation: str, sizes: dict[str, int]) -> list[tuple[int, ...]]:
  """Shapes of the two factors."""
  return [tuple(sizes[x] for x in term) for term in equation.partition("->")[0].split(",")]


class Products:
  """All products of a step one after the other; called as turns.Step."""

  def __init__(self, calls: list, wait):
    """`calls`: (product, its factors, how often); `wait`: until what it is given has been made."""
    self.calls, self.wait = calls, wait
    self(1)

  def __call__(self, steps: int = 1) -> float:
    """Seconds that the products of a step take, of `steps`."""
    began = time.perf_counter()
    for _ in range(steps):
      for product, factors, times in self.calls:
        for _ in range(times):
          result = product(*factors)
        self.wait(result)
    return (time.perf_counter() - began) / steps


def in_jax(found: collections.Counter, dtype: str) -> Products:
  """The products made by XLA."""
  import jax
  import jax.numpy as jnp

  calls = [
    (jax.jit(functools.partial(jnp.einsum, equation)), [jnp.ones(x, dtype) for x in factors], times)
    for (equation, *factors), times in found.items()
  ]
  return Products(calls, jax.block_until_ready)


def in_torch(found: collections.Counter, device: str, threads: int) -> Products:
  """The same in PyTorch."""
  import torch

  torch.set_num_threads(threads)
  gpu = device == "cuda"
  ones = functools.partial(
    torch.ones, dtype=torch.bfloat16 if gpu else torch.float32, device=device
  )
  calls = [
    (functools.partial(torch.einsum, equation), [ones(x) for x in factors], times)
    for (equation, *factors), times in found.items()
  ]
  return Products(calls, lambda _: torch.cuda.synchronize() if gpu else None)
