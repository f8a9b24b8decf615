"""The head of masked language models. Letters: b batch, n tokens, d width, k vocabulary.

Products run in `dtype`; the norm and the logits are float32.
"""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError
from mim_jax.heads import prototypes
from mim_jax.layers import basic, init
from mim_jax.ops import gelu


class Vocabulary(nn.Module):
  """Masked language model head: logits of a vocabulary, tied: [*b d], [k d] -> [*b k].

  A linear layer, GELU and a norm, then the product with the tied table, plus a learned bias (BERT's
  reference, `get_masked_lm_output`). InputError where the tokenizer has no table.

  Attributes:
    dtype: of the computation.
    kernel_init: of the linear layer, a word of layers.init.
    epsilon: of the norm.
  """

  dtype: str = "float32"
  kernel_init: str = "normal"
  epsilon: float = 1e-12

  @nn.compact
  def __call__(
    self, vectors: Float[Array, "*b d"], table: Float[Array, "k d"] | None = None
  ) -> Float[Array, "*b k"]:
    if table is None:
      raise InputError(
        "parts.head: this head is tied to a tokenizer's table, and the tokenizer has none. Take "
        "tokenizers.Bytes, or another head."
      )
    start = init.kernel(self.kernel_init)
    x = basic.dense(vectors.shape[-1], self.dtype, "transform", kernel_init=start)(vectors)
    x = basic.norm(self.dtype, "norm", epsilon=self.epsilon)(gelu.gelu(x))
    bias = self.param("bias", nn.initializers.zeros, table.shape[:1])
    return prototypes.scores(x, table.T, self.dtype) + bias.reshape((1,) * (x.ndim - 1) + (-1,))
