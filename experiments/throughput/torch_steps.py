"""Training steps of Hugging Face transformers, which against.py compares with. Needs torch.

Same shapes, decoder, mask ratio and targets as ours; AdamW in its fused form; images are normalised
floats that lie on the device already.
"""

import time

import torch
import transformers


def mae(width, depth, heads, decoder, image, patch, attention):
  """ViTMAEForPreTraining, and a function of a batch of images that gives its loss."""
  settings = transformers.ViTMAEConfig(
    hidden_size=width,
    num_hidden_layers=depth,
    num_attention_heads=heads,
    intermediate_size=4 * width,
    decoder_hidden_size=decoder["width"],
    decoder_num_hidden_layers=decoder["depth"],
    decoder_num_attention_heads=decoder["heads"],
    decoder_intermediate_size=4 * decoder["width"],
    image_size=image,
    patch_size=patch,
    mask_ratio=0.75,
    norm_pix_loss=True,
    attn_implementation=attention,
  )
  model = transformers.ViTMAEForPreTraining(settings)
  return model, lambda images: model(pixel_values=images).loss


def classifier(width, depth, heads, image, patch, attention):
  """ViTForImageClassification with 1000 classes, and its loss on a batch of images."""
  settings = transformers.ViTConfig(
    hidden_size=width,
    num_hidden_layers=depth,
    num_attention_heads=heads,
    intermediate_size=4 * width,
    image_size=image,
    patch_size=patch,
    num_labels=1000,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    attn_implementation=attention,
  )
  model = transformers.ViTForImageClassification(settings)

  def loss(images):
    labels = torch.arange(len(images), device=images.device) % 1000
    return model(pixel_values=images, labels=labels).loss

  return model, loss


class Step:
  """A training step of `model` on a batch of noise, warm; called as turns.Step."""

  def __init__(self, made, batch: int, image: int, compiled: bool, device: str, threads: int):
    torch.set_num_threads(threads)
    model, loss = made
    self.device = device
    model.to(device, memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, image, image, device=device)
    self.images = images.contiguous(memory_format=torch.channels_last)
    self.loss = torch.compile(loss) if compiled else loss
    self.optimizer = torch.optim.AdamW(
      model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    self(2)

  def __call__(self, steps: int = 1) -> float:
    """Seconds a step, of `steps` one after the other."""
    self.wait()
    began = time.perf_counter()
    for _ in range(steps):
      with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
        loss = self.loss(self.images)
      loss.backward()
      self.optimizer.step()
      self.optimizer.zero_grad(set_to_none=True)
    self.wait()
    return (time.perf_counter() - began) / steps

  def wait(self):
    """Until the device has done all that it was asked to do."""
    if self.device == "cuda":
      torch.cuda.synchronize()
