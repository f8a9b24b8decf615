"""What evaluations ask for: the latents of a whole, unmasked signal."""


def encode(parts, batch, layers=None, *, entry: str):
  """Encodes batch[entry] with nothing masked: Latents, with `layers` a list of them."""
  return parts.encoder(parts.tokenizer(batch[entry]), layers=layers)
