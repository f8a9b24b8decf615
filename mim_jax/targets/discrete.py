"""Discrete codes of patches as targets. Letters: b batch, n tokens."""

from collections.abc import Callable

from jax import Array

from mim_jax.core import painted_by


@painted_by("codes")
def codes(
  batch, teachers, mask=None, *, view: Callable, teacher: str = "codes", entry: str = "image"
) -> Array:
  """Looks up the code of each patch in a frozen codebook: [b n 1] int32.

  The teacher has a tokenizer, an encoder and a quantizer, as runs of the config codebook do; `view`
  converts our image to the teacher's. Source: BEiT (arXiv 2106.08254), section 2.1.
  """
  network = getattr(teachers, teacher)
  latents = network.encoder(network.tokenizer(view(batch[entry])))
  return network.quantizer(latents.values).ids[..., None]
