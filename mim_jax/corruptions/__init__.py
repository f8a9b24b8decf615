"""What is given in place of inputs; corruption(key, inputs, mask, *, ...) -> Corrupted."""

from mim_jax.corruptions.replaced import replace_tokens as replace_tokens
