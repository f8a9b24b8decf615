"""What evaluations ask for: the latents of a whole, unmasked signal."""


def encode(parts, batch, layers=None, *, signal: str = "image"):
  """Latents of batch[signal] with nothing masked; with `layers` a list of them."""
  return parts.encoder(parts.tokenizer(batch[signal]), layers=layers)
