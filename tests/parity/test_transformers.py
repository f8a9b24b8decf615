"""Hugging Face transformers, live: the same weights, inputs and mask give the same numbers, and our
exports open there. Weights are drawn at random; nothing is fetched."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, losses
from mim_jax.ops import patches
from mim_jax.targets import cubes
from mim_jax.targets import pixels as pixel_targets
from mim_jax.weights import export, files, native
from mim_jax.weights import parts as parts_lib

if not os.environ.get("CI"):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")

import torch
import transformers

SIDE, PATCH, BATCH = 32, 8, 2
N = (SIDE // PATCH) ** 2
TINY = dict(
  hidden_size=24,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=48,
  image_size=SIDE,
  patch_size=PATCH,
  hidden_dropout_prob=0.0,
  attention_probs_dropout_prob=0.0,
  attn_implementation="eager",
)
DECODER = dict(
  decoder_hidden_size=16,
  decoder_num_hidden_layers=1,
  decoder_num_attention_heads=2,
  decoder_intermediate_size=32,
)


@dataclasses.dataclass
class Case:
  """A model there, its forward there, and ours."""

  model: Callable
  theirs: Callable  # (model, images [b c h w], hidden [b n]) -> (list of outputs, loss)
  ours: Callable  # (parts, images [b h w c], hidden) -> (list of outputs, loss)
  start: Callable = lambda model: None


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
  return core.split(tokens, jnp.asarray(visible, jnp.int32), jnp.asarray(gone, jnp.int32))


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


def our_raw_masked_encoder(parts, images, hidden):
  tokens = parts.tokenizer(images)
  found = whole(parts.encoder(tokens, masked(tokens, hidden), raw=True))
  return [found], probe(found)


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


LABELS = np.random.default_rng(5).integers(0, 11, (BATCH, N))


def their_beit(model, images, hidden):
  found = model(
    pixel_values=images,
    bool_masked_pos=torch.from_numpy(hidden),
    labels=torch.from_numpy(LABELS[hidden]),
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
  labels = core.take(jnp.asarray(LABELS)[..., None], mask.masked)
  cost = losses.cross_entropy(predictions, labels)
  return [every[:, 0]], core.weighted_mean(cost, mask.weight)


def t(kind, config, *, masks=None, **settings):
  """A maker of one of their models."""
  more = {} if masks is None else dict(use_mask_token=masks)

  def make():
    made = getattr(transformers, config)(**settings)
    return getattr(transformers, kind)(made, **more)

  return make


def mae_positions(model):
  """Their own sine-cosine positions, which building a model anew leaves at zero."""
  for thing in (*model.modules(), *model.parameters()):
    thing._is_hf_initialized = False
  model.vit.embeddings.initialize_weights()
  model.decoder.initialize_weights(N)


SWIN = dict(
  image_size=SIDE,
  patch_size=4,
  embed_dim=12,
  depths=[2, 2],
  num_heads=[2, 4],
  window_size=4,
  drop_path_rate=0.0,
  attn_implementation="eager",
)


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
  return [whole(parts.encoder(tokens, raw=True)), pooled], probe(pooled)


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


CASES = {
  "mae": Case(
    t("ViTMAEForPreTraining", "ViTMAEConfig", **TINY, **DECODER, norm_pix_loss=True),
    their_mae,
    our_mae,
    mae_positions,
  ),
  "vit": Case(t("ViTModel", "ViTConfig", **TINY), their_encoder, our_encoder),
  "simmim vit": Case(
    t("ViTForMaskedImageModeling", "ViTConfig", **TINY, encoder_stride=PATCH),
    their_simmim,
    our_simmim,
  ),
  "beit": Case(
    t(
      "BeitForMaskedImageModeling",
      "BeitConfig",
      **TINY,
      vocab_size=11,
      use_mask_token=True,
      use_shared_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    their_beit,
    our_beit,
  ),
  "beit, pooled": Case(
    t(
      "BeitModel",
      "BeitConfig",
      **TINY,
      use_mask_token=True,
      use_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    their_masked_encoder,
    our_raw_masked_encoder,
  ),
  "ijepa": Case(t("IJepaModel", "IJepaConfig", **TINY), their_encoder, our_encoder),
  "data2vec": Case(
    t(
      "Data2VecVisionModel",
      "Data2VecVisionConfig",
      **TINY,
      use_mask_token=True,
      use_shared_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    their_masked_encoder,
    our_raw_masked_encoder,
  ),
  "dinov2": Case(
    t("Dinov2Model", "Dinov2Config", **TINY, mlp_ratio=2),
    their_masked_encoder,
    our_masked_encoder,
  ),
  "dinov2, swiglu": Case(
    t("Dinov2Model", "Dinov2Config", **TINY, use_swiglu_ffn=True),
    their_masked_encoder,
    our_masked_encoder,
  ),
  "dinov2, registers": Case(
    t("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **TINY, num_register_tokens=3),
    their_masked_encoder,
    our_masked_encoder,
  ),
  "clip": Case(
    t(
      "CLIPVisionModel",
      "CLIPVisionConfig",
      **{k: v for k, v in TINY.items() if "prob" not in k},
    ),
    their_clip,
    our_clip,
  ),
  "videomae": Case(
    t(
      "VideoMAEForPreTraining",
      "VideoMAEConfig",
      **TINY,
      **DECODER,
      num_frames=4,
      tubelet_size=2,
      norm_pix_loss=True,
      use_mean_pooling=False,
    ),
    their_videomae,
    our_videomae,
  ),
  "swin": Case(t("SwinModel", "SwinConfig", **SWIN), their_encoder, our_encoder),
  "simmim swin": Case(
    t("SwinForMaskedImageModeling", "SwinConfig", **SWIN, encoder_stride=8),
    their_swin_simmim,
    our_swin_simmim,
  ),
  "resnet": Case(
    t("ResNetModel", "ResNetConfig", embedding_size=8, hidden_sizes=[32, 64], depths=[1, 2]),
    their_maps,
    our_encoder,
  ),
  "convnext": Case(
    t("ConvNextModel", "ConvNextConfig", hidden_sizes=[8, 16], depths=[1, 2], num_stages=2),
    their_maps,
    our_encoder,
  ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
  """(case, model, folder of it, folder of its gradients, images, hidden, their outputs, their loss)."""
  case = CASES[request.param]
  folder = tmp_path_factory.mktemp("theirs")
  torch.manual_seed(1)
  random = np.random.default_rng(3)
  model = case.model().eval()
  with torch.no_grad():
    for p in model.parameters():
      drawn = torch.from_numpy(random.normal(scale=0.2, size=tuple(p.shape)).astype(np.float32))
      p.copy_(drawn + (p.ndim == 1 and bool((p == 1).all())))
    for name, buffer in model.named_buffers():
      if name.endswith("running_var"):
        buffer.uniform_(0.5, 2.0)
  case.start(model)
  images = random.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
  hidden = np.stack([random.permutation(N) < 3 * N // 4 for _ in range(BATCH)])
  model.save_pretrained(folder / "model")
  outputs, loss = case.theirs(model, torch.from_numpy(images).permute(0, 3, 1, 2), hidden)
  loss.backward()
  with torch.no_grad():
    for p in model.parameters():
      if p.requires_grad:
        p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
  model.save_pretrained(folder / "gradients")
  return case, folder, images, hidden, [x.detach().numpy() for x in outputs], loss.item()


def test_the_way_back(case, tmp_path):
  """What we export opens in transformers, has the same arrays, and gives the same numbers."""
  case, folder, images, hidden, outputs, loss = case
  variables, config = native.load(folder / "model")
  left = export.write(
    tmp_path / "ours", variables, config, format=config.source.layout, note=dict(licence="MIT")
  )
  assert not left
  kind = json.loads((folder / "model" / "config.json").read_text())["architectures"][0]
  model, info = getattr(transformers, kind).from_pretrained(
    tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
  )
  assert not info["unexpected_keys"] and not info["mismatched_keys"], info
  untrained = "pooler.dense", "num_batches_tracked"
  assert all(any(x in key for x in untrained) for key in info["missing_keys"]), info
  with torch.no_grad():
    again, again_loss = case.theirs(
      model.eval(), torch.from_numpy(images).permute(0, 3, 1, 2), hidden
    )
  for a, b in zip(again, outputs, strict=True):
    near(a.numpy(), b)
  assert abs(again_loss.item() - loss) < 1e-5 * abs(loss)
  theirs, ours = (files.arrays(files.locate(x))[0] for x in (folder / "model", tmp_path / "ours"))
  for name, array in ours.items():
    name = name.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer.")
    name = name if name in theirs else name.replace("decoder_encoder.layer.", "decoder_layers.")
    computed = "pos_embed" in name or "position_embeddings" in name
    if not computed and not any(x.endswith(name) for x in config.source.left):
      np.testing.assert_array_equal(array, theirs[name], name)


def near(found, expected, what=""):
  """Within 1e-4 of the largest value."""
  assert np.abs(expected).max() > 0, what
  deviation = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
  assert deviation < 1e-4, (what, deviation)
  return deviation


def run(case, variables, config, images, hidden):
  module = parts_lib.parts_of(config)

  def outputs(params):
    def forward(parts):
      found, loss = case.ours(parts, jnp.asarray(images), hidden)
      return loss, found

    return module.apply({**variables, "params": params}, method=forward)

  # The compiler's optimisations would take longer than all the rest.
  fast = dict(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)
  step = jax.jit(jax.value_and_grad(outputs, has_aux=True), compiler_options=fast)
  (loss, found), gradients = step(variables["params"])
  return found, loss, gradients


def test_outputs_loss_and_the_gradient_of_every_parameter(request, case, record):
  case, folder, images, hidden, outputs, loss = case
  note = functools.partial(record, request.node.callspec.params["case"], "transformers")
  variables, config = native.load(folder / "model")
  found, our_loss, gradients = run(case, variables, config, images, hidden)
  for a, b in zip(found, outputs, strict=True):
    note("forward", near(a, b))
  assert abs(our_loss - loss) < 1e-4 * abs(loss)
  note("loss", abs(our_loss - loss) / abs(loss))
  expected = parts_lib.flat({"params": native.load(folder / "gradients")[0]["params"]})
  ours = parts_lib.flat({"params": gradients})
  assert ours.keys() == expected.keys()
  largest = max(np.abs(x).max() for x in expected.values())
  for name, value in expected.items():
    if np.abs(value).max() > 1e-6 * largest:
      note("gradient", near(ours[name], value, name))
    else:
      assert np.abs(ours[name]).max() < 1e-5 * largest, name
