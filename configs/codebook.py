"""VQ-VAE: Neural Discrete Representation Learning (van den Oord et al., NeurIPS 2017, arXiv
1711.00937), with the transformers and unit codes of VQ-KD (BEiT v2, arXiv 2208.06366).

Reference implementation: github.com/microsoft/unilm, beit2 (MIT; not copied).
Run:       mim-jax train --config=configs/codebook.py:size=B --workdir=runs/codebook_b
Laptop:    mim-jax train --config=configs/codebook.py:dataset=digits --workdir=runs/codebook
Cost:      3 x encoder and decoder, and one look-up, 134.5 GFLOP an image at B/16 and 224 pixels.
Published: none of its own: with its codes BEiT v2 gets 85.0 / 85.5 % on ImageNet-1k (B, 300 / 1600
           epochs), where the codes were made to predict CLIP's features instead of pixels.
Ours:      not run on ImageNet yet.

It masks nothing; what it learns is the discrete targets of configs/beit.py. It decodes pixels, as
the
codebook of BEiT v1 does, for no network of others comes with mim_jax; give `objective.target` and
`objective.loss` for other things. Codes settle on the data by reviving those that nothing chooses.
"""

import ml_collections

from mim_jax import encoders, losses, schedules, targets, tokenizers
from mim_jax import layers
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.layers import quantizer
from mim_jax.methods import codebook
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Decoder depth, codes and their width; TOKENIZER.md of the reference, the recommended model.
BOOKS = dict(nano=dict(depth=1, codes=32, width=8), tiny=dict(depth=1, codes=64, width=8))
BOOK = dict(depth=3, codes=8192, width=32)
# The rate is for 128 images, its end is absolute.
EPOCHS, BATCH, WARMUP, RATE = 100, 512, 10, 5e-5


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """A codebook by networks of `size` on `dataset`; see common.ARGUMENTS."""
  a = common.arguments(arg)
  a.epochs = a.epochs or EPOCHS
  c = common.base(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCH
  if a.dataset != "digits":
    c.data.augment.scale = (0.08, 1.0)
  patch = c.get_ref("patch")
  c.parts = parts(c, a)
  c.objective = part(
    codebook.learn_codes, entry="image",
    target=part(targets.pixels, patch=patch, normalize=False),
    loss=part(losses.squared_error),
  )
  peak = common.scaled(c, 2e-3) if small else common.scaled(c, RATE, 128)
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, peak=peak, end=1e-5, warmup=min(WARMUP / a.epochs, 0.1)),
    weight_decay=part(schedules.constant, value=1e-4),
    b2=0.99,
    decay=((r"(bias|scale|token|positions|table)$", 0.0), (r"kernel$", 1.0)),
  )
  return c


def parts(c, a) -> dict:
  """Encoder and decoder around the codes; both transformers start alike."""
  size, book = common.SIZES[a.size], BOOKS.get(a.size, BOOK)
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  small = a.size in common.LAPTOP
  shared = dict(dtype=dtype, kernel_init="xavier" if small else "normal_depth_scaled")
  return dict(
    tokenizer=part(
      tokenizers.ImagePatches, patch=patch, width=size["width"], kernel_init="torch", dtype=dtype
    ),
    encoder=common.network(
      encoders.ViT,
      depth=size["depth"],
      heads=size["heads"],
      positions=part(layers.Learned),
      key_bias=False,
      **shared,
    ),
    quantizer=part(
      quantizer.Quantizer,
      codes=book["codes"],
      width=book["width"],
      kernel_init="xavier" if small else "normal",
    ),
    decoder=common.network(
      codebook.Decoder,
      width=size["width"],
      depth=book["depth"],
      heads=size["heads"],
      target_width=patch**2 * a.channels,
      **shared,
    ),
  )


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  decoder, n = c.parts.decoder, common.tokens(c)
  decoding = (
    cost.dense(n, c.parts.quantizer.width, decoder.width)
    + cost.stack(n, decoder.width, decoder.stack.depth, decoder.stack.mlp_ratio)
    + cost.dense(n, decoder.width, decoder.width + decoder.target_width)
  )
  encoding, choosing = coding_flops(c, n)
  return cost.TRAIN * (encoding + decoding) + choosing


def coding_flops(c: ml_collections.ConfigDict, n: int) -> tuple[float, float]:
  """FLOPs that n patches cost to encode, and to find their codes."""
  encoder, book, d = c.parts.encoder, c.parts.quantizer, c.parts.tokenizer.width
  encoding = (
    cost.dense(n, c.parts.decoder.target_width, d)
    + cost.stack(encoder.class_tokens + n, d, encoder.stack.depth, encoder.stack.mlp_ratio)
    + cost.dense(n, d, d + book.width)
  )
  return encoding, cost.dense(n, book.width, book.codes)
