"""The forwards that tests/parity/test_transformers.py compares: theirs in torch, ours."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import torch

from mim_jax import core, losses
from mim_jax.layers import rebinding
from mim_jax.ops import patches
from mim_jax.targets import cubes
from mim_jax.targets import pixels as pixel_targets

SIDE, PATCH, BATCH = 32, 8, 2
N = (SIDE // PATCH) ** 2
LABELS = np.array([1, 4])  # of the images of a batch


def direction(shape):
  """A fixed vector that makes one number of outputs, so that gradients can be compared."""
  return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def probe(outputs):
  """A loss for networks whose own loss is not there."""
  if isinstance(outputs, torch.Tensor):
    return (outputs * torch.from_numpy(direction(outputs.shape))).mean()
  return jnp.mean(outputs * direction(outputs.shape))


def order(hidden):
  """Indices of visible and of hidden tokens, in raster order."""
  index = np.argsort(hidden, axis=1, kind="stable")
  v = int((~hidden[0]).sum())
  return index[:, :v], index[:, v:]


def masked(tokens, hidden):
  visible, gone = order(hidden)
  return core.make_mask(tokens, jnp.asarray(visible, jnp.int32), jnp.asarray(gone, jnp.int32))


def whole(latents):
  return jnp.concatenate([latents.prefix, latents.values], 1)


# Encoders alone.


def their_encoder(model, images, hidden):
  found = model(pixel_values=images).last_hidden_state
  return [found], probe(found)


def their_masked_encoder(model, images, hidden):
  found = model(pixel_values=images, bool_masked_pos=torch.from_numpy(hidden)).last_hidden_state
  return [found], probe(found)


def our_encoder(parts, images, hidden):
  found = whole(parts.encoder(parts.tokenizer(images)))
  return [found], probe(found)


def our_masked_encoder(parts, images, hidden):
  tokens = parts.tokenizer(images)
  found = whole(parts.encoder(tokens, masked(tokens, hidden)))
  return [found], probe(found)


def unnormed(parts):
  """The encoder without its last norm."""
  return rebinding.with_settings(parts.encoder, norm="none")


def our_raw_masked_encoder(parts, images, hidden):
  tokens = parts.tokenizer(images)
  found = whole(unnormed(parts)(tokens, masked(tokens, hidden)))
  return [found], probe(found)


def their_embedding(model, images, hidden):
  found = model(pixel_values=images).image_embeds
  return [found], probe(found)


def our_embedding(parts, images, hidden):
  found = parts.head(parts.encoder(parts.tokenizer(images)))
  return [found], probe(found)


# With labels, and the cross-entropy of them.


def their_scores(model, images, hidden):
  found = model(pixel_values=images, labels=torch.from_numpy(LABELS))
  return [found.logits], found.loss


def our_scores(parts, images, hidden):
  found = parts.head(parts.encoder(parts.tokenizer(images)))
  labels = jnp.asarray(LABELS, jnp.int32)[:, None, None, None]
  return [found], losses.cross_entropy(found[:, None, None], labels).mean()


def their_clip_scores(model, images, hidden):
  return their_scores(model, clip_of(images), hidden)


def our_clip_scores(parts, images, hidden):
  return our_scores(parts, clip_of(images), hidden)


# With their own objective.


def their_mae(model, images, hidden):
  noise = torch.from_numpy(hidden.astype(np.float32) + np.linspace(0, 0.5, N, dtype=np.float32))
  found = model(images, noise=noise, output_hidden_states=True)
  _, gone = order(hidden)
  index = torch.from_numpy(gone)[..., None].expand(-1, -1, found.logits.shape[-1])
  return [found.logits.gather(1, index)], found.loss


def our_mae(parts, images, hidden):
  tokens = parts.tokenizer(images)
  mask = masked(tokens, hidden)
  predictions = parts.predictor(parts.encoder(tokens, mask), mask)
  targets = pixel_targets({"image": images}, patch=PATCH, normalize=True)
  cost = losses.squared_error(predictions, core.take(targets, mask.masked))
  return [predictions[:, 0]], core.weighted_mean(cost, mask.weight)


def their_simmim(model, images, hidden):
  found = model(pixel_values=images, bool_masked_pos=torch.from_numpy(hidden))
  return [found.reconstruction], found.loss


def our_simmim(parts, images, hidden):
  tokens = parts.tokenizer(images)
  every = masked(tokens, hidden)
  mask = dataclasses.replace(
    every,
    masked=jnp.broadcast_to(
      jnp.arange(tokens.values.shape[1])[None, None], (BATCH, 1, tokens.values.shape[1])
    ),
  )
  patch = SIDE // tokens.grid[0]
  predictions = parts.predictor(parts.encoder(tokens, mask), mask)[:, 0]
  targets = pixel_targets({"image": images}, patch=patch, normalize=False)
  cost = losses.absolute_error(predictions[:, None], targets[:, None])
  image = patches.unpatchify(predictions, tokens.grid, patch)
  return [image.transpose(0, 3, 1, 2)], core.weighted_mean(
    cost, jnp.asarray(hidden, jnp.float32)[:, None]
  )


CODES = np.random.default_rng(5).integers(0, 11, (BATCH, N))


def their_beit(model, images, hidden):
  found = model(
    pixel_values=images,
    bool_masked_pos=torch.from_numpy(hidden),
    labels=torch.from_numpy(CODES[hidden]),
  )
  return [found.logits], found.loss


def our_beit(parts, images, hidden):
  tokens = parts.tokenizer(images)
  mask = masked(tokens, hidden)
  mask = dataclasses.replace(mask, masked=jnp.sort(mask.masked, -1))
  predictions = parts.predictor(parts.encoder(tokens, mask), mask)
  every = parts.predictor(
    parts.encoder(tokens, mask),
    dataclasses.replace(mask, masked=jnp.broadcast_to(jnp.arange(N)[None, None], (BATCH, 1, N))),
  )
  labels = core.take(jnp.asarray(CODES)[..., None], mask.masked)
  cost = losses.cross_entropy(predictions, labels)
  return [every[:, 0]], core.weighted_mean(cost, mask.weight)


def their_maps(model, images, hidden):
  found = model(pixel_values=images).last_hidden_state.flatten(2).transpose(1, 2)
  return [found], probe(found)


def their_swin_simmim(model, images, hidden):
  return their_simmim(model, images, finer(hidden))


def our_swin_simmim(parts, images, hidden):
  return our_simmim(parts, images, finer(hidden))


def finer(hidden):
  """A mask of patches of half the side."""
  side = SIDE // PATCH
  return hidden.reshape(-1, side, side).repeat(2, 1).repeat(2, 2).reshape(len(hidden), -1)


def their_clip(model, images, hidden):
  found = model(pixel_values=images)
  return [found.last_hidden_state, found.pooler_output], probe(found.pooler_output)


def our_clip(parts, images, hidden):
  tokens = parts.tokenizer(images)
  pooled = parts.encoder(tokens).prefix[:, 0]
  return [whole(unnormed(parts)(tokens)), pooled], probe(pooled)


def clip_of(images):
  """A clip of four frames, [b t h w c], whose frames differ."""
  xp = torch if isinstance(images, torch.Tensor) else jnp
  return xp.stack([images * (1 + 0.3 * i) for i in range(4)], 1)


def their_videomae(model, images, hidden):
  clip = clip_of(images)
  twice = np.concatenate([hidden, hidden], 1)
  found = model(pixel_values=clip, bool_masked_pos=torch.from_numpy(twice))
  return [found.logits], found.loss


def our_videomae(parts, images, hidden):
  clip = clip_of(images)
  tokens = parts.tokenizer(clip)
  mask = masked(tokens, np.concatenate([hidden, hidden], 1))
  predictions = parts.predictor(parts.encoder(tokens, mask), mask)
  wanted = cubes({"image": clip}, tubelet=2, patch=PATCH, std=(0.229, 0.224, 0.225))
  cost = losses.squared_error(predictions, core.take(wanted, mask.masked))
  return [predictions[:, 0]], core.weighted_mean(cost, mask.weight)
