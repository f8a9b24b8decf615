"""VQ-VAE: Neural Discrete Representation Learning (van den Oord et al., NeurIPS 2017, arXiv
1711.00937), with the transformers and unit codes of VQ-KD (BEiT v2, arXiv 2208.06366).

Reference: github.com/microsoft/unilm, beit2 (MIT; not copied).
Numbers:   TOKENIZER.md of the reference, the recommended model; the rate is for 128 images, its end
           is absolute.
Published: none of its own: with its codes BEiT v2 gets 85.0 / 85.5 % on ImageNet-1k (B, 300 / 1600
           epochs), where the codes were made to predict CLIP's features instead of pixels.
Differs:   it decodes pixels, as the codebook of BEiT v1 does, for no network of others comes with
           mim_jax; give `objective.target` and `objective.loss` for other things. Codes settle on
           the data by reviving those that nothing chooses.

It masks nothing; what it learns is the discrete targets of the config `beit`.
"""

from mim_jax import layers, losses, targets
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import codebook

LAPTOP = {
  "parts.encoder.stack.kernel_init": "xavier",
  "parts.quantizer.kernel_init": "xavier",
  "parts.decoder.stack.kernel_init": "xavier",
  "parts.decoder.stack.depth": 1,
  "parts.quantizer": dict(nano=dict(codes=32, width=8), tiny=dict(codes=64, width=8)),
}


def get_config(arg: str = ""):
  """A codebook."""
  c, a = recipe.start(arg, epochs=100, batch_size=512)
  recipe.augment(c, a, scale=(0.08, 1.0))
  patch = c.get_ref("patch")
  c.objective = part(
    codebook.learn_codes,
    entry="image",
    target=part(targets.pixels, patch=patch, normalize=False),
    loss=part(losses.squared_error),
  )
  settings = dict(positions=part(layers.Learned), key_bias=False, kernel_init="normal_depth_scaled")
  c.parts = recipe.vit(c, a, dict(kernel_init="torch"), **settings)
  c.parts.quantizer = part(layers.Quantizer, codes=8192, width=32, kernel_init="normal")
  shape = dict(width=recipe.SIZES[a.size]["width"], depth=3, heads=recipe.SIZES[a.size]["heads"])
  shape |= dict(target_width=patch**2 * a.channels, kernel_init="normal_depth_scaled")
  c.parts.decoder = recipe.network(c, codebook.Decoder, **shape)
  rate = recipe.cosine(c, a, 5e-5, warmup=10, per=128, end=1e-5)
  rules = ((r"(bias|scale|token|positions|table)$", 0.0), (r"kernel$", 1.0))
  c.optimizer = recipe.adamw(c, a, rate, weight_decay=1e-4, b2=0.99, weight_decay_rules=rules)
  return recipe.finish(c, a, laptop=LAPTOP)
